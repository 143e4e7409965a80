"""The store of one character's downloads: files by post id, each known by the digest it had when it was complete.

A store (a folder in `work`, behind the caller's lock) holds
    posts.json      the list (`boards/source.py`)
    files/          complete and checked files, <post id>.<extension>
    parts/          downloads under way (`network/parts.py`), resumed where the file is known to be the same
    digests.json    SHA-256, by post id, of the files that were complete
    failures.json   why a file cannot be had, by post id, where asking again is no use
"""

import hashlib
import os
import re
import threading
from pathlib import Path

from charaloom.artifacts.files import digest, sync_folder
from charaloom.artifacts.sealed import read_kept, write_sealed
from charaloom.sources.posts import REMOVED, ListedPost, Post, refused

ENTRIES = "posts"  # key of both
DIGESTS, FAILURES = "digests.json", "failures.json"
ENDINGS = {"JPEG": "jpg"}  # of a format; the others are their own, in small letters


class Store:
    """The files of a store. `withdrawn`: SHA-256 or MD5 of pictures that may not be kept. Threads may share it."""

    def __init__(self, folder: Path, withdrawn: frozenset[str]) -> None:
        self.folder, self.files, self.parts = folder, folder / "files", folder / "parts"
        self.withdrawn = withdrawn
        for path in (self.files, self.parts):
            path.mkdir(parents=True, exist_ok=True)
        self.digests = self.read(DIGESTS)
        self.failures = self.read(FAILURES)
        self.passing: dict[str, str] = {}  # failures that may pass; asked for again in the next run
        self.lock = threading.Lock()
        paths = (path for path in sorted(self.files.iterdir()) if path.suffix != ".json")
        self.present = {path.name.partition(".")[0]: path for path in paths}

    def read(self, name: str) -> dict[str, str]:
        return read_kept(self.folder / name).get(ENTRIES, {})

    def save(self) -> None:
        with self.lock:
            for name, value in ((DIGESTS, self.digests), (FAILURES, self.failures)):
                if value != self.read(name):
                    write_sealed(self.folder / name, {ENTRIES: value})

    def settle(self, listed: list[ListedPost]) -> None:
        """Check each file by its digest and by what the list says; remove what is damaged, replaced, or may not be
        kept."""
        posts = {file_name(entry.post): entry.post for entry in listed if entry.problem is None}
        for post_id in {entry.post["post_id"] for entry in listed if entry.problem == REMOVED}:
            self.digests.pop(post_id, None)
            self.failures.pop(post_id, None)
        for name, path in list(self.present.items()):
            sha256, md5 = digests_of(path)
            post = posts.get(name)
            if post is None or {sha256, md5} & self.withdrawn:
                self.remove(name)
                if post:
                    self.digests[post["post_id"]] = sha256  # so that it is known without fetching it again
            elif self.digests.get(post["post_id"], sha256) != sha256 or post["md5"] not in (None, md5):
                self.digests.pop(post["post_id"], None)
                self.remove(name)
            else:
                self.digests[post["post_id"]] = sha256
        for path in self.parts.iterdir():
            if path.name.partition(".")[0] not in posts:
                path.unlink()
        self.save()

    def remove(self, name: str) -> None:
        self.present.pop(name).unlink()

    def add(self, post: Post, part: Path, kind: str, sha256: str, md5: str) -> None:
        """Take in a complete file, which is already on the disk; a withdrawn picture leaves only its digest."""
        name = file_name(post)
        with self.lock:
            self.digests[post["post_id"]] = sha256
            self.passing.pop(post["post_id"], None)
            if {sha256, md5} & self.withdrawn:
                part.unlink()
                return
            path = self.files / f"{name}.{ENDINGS.get(kind, kind.lower())}"
            os.replace(part, path)
            self.present[name] = path
        sync_folder(self.files)

    def fail(self, post: Post, reason: str, lasting: bool) -> None:
        with self.lock:
            (self.failures if lasting else self.passing)[post["post_id"]] = reason

    def forgive(self, post_ids: list[str]) -> None:
        """Failures that turned out to be no fault of the single file."""
        with self.lock:
            for post_id in post_ids:
                self.failures.pop(post_id, None)

    def is_withdrawn(self, post: Post) -> bool:
        return self.digests.get(post["post_id"]) in self.withdrawn

    def missing(self, listed: list[ListedPost]) -> list[ListedPost]:
        """Posts whose file is still to be fetched."""
        entries = [entry for entry in listed if entry.problem is None and file_name(entry.post) not in self.present]
        return [
            entry
            for entry in entries
            if entry.post["post_id"] not in self.failures and not self.is_withdrawn(entry.post)
        ]

    def attached(self, listed: list[ListedPost]) -> list[ListedPost]:
        """Each post with its file, or with the reason why it has none."""
        return [self.with_file(entry, self.present.get(file_name(entry.post))) for entry in listed]

    def with_file(self, entry: ListedPost, path: Path | None) -> ListedPost:
        post_id = entry.post["post_id"]
        if entry.problem is not None:
            return entry
        if self.is_withdrawn(entry.post):
            return refused(entry.post, REMOVED)
        reason = self.failures.get(post_id) or self.passing.get(post_id) or "download failed: not sent"
        return ListedPost(entry.post, path, None if path else reason)


def file_name(post: Post) -> str:
    """The name of a post's file, without its ending; a post id that is no plain word is none and is digested."""
    post_id = post["post_id"]
    return post_id if re.fullmatch(r"[a-z0-9_-]{1,100}", post_id) else f"x{digest(post_id)[:32]}"


def digests_of(path: Path) -> tuple[str, str]:
    """SHA-256, and MD5 because boards list it."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()
