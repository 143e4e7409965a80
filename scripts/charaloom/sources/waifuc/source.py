"""A source of waifuc: its pictures and what it says of them, by `program.py` in waifuc's own environment.

waifuc lists and fetches at once and knows no resuming, so its pictures appear in the store together, when it has ended.
Nothing that it names decides where a file goes, nothing of it is unpickled, and where the kernel has Landlock (Linux
from 5.13 on) it cannot write anywhere else.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, whole_folder
from charaloom.artifacts.sealed import LIST, below, read_kept, seal_files, whole_files, write_sealed
from charaloom.config.params import Origin
from charaloom.errors import CharaloomError
from charaloom.images.files import printable
from charaloom.runtime.processes import PASSED_ON, TooMuchError, confined, watched
from charaloom.sources.folders.ratings import UNKNOWN
from charaloom.sources.network.secrets import hidden, scrubbed_text
from charaloom.sources.posts import REMOVED, ListedPost, Rules, judged, refused
from charaloom.sources.store import digests_of
from charaloom.sources.waifuc.items import post_of_item

CONTENT, POSTS = "content", "posts.json"  # in the store: the folder that is whole or not there, the list in it

# Set by hand.
PAUSE = 1.0  # seconds between two requests to one host
MEMORY_BYTES = 4 * 2**30  # address space
SAID_BYTES = 256 * 2**20
LINE_BYTES = 2**22
BASE_SECONDS, SECONDS_PER_ITEM = 900.0, 10.0  # that a crawl may take in all
SILENT_SECONDS = 400.0  # without a picture; waifuc tries one page of a list for up to 81 s
FOLDER_BYTES = 20 * 2**30
SPARE_FILES = 1000  # in its folder besides the pictures
NO_PYTHON = (
    "waifuc: {python} is no program. Make an environment as envs/waifuc.txt says, and name its Python under `waifuc` "
    "in the config."
)


@dataclass
class Crawl:
    """What the program has said so far."""

    items: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    ended: bool = False
    rest: bytes = b""
    heard: float = field(default_factory=time.monotonic)  # when the last picture came


class WaifucSource:
    """The pictures of one of waifuc's sources, `most` at most; `hosts` is the folder of the pace per host."""

    kept_in = f"{CONTENT}/{POSTS}"  # the list, in the store

    def __init__(
        self,
        origin: Origin,
        most: int,
        rules: Rules,
        folder: Path,
        hosts: Path,
        python: str,
        agent: str,
        progress: Callable[[int, int], None],
    ) -> None:
        assert origin.waifuc is not None
        self.asked: Mapping[str, Any] = origin.waifuc
        self.name = f"waifuc's {self.asked['class']}"
        self.most, self.rules, self.folder, self.hosts = most, rules, folder, hosts
        self.python, self.agent, self.progress = python, agent, progress
        self.numbers: dict[str, int] = {}
        self.is_full = False  # whether it ended at `most`, not at its last picture

    def list_posts(self, anew: bool = False) -> list[ListedPost]:
        """One post per picture, from the store where it holds the answer to the same question.

        Raises CharaloomError where it gives none.
        """
        content, path = self.folder / CONTENT, self.folder / self.kept_in
        kept, whole = read_kept(path), whole_files(content / LIST, some=True)
        if anew or kept.get("question") != self.question() or whole is None:
            with whole_folder(content) as part:
                kept = self.crawled(part)
                seal_files(part / LIST, below(part / "files"))
                write_sealed(part / POSTS, kept)
        if kept["partial"]:
            print(f"{printable(kept['partial'])}; the pictures that came are used", file=sys.stderr, flush=True)
        self.numbers = kept["numbers"]
        self.is_full = len(kept["posts"]) >= self.most
        files = content / "files"
        entries = [ListedPost(each["post"], files / each["file"], each["problem"]) for each in kept["posts"]]
        listed = [entry if entry.problem else self.kept(entry) for entry in entries]
        posts = [
            {**each, "post": entry.post, "problem": entry.problem}
            for each, entry in zip(kept["posts"], listed, strict=True)
        ]
        if posts != kept["posts"]:
            write_sealed(path, {**kept, "posts": posts})
        return listed

    def kept(self, entry: ListedPost) -> ListedPost:
        """A post, judged again; where it or its picture was removed on request, its file is not kept."""
        assert entry.file is not None
        known = set(digests_of(entry.file)) if self.rules.pictures and entry.file.is_file() else set()
        result = refused(entry.post, REMOVED) if known & self.rules.pictures else judged(entry, self.rules, False)
        if result.problem == REMOVED:
            entry.file.unlink(missing_ok=True)
        return result

    def question(self) -> str:
        """A digest of all that decides the answer."""
        return digest({"asked": self.asked, "most": self.most, "ratings": sorted(self.rules.ratings)})

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return self.numbers

    # ---- the crawl

    def crawled(self, part: Path) -> dict[str, Any]:
        """Let waifuc work in `part`, and judge what it leaves there: {question, partial, posts, numbers}."""
        files = part / "files"
        files.mkdir()
        self.hosts.mkdir(parents=True, exist_ok=True)
        secrets = self.secrets()
        crawl = Crawl()
        partial = self.run(files, secrets, crawl)
        if not crawl.items:
            raise CharaloomError(
                f"{partial or f'{self.name}: gave no picture'}. Check its class, args and options, and what it says of "
                "them; nothing was kept."
            )
        posts, exact = self.posts(files, crawl, secrets)
        for file in files.iterdir():
            if file.name not in {each["file"] for each in posts if each["problem"] is None}:
                remove(file)
        numbers = {"partial_sources": int(partial is not None), "skipped_files": crawl.skipped}
        numbers["redrawn_files"] = len(crawl.items) - exact
        return {"question": self.question(), "partial": partial, "posts": posts, "numbers": numbers}

    def run(self, files: Path, secrets: Mapping[str, str], crawl: Crawl) -> str | None:
        """Run the program until it ends or has gone too far; why it did not end by itself."""
        facts = {
            "class": self.asked["class"],
            "args": self.asked.get("args", []),
            "options": {**self.asked.get("options", {}), **secrets},
            "items": self.most,
            "agent": self.agent,
            "pause": PAUSE,
            "hosts": str(self.hosts.resolve()),
        }
        home = {name: str(files.resolve()) for name in ("HOME", "TMPDIR")}
        quiet = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"}
        known = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        try:
            process = subprocess.Popen(
                [str(Path(self.python).absolute()), "-m", "charaloom.sources.waifuc.program"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=files,
                env={**known, **home, **quiet, "PYTHONPATH": str(Path(__file__).parents[3])},
                start_new_session=True,
                preexec_fn=confined(MEMORY_BYTES, self.rules.limits.maximum_bytes, [files, self.hosts]),
            )
        except OSError as error:
            raise CharaloomError(NO_PYTHON.format(python=self.python)) from error
        seconds = BASE_SECONDS + SECONDS_PER_ITEM * self.most

        def hear(chunk: bytes) -> None:
            self.hear(chunk, crawl)

        def look() -> None:
            if time.monotonic() > crawl.heard + SILENT_SECONDS:
                raise TooMuchError(f"gave no picture for {SILENT_SECONDS:.0f} seconds")
            raise_if_full(files, self.most + SPARE_FILES)

        try:
            errors = watched(process, json.dumps(facts).encode(), seconds, SAID_BYTES, hear, look)
        except TooMuchError as error:
            return f"{self.name}: {error}"
        if crawl.ended and process.returncode == 0:
            return None
        return f"{self.name}: ended early (status {process.returncode}: {last_line(errors, secrets)})"

    def hear(self, chunk: bytes, crawl: Crawl) -> None:
        """Take in lines of the program. Raises TooMuchError where it says what it was not asked for."""
        *lines, crawl.rest = (crawl.rest + chunk).split(b"\n")
        if any(len(line) > LINE_BYTES for line in (*lines, crawl.rest)):
            raise TooMuchError(f"said a line of more than {LINE_BYTES // 2**20} MiB")
        for line in lines:
            said = read_line(line)
            if said is None or ("end" not in said and len(crawl.items) == self.most):
                raise TooMuchError("said what it was not asked for")
            if "end" in said:
                crawl.ended = True
                crawl.skipped = said["skipped"] if isinstance(said.get("skipped"), int) else 0
                continue
            crawl.items.append(said)
            crawl.heard = time.monotonic()
            self.progress(len(crawl.items), self.most)

    def posts(self, files: Path, crawl: Crawl, secrets: Mapping[str, str]) -> tuple[list[dict[str, Any]], int]:
        """The posts of the items, each once, judged; and how many files are those that the site serves."""
        posts: dict[tuple[str, str], dict[str, Any]] = {}
        exact = 0
        for number, item in enumerate(crawl.items):
            exact += item.get("exact") is True
            meta = json.loads(hidden(json.dumps(item["meta"]), secrets.values()))
            post, rating = post_of_item(meta, number)
            entry = ListedPost(post, problem=file_problem(files, number))
            if entry.problem is None and rating == UNKNOWN:
                entry = refused(post, "rating unknown: not understood")
            elif entry.problem is None and rating is None:
                post["rating"] = self.asked.get("unrated")
                entry = entry if post["rating"] else refused(post, "rating unknown: not downloaded")
            entry = entry if entry.problem else judged(entry, self.rules, sentences=False)
            known = (entry.post["site"], entry.post["post_id"])
            posts.setdefault(known, {"post": entry.post, "problem": entry.problem, "file": file_name(number)})
        return [posts[known] for known in sorted(posts)], exact

    def secrets(self) -> dict[str, str]:
        """The options whose values the environment has, `{env: NAME}` in the config."""
        options = self.asked.get("options", {})
        named = {
            key: value["env"] for key, value in options.items() if isinstance(value, dict) and set(value) == {"env"}
        }
        if missing := [name for name in named.values() if not os.environ.get(name)]:
            raise CharaloomError(f"{self.name}: the environment has no {missing[0]}, which its options name; set it")
        return {key: os.environ[name] for key, name in named.items()}


def file_name(number: int) -> str:
    return f"{number:06d}"


def file_problem(files: Path, number: int) -> str | None:
    """Why there is no picture of an item: only a plain file of its own is one."""
    file = files / file_name(number)
    return None if file.is_file() and not file.is_symlink() else "no file: waifuc left none"


def read_line(line: bytes) -> dict[str, Any] | None:
    """A line of the program; None where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(value, dict) and ("end" in value or isinstance(value.get("meta"), dict))
    return value if is_one else None


def raise_if_full(folder: Path, most: int) -> None:
    """Raises TooMuchError where a folder holds more files or bytes than it may."""
    number = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            number += 1
            try:
                size += os.lstat(os.path.join(parent, name)).st_size
            except OSError:  # a temporary file that is gone
                continue
    if number > most:
        raise TooMuchError(f"left more than {most} files")
    if size > FOLDER_BYTES:
        raise TooMuchError(f"left more than {FOLDER_BYTES / 2**30:.0f} GiB")


def remove(path: Path) -> None:
    """What the program left besides its pictures; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def last_line(errors: bytes, secrets: Mapping[str, str]) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return scrubbed_text(hidden(lines[-1], secrets.values()))[:200] if lines else "no message"
