"""The files of a board's posts, fetched by gallery-dl, run as a program of its own (GPL-2.0: never imported).

A store (a folder in `work`, behind the caller's lock) holds
    posts.json      the list (`boards.py`)
    files/          <post id>.<extension>, and beside it the post as gallery-dl writes it, <post id>.json
    parts/          downloads under way; thrown away when a pass starts, so that two halves are never joined
    digests.json    SHA-256, by post id, of the files that were complete
    failures.json   why a file cannot be had, by post id, where asking again is no use

gallery-dl knows nothing of Retry-After, of a file that takes for ever, or of one without end. So it runs in passes: it
is told to stop at the first 429 or 503, watched, and started again for what is missing after the wait the board asks.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from charaloom.artifacts.files import read_json, write_json
from charaloom.errors import CharaloomError
from charaloom.runtime.processes import die_with_parent
from charaloom.sources.posts import REMOVED, SECRETS, Found, Post, refused

if TYPE_CHECKING:
    from charaloom.sources.boards import Board

PASSES_IN_VAIN = 3
STRIKES = 2  # passing failures after which a file is left alone in this run
FAILURES_IN_A_ROW = 5
FILE_SECONDS = 60.0  # that one file may take
SILENCE_SECONDS = 180.0
RETRY_AFTER_SECONDS = 900.0
REFUSED = ("download failed: 401", "download failed: 403")
TOLERATED = 0.05  # share of files that may stay away for passing reasons
BUSY = 75  # exit status that gallery-dl is told to end with at a 429 or 503
SIDECAR_BYTES = 2**20
PASSED_ON = ("PATH", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
             "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SYSTEMROOT")  # fmt: skip

Progress = Callable[[int, int], None]


class Files:
    """The files of a store, each known by the digest it had when it was complete."""

    def __init__(self, store: Path, withdrawn: frozenset[str]) -> None:
        self.store, self.folder, self.parts, self.withdrawn = store, store / "files", store / "parts", withdrawn
        self.folder.mkdir(parents=True, exist_ok=True)
        self.digests: dict[str, str] = self.read("digests.json")
        self.failures: dict[str, str] = self.read("failures.json")
        self.passing: dict[str, str] = {}  # failures that may pass; asked for again in the next run
        self.doubted: set[str] = set()

    def read(self, name: str) -> dict[str, str]:
        path = self.store / name
        return read_json(path) if path.is_file() else {}

    def keep(self, name: str, value: dict[str, str]) -> None:
        if value != self.read(name):
            write_json(self.store / name, value)

    def present(self) -> dict[str, Path]:
        """Complete files by post id."""
        paths = [path for path in sorted(self.folder.iterdir()) if path.suffix not in (".json", ".part")]
        return {path.name.partition(".")[0]: path for path in paths}

    def settle(self, found: list[Found], fresh: Iterable[str] = ()) -> None:
        """Check each file by its digest, remember new ones, remove what is damaged or may not be kept.

        `fresh` names the posts just asked for: their files may differ from what was there before.
        """
        for post_id in fresh:
            self.digests.pop(post_id, None)
        posts = {entry.post["post_id"]: entry.post for entry in found if entry.problem is None}
        for post_id, path in self.present().items():
            sha256, md5 = digests_of(path)
            if post_id not in posts or {sha256, md5} & self.withdrawn:
                self.digests[post_id] = sha256  # so that a withdrawn picture is known without fetching it again
                self.remove(path)
            elif self.digests.get(post_id, sha256) != sha256 or self.is_doubtful(posts[post_id], md5):
                self.remove(path)
            else:
                self.digests[post_id] = sha256
        self.keep("digests.json", self.digests)

    def is_doubtful(self, post: Post, md5: str) -> bool:
        """New bytes that are not those the board lists are fetched a second time before they are believed."""
        post_id = post["post_id"]
        if post["md5"] in (None, md5) or post_id in self.digests or post_id in self.doubted:
            return False
        self.doubted.add(post_id)
        return True

    def remove(self, path: Path) -> None:
        path.unlink()
        path.with_name(path.name.partition(".")[0] + ".json").unlink(missing_ok=True)

    def is_withdrawn(self, post: Post) -> bool:
        return self.digests.get(post["post_id"]) in self.withdrawn

    def missing(self, found: list[Found]) -> list[Post]:
        """Posts whose file is still to be fetched."""
        present = self.present()
        posts = [entry.post for entry in found if entry.problem is None and entry.post["post_id"] not in present]
        return [post for post in posts if post["post_id"] not in self.failures and not self.is_withdrawn(post)]

    def attached(self, found: list[Found]) -> list[Found]:
        """Each post with its file, or with the reason why it has none."""
        present = self.present()
        return [self.with_file(entry, present.get(entry.post["post_id"])) for entry in found]

    def with_file(self, entry: Found, path: Path | None) -> Found:
        post_id = entry.post["post_id"]
        if entry.problem is not None:
            return entry
        if self.is_withdrawn(entry.post):
            return refused(entry.post, REMOVED)
        reason = self.failures.get(post_id) or self.passing.get(post_id) or "download failed: not sent"
        return Found(entry.post, path, None if path else reason)


def digests_of(path: Path) -> tuple[str, str]:
    """SHA-256, and MD5 because boards list it."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


