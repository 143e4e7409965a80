"""The store of one character's downloads: files by post id, each known by the digest it had when it was complete.

A store (a folder in `work`, behind the caller's lock) holds
    posts.json      the list (`boards.py`)
    files/          <post id>.<extension>, and beside it the post as gallery-dl writes it, <post id>.json
    parts/          downloads under way; thrown away when a pass starts, so that two halves are never joined
    digests.json    SHA-256, by post id, of the files that were complete
    failures.json   why a file cannot be had, by post id, where asking again is no use
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from charaloom.artifacts.files import read_json, write_json
from charaloom.sources.posts import REMOVED, ListedPost, Post, refused

DIGESTS, FAILURES = "digests.json", "failures.json"


class Store:
    """The files of a store. `withdrawn`: SHA-256 or MD5 of pictures that may not be kept."""

    def __init__(self, folder: Path, withdrawn: frozenset[str]) -> None:
        self.folder, self.files, self.parts = folder, folder / "files", folder / "parts"
        self.withdrawn = withdrawn
        self.files.mkdir(parents=True, exist_ok=True)
        self.digests = self.read(DIGESTS)
        self.failures = self.read(FAILURES)
        self.passing: dict[str, str] = {}  # failures that may pass; asked for again in the next run
        self.doubted: set[str] = set()

    def read(self, name: str) -> dict[str, str]:
        path = self.folder / name
        return read_json(path) if path.is_file() else {}

    def keep(self, name: str, value: dict[str, str]) -> None:
        if value != self.read(name):
            write_json(self.folder / name, value)

    def present(self) -> dict[str, Path]:
        """Complete files by post id."""
        paths = [path for path in sorted(self.files.iterdir()) if path.suffix not in (".json", ".part")]
        return {path.name.partition(".")[0]: path for path in paths}

    def settle(self, listed: list[ListedPost], fresh: Iterable[str] = ()) -> None:
        """Check each file by its digest, remember new ones, remove what is damaged or may not be kept.

        `fresh` names the posts just asked for: their files may differ from what was there before.
        """
        for post_id in fresh:
            self.digests.pop(post_id, None)
        posts = {entry.post["post_id"]: entry.post for entry in listed if entry.problem is None}
        for post_id, path in self.present().items():
            sha256, md5 = digests_of(path)
            if post_id not in posts or {sha256, md5} & self.withdrawn:
                self.digests[post_id] = sha256  # so that a withdrawn picture is known without fetching it again
                self.remove(path)
            elif self.digests.get(post_id, sha256) != sha256 or self.is_doubtful(posts[post_id], md5):
                self.remove(path)
            else:
                self.digests[post_id] = sha256
        self.keep(DIGESTS, self.digests)

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

    def missing(self, listed: list[ListedPost]) -> list[Post]:
        """Posts whose file is still to be fetched."""
        present = self.present()
        posts = [entry.post for entry in listed if entry.problem is None and entry.post["post_id"] not in present]
        return [post for post in posts if post["post_id"] not in self.failures and not self.is_withdrawn(post)]

    def attached(self, listed: list[ListedPost]) -> list[ListedPost]:
        """Each post with its file, or with the reason why it has none."""
        present = self.present()
        return [self.with_file(entry, present.get(entry.post["post_id"])) for entry in listed]

    def with_file(self, entry: ListedPost, path: Path | None) -> ListedPost:
        post_id = entry.post["post_id"]
        if entry.problem is not None:
            return entry
        if self.is_withdrawn(entry.post):
            return refused(entry.post, REMOVED)
        reason = self.failures.get(post_id) or self.passing.get(post_id) or "download failed: not sent"
        return ListedPost(entry.post, path, None if path else reason)


def digests_of(path: Path) -> tuple[str, str]:
    """SHA-256, and MD5 because boards list it."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()
