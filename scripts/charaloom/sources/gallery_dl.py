"""One pass of gallery-dl, run as a program of its own (GPL-2.0: never imported), watched, and ended where it hangs.

gallery-dl knows nothing of Retry-After, of a file that takes for ever, or of one without end: it is configured to stop
at the first 429 or 503.
"""

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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any
from urllib.parse import quote

from charaloom.errors import CharaloomError
from charaloom.runtime.processes import die_with_parent
from charaloom.sources.posts import SECRETS, Post
from charaloom.sources.sites import Site
from charaloom.sources.store import Store

# Set by hand.
FAILURES_IN_A_ROW = 5
FILE_SECONDS = 60.0  # that one file may take
SILENCE_SECONDS = 180.0
PASS_SECONDS, SECONDS_PER_FILE = 300, 15  # that a pass may take, besides the pauses
BUSY = 75  # exit status that gallery-dl is configured to end with at a 429 or 503
SIDECAR_BYTES = 2**20
PASSED_ON = ("PATH", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
             "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SYSTEMROOT")  # fmt: skip


@dataclass(frozen=True)
class Download:
    """What is downloaded, and into which store."""

    site: Site
    query: str  # as the site is asked
    store: Store
    maximum_bytes: int  # of one file
    lock: int  # descriptor of the store's lock, which gallery-dl keeps open: a store stays locked while it writes


@dataclass
class Outcome:
    """What one pass of gallery-dl came to."""

    status: int = 0
    stopped: str | None = None  # why we ended it
    reasons: dict[str, str] = field(default_factory=dict)  # its last message about each post
    lines: list[str] = field(default_factory=list)  # its messages about no post


def run_pass(download: Download, wanted: list[Post], progress: Callable[[int], None]) -> Outcome:
    """Start gallery-dl for the posts `wanted`, watch it, and say what it came to."""
    if find_spec("gallery_dl") is None:
        raise CharaloomError("gallery-dl is not installed beside this Python. Install the packages of envs/ again.")
    site, store = download.site, download.store
    shutil.rmtree(store.parts, ignore_errors=True)
    store.parts.mkdir(parents=True)
    config = configured(download, wanted)
    command = [sys.executable, "-m", "gallery_dl", "--config-ignore", "--config-json", "/dev/stdin", "--no-input"]
    with tempfile.TemporaryDirectory(prefix="charaloom-") as home:
        process = subprocess.Popen(
            [*command, f"{site.root}/posts?tags={quote(download.query, safe='')}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=home,
            env={**{key: os.environ[key] for key in PASSED_ON if key in os.environ}, "HOME": home, "LANG": "C.UTF-8"},
            pass_fds=(download.lock,),
            start_new_session=True,
            preexec_fn=lambda: confine(download.maximum_bytes),
        )
        try:
            # Through a pipe, so that the API key touches neither the disk nor the list of processes.
            send(process.stdin, json.dumps(config).encode())
            return watched(process, store, allowance(site, wanted), progress)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def configured(download: Download, wanted: list[Post]) -> dict[str, Any]:
    """gallery-dl's configuration of one pass."""
    site, store = download.site, download.store
    ids = sorted(int(post["post_id"]) for post in wanted)
    # The list comes newest first: below the oldest wanted post there is nothing to look for.
    older = "" if re.search(r"(^|\s)ord\w*:", download.query) else f" or (id < {ids[0]} and abort())"
    settings = {
        "user-agent": site.agent,
        "sleep-request": site.pause,
        "sleep": site.pause,
        "retries": 1,
        "timeout": 20,
        "directory": [],
        "filename": "{id}.{extension}",
        "threshold": 1,  # a page with fewer posts is not the last one
        "file-filter": f"id in {{{', '.join(map(str, ids))}}}{older}",
        "actions": {"*:^'(429|503) ": f"exit {BUSY}"},
        "postprocessors": [{"name": "metadata", "filename": "{id}.json", "event": "after", "sort": True}],
        **({"username": site.login[0], "password": site.login[1]} if site.login else {}),
    }
    return {
        "extractor": {
            "base-directory": str(store.files.resolve()),
            "Danbooru": {site.name: {"root": site.root}},
            site.name: settings,
        },
        "downloader": {
            "part-directory": str(store.parts.resolve()),
            "mtime": False,
            "filesize-max": str(download.maximum_bytes),
            "progress": None,
        },
        "output": {"mode": "null", "log": {"format": "{levelname}\t{keywords.id}\t{message}", "level": "info"}},
        "cache": {"file": None},
    }


def allowance(site: Site, wanted: list[Post]) -> float:
    """Seconds that a pass may take in all."""
    return PASS_SECONDS + len(wanted) * (site.pause + SECONDS_PER_FILE)


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


# ---- watching


def watched(process: subprocess.Popen[bytes], store: Store, seconds: float, progress: Callable[[int], None]) -> Outcome:
    """Follow gallery-dl until it ends, or until it must be ended."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=pump, args=(process.stderr, lines), daemon=True).start()
    watch = Watch(store, seconds)
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
    """Ends a pass that hangs, spends too long on one file, or fails again and again."""

    def __init__(self, store: Store, seconds: float) -> None:
        self.store, self.outcome = store, Outcome()
        self.began = self.last_sign = time.monotonic()
        self.seconds = seconds
        self.there_at_first = len(store.present())
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
        arrived, parts = len(self.store.present()) - self.there_at_first, sizes(self.store.parts)
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
    parts = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            parts[path.name.partition(".")[0]] = path.stat().st_size
    return parts


def without_secrets(message: str) -> str:
    return re.sub(rf"\b({'|'.join(SECRETS)})=[^&\s'\"]+", r"\1=***", message, flags=re.IGNORECASE)[:300]