# ---- passes


@dataclass
class Outcome:
    """What one pass of gallery-dl came to."""

    status: int = 0
    stopped: str | None = None  # why we ended it
    reasons: dict[str, str] = field(default_factory=dict)  # the last thing it said about a post
    lines: list[str] = field(default_factory=list)  # what it said about no post


def download(
    board: "Board",
    asked: str,
    found: list[Found],
    files: Files,
    maximum_bytes: int,
    lock: int,
    progress: Progress,
) -> None:
    """Fetch the missing files. Raises CharaloomError where the board refuses them or is in too much trouble; what was
    fetched stays, and the next run goes on from there."""
    files.settle(found)
    strikes: Counter[str] = Counter()
    wanted, in_vain, outcome, refusals = len(files.missing(found)), 0, Outcome(), set()
    while in_vain < PASSES_IN_VAIN and (todo := next_posts(files.missing(found), strikes)):
        left = len(files.missing(found))
        outcome = run_pass(board, asked, todo, files, maximum_bytes, lock, lambda done: progress(done, wanted))
        raise_for_status(outcome, board)
        passing = note_failures(outcome, files, maximum_bytes)
        strikes.update(passing)
        files.settle(found, [post["post_id"] for post in todo])
        files.keep("failures.json", files.failures)
        refusals |= {post_id for post_id in outcome.reasons if files.failures.get(post_id) in REFUSED}
        raise_if_refused(files, refusals, wanted, board)
        in_vain = 0 if len(files.missing(found)) < left else in_vain + 1
        if in_vain < PASSES_IN_VAIN and (passing or outcome.lines or outcome.stopped):
            wait(board, outcome, todo, in_vain)
    raise_if_too_few_came(files, found, wanted, outcome, board)


def next_posts(missing: list[Post], strikes: Counter[str]) -> list[Post]:
    """What to ask for now: first what has not failed, so that one bad file stands in no other's way."""
    open_posts = [post for post in missing if strikes[post["post_id"]] < STRIKES]
    fewest = min((strikes[post["post_id"]] for post in open_posts), default=0)
    return [post for post in open_posts if strikes[post["post_id"]] == fewest]


def note_failures(outcome: Outcome, files: Files, maximum_bytes: int) -> list[str]:
    """Sort what was said about posts into lasting and passing failures; returns the ids of the latter."""
    passing = []
    for post_id, message in outcome.reasons.items():
        reason, lasting = failure(message, maximum_bytes)
        (files.failures if lasting else files.passing)[post_id] = reason
        if not lasting:
            passing.append(post_id)
    return passing


def failure(message: str, maximum_bytes: int) -> tuple[str, bool]:
    """(reason, does it last?) from a message of gallery-dl; the reason names neither address nor clock."""
    if status := re.match(r"'(\d{3}) ", message):
        code = int(status[1])
        return f"download failed: {code}", 400 <= code < 500 and code not in (408, 425, 429)
    if message.startswith(("HTML response", "HTTP redirect")):
        return "download failed: a web page came instead", True
    if message.startswith("Empty file"):
        return "empty: no bytes", True
    if "Errno 27" in message or message.startswith("File size larger"):
        return f"too large: more than {maximum_bytes} bytes", True
    if message == "slow":
        return f"download failed: more than {FILE_SECONDS:.0f} seconds", False
    return "download failed: connection", False


def wait(board: "Board", outcome: Outcome, todo: list[Post], in_vain: int) -> None:
    """Before the next pass: as long as the board asks for, at least our own growing patience."""
    seconds = board.patience * 2**in_vain
    if outcome.status == BUSY:
        refused_url = next((post["file_url"] for post in todo if post["post_id"] in outcome.reasons), None)
        seconds = max(seconds, retry_after(board, refused_url))
    if seconds >= 10:
        print(f"{board.name}: waiting {seconds:.0f} s before the next try", file=sys.stderr, flush=True)
    time.sleep(seconds)


def retry_after(board: "Board", url: str | None) -> float:
    """Seconds the board asks us to wait, or 0; gallery-dl swallows the header, so it is asked for again."""
    try:
        headers = {"User-Agent": board.agent, "Range": "bytes=0-0"}
        with requests.get(
            url or f"{board.root}/posts.json?limit=1", headers=headers, timeout=30, stream=True
        ) as answer:
            return seconds_asked(answer)
    except requests.RequestException:
        return 0.0


def seconds_asked(answer: requests.Response) -> float:
    """Retry-After (seconds or a date) of a 429 or 503, at most RETRY_AFTER_SECONDS; 0 where there is none."""
    value = answer.headers.get("Retry-After") if answer.status_code in (429, 503) else None
    try:
        return min(Retry().parse_retry_after(value), RETRY_AFTER_SECONDS) if value else 0.0
    except InvalidHeader:
        return 0.0


def raise_for_status(outcome: Outcome, board: "Board") -> None:
    """gallery-dl's exit status is a set of bits; some mean that another pass is no use."""
    said = outcome.lines[-1] if outcome.lines else "no message"
    where = f"{board.name} ({board.root})"
    if any(re.search("challenge|captcha", text, re.I) for text in (*outcome.lines, *outcome.reasons.values())):
        raise CharaloomError(f"{where}: asks for a browser challenge; it is never evaded. Try later or another source.")
    if outcome.stopped or outcome.status in (0, BUSY):
        return
    if outcome.status & 16:
        raise CharaloomError(f"{where}: gallery-dl was refused ({said}). Set the credentials named in docs/sources.md.")
    if outcome.status & 32:
        raise CharaloomError(f"{where}: gallery-dl does not understand this board ({said}). Check root under boards.")
    if outcome.status & 128:
        raise CharaloomError(f"{where}: gallery-dl cannot write ({said}). Make room or mend permissions, run again.")


def raise_if_refused(files: Files, refusals: set[str], wanted: int, board: "Board") -> None:
    """Many 401 or 403 are not many odd files but one block."""
    if len(refusals) <= max(3, wanted // 2):
        return
    for post_id in refusals:
        del files.failures[post_id]
    files.keep("failures.json", files.failures)
    raise CharaloomError(
        f"{board.name} ({board.root}): {len(refusals)} of {wanted} files were refused (401 or 403). The board blocks "
        "this User-Agent or network, or wants an account: see docs/sources.md. Nothing that was fetched is lost."
    )


def raise_if_too_few_came(files: Files, found: list[Found], wanted: int, outcome: Outcome, board: "Board") -> None:
    away = files.missing(found)
    if len(away) <= max(3, TOLERATED * wanted):
        return
    reasons = Counter(files.passing.get(post["post_id"], "not tried") for post in away)
    told = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
    said = f" gallery-dl said: {outcome.lines[-1]}" if outcome.lines else ""
    raise CharaloomError(
        f"{board.name} ({board.root}): {len(away)} of {wanted} files did not come: {told}.{said} Run again later: "
        "what was fetched is kept."
    )


# ---- one pass


def run_pass(
    board: "Board",
    asked: str,
    todo: list[Post],
    files: Files,
    maximum_bytes: int,
    lock: int,
    progress: Callable[[int], None],
) -> Outcome:
    """Start gallery-dl for the posts of `todo`, watch it, and say what it came to."""
    if find_spec("gallery_dl") is None:
        raise CharaloomError("gallery-dl is not installed beside this Python. Install the packages of envs/ again.")
    shutil.rmtree(files.parts, ignore_errors=True)
    files.parts.mkdir(parents=True)
    config = configured(board, asked, todo, files, maximum_bytes)
    command = [sys.executable, "-m", "gallery_dl", "--config-ignore", "--config-json", "/dev/stdin", "--no-input"]
    with tempfile.TemporaryDirectory(prefix="charaloom-") as home:
        process = subprocess.Popen(
            [*command, f"{board.root}/posts?tags={quote(asked, safe='')}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=home,
            env={**{key: os.environ[key] for key in PASSED_ON if key in os.environ}, "HOME": home, "LANG": "C.UTF-8"},
            pass_fds=(lock,),
            start_new_session=True,
            preexec_fn=lambda: confine(maximum_bytes),
        )
        try:
            # Through a pipe, so that the API key touches neither the disk nor the list of processes.
            send(process.stdin, json.dumps(config).encode())
            return watched(process, files, allowance(board, todo), progress)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def configured(board: "Board", asked: str, todo: list[Post], files: Files, maximum_bytes: int) -> dict[str, Any]:
    """gallery-dl's configuration of one pass."""
    ids = sorted(int(post["post_id"]) for post in todo)
    # The list is asked newest first: below the oldest wanted post there is nothing to look for.
    older = "" if re.search(r"(^|\s)ord\w*:", asked) else f" or (id < {ids[0]} and abort())"
    site = {
        "user-agent": board.agent,
        "sleep-request": board.pause,
        "sleep": board.pause,
        "retries": 1,
        "timeout": 20,
        "directory": [],
        "filename": "{id}.{extension}",
        "threshold": 1,  # a page with fewer posts is not the last one
        "file-filter": f"id in {{{', '.join(map(str, ids))}}}{older}",
        "actions": {"*:^'(429|503) ": f"exit {BUSY}"},
        "postprocessors": [{"name": "metadata", "filename": "{id}.json", "event": "after", "sort": True}],
        **({"username": board.login[0], "password": board.login[1]} if board.login else {}),
    }
    downloader = {"part-directory": str(files.parts.resolve()), "mtime": False, "filesize-max": str(maximum_bytes)}
    return {
        "extractor": {
            "base-directory": str(files.folder.resolve()),
            "Danbooru": {board.name: {"root": board.root}},
            board.name: site,
        },
        "downloader": {**downloader, "progress": None},
        "output": {"mode": "null", "log": {"format": "{levelname}\t{keywords.id}\t{message}", "level": "info"}},
        "cache": {"file": None},
    }


def allowance(board: "Board", todo: list[Post]) -> float:
    """Seconds that a pass may take in all."""
    return 300 + len(todo) * (board.pause + 15)


def confine(maximum_bytes: int) -> None:
    """In the child, before it starts: no file grows without end, and it dies with its parent."""
    most = max(maximum_bytes, SIDECAR_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    die_with_parent()


def send(pipe: IO[bytes] | None, data: bytes) -> None:
    assert pipe is not None
    with suppress(BrokenPipeError):  # it ended at once; its messages say why
        pipe.write(data)
        pipe.close()


def watched(process: subprocess.Popen[bytes], files: Files, seconds: float, progress: Callable[[int], None]) -> Outcome:
    """Follow gallery-dl until it ends, or until it must be ended."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=pump, args=(process.stderr, lines), daemon=True).start()
    watch = Watch(files, seconds)
    while watch.outcome.stopped is None:
        try:
            line = lines.get(timeout=0.5)
        except Empty:
            line = ""
        if line is None:
            watch.outcome.status = process.wait()
            break
        watch.hear(line)
        watch.look()
        progress(watch.arrived)
    return watch.outcome


def pump(pipe: IO[bytes], lines: "SimpleQueue[str | None]") -> None:
    for line in pipe:
        lines.put(line.decode("utf-8", "replace").rstrip("\n"))
    lines.put(None)


class Watch:
    """Ends a pass that hangs, dawdles at one file, or fails again and again."""

    def __init__(self, files: Files, seconds: float) -> None:
        self.files, self.outcome = files, Outcome()
        self.began = self.last_sign = time.monotonic()
        self.seconds = seconds
        self.there_at_first = len(files.present())
        self.arrived = self.arrived_at_failure = self.failures_in_a_row = 0
        self.parts: dict[str, int] = {}
        self.part_began: dict[str, float] = {}

    def hear(self, line: str) -> None:
        """One line of gallery-dl: level, post id, message."""
        level, _, rest = line.partition("\t")
        post_id, _, message = rest.partition("\t")
        if level not in ("warning", "error"):
            return
        self.last_sign = time.monotonic()
        if not post_id.isdigit():
            self.outcome.lines.append(without_secrets(message))
        elif level == "warning":
            self.outcome.reasons[post_id] = message
        elif not failure(self.outcome.reasons.get(post_id, ""), 0)[1]:
            same = self.arrived == self.arrived_at_failure
            self.failures_in_a_row = self.failures_in_a_row + 1 if same else 1
            self.arrived_at_failure = self.arrived

    def look(self) -> None:
        """Compare the store with what it was, and decide."""
        now = time.monotonic()
        arrived, parts = len(self.files.present()) - self.there_at_first, sizes(self.files.parts)
        if (arrived, parts) != (self.arrived, self.parts):
            self.last_sign = now
        self.arrived, self.parts = arrived, parts
        self.part_began = {post_id: self.part_began.get(post_id, now) for post_id in parts}
        slow = [post_id for post_id, began in self.part_began.items() if now - began > FILE_SECONDS]
        self.outcome.reasons.update(dict.fromkeys(slow, "slow"))
        if slow:
            self.outcome.stopped = "one file takes too long"
        elif self.failures_in_a_row >= FAILURES_IN_A_ROW:
            self.outcome.stopped = "one failure after another"
        elif now - self.last_sign > SILENCE_SECONDS or now - self.began > self.seconds:
            self.outcome.stopped = "no progress"


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each download under way, by post id; one that ends meanwhile is left out."""
    found = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            found[path.name.partition(".")[0]] = path.stat().st_size
    return found


def without_secrets(message: str) -> str:
    return re.sub(rf"\b({'|'.join(SECRETS)})=[^&\s'\"]+", r"\1=***", message, flags=re.IGNORECASE)[:300]
