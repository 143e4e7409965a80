"""Files of a board's posts from a mirror of it on a hub, so that the board is only asked for its list.

A mirror is a dataset repository of tar archives, a thousand or ten thousand of them by the end of the post id, each
with an index beside it (`images/0123.tar`, `images/0123.json`) that says where in the archive each file stands: the
layout of deepghs' mirrors. One file is asked for by its range of bytes.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from charaloom.config.params import Origin
from charaloom.errors import CharaloomError
from charaloom.images.decoding import sniff
from charaloom.runtime.hub import is_address
from charaloom.sources.downloads import DOUBTED, FILE_SECONDS, Failed, Fetching, named_failures, raise_for_status
from charaloom.sources.network.replies import TooLarge
from charaloom.sources.posts import ListedPost, is_number
from charaloom.sources.sites import Site, agent
from charaloom.sources.store import file_name
from charaloom.sources.web import Web, shown

PAUSE = 0.1  # seconds between two requests; the hub allows 5,000 in 5 minutes
LEVELS = (3, 4)  # digits of a post id that name its archive
ABSENT = "no file: the mirror lacks it"


@dataclass(frozen=True)
class Place:
    """Where a file stands in an archive of the mirror."""

    archive: str  # address
    offset: int
    size: int
    sha256: str | None


def mirror_site(origin: Origin, contact: str) -> Site:
    """The hub as a site, with the token of the environment. Raises CharaloomError where it is a folder."""
    assert origin.hub is not None
    if not is_address(origin.hub):
        raise CharaloomError(
            f"boards.{origin.name}.mirror: `models.hub` is the folder {origin.hub}; a mirror needs a hub with an "
            "address"
        )
    token = os.environ.get("HF_TOKEN", "")
    secret = {"Authorization": f"Bearer {token}"} if token else {}
    name = f"the mirror of {origin.name}"
    return Site(name, origin.hub.rstrip("/"), PAUSE, agent(contact), secret_headers=secret, account="HF_TOKEN")


class MirrorFetching(Fetching):
    """Fetches from a mirror what `Fetching` fetches from a board."""

    def __init__(self, mirror: Mapping[str, Any], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.mirror = mirror
        self.indexes: dict[str, Mapping[int, Place] | None] = {}
        self.index_lock = threading.Lock()

    def look(self, missing: list[ListedPost]) -> None:
        """The board's hosts are not asked."""

    def wanted(self, posts: list[ListedPost]) -> list[ListedPost]:
        """As of a board, among equals those of one archive after each other."""
        wanted = sorted(super().wanted(posts), key=lambda entry: entry.post["post_id"][-LEVELS[0] :])
        return sorted(wanted, key=lambda entry: self.tries[entry.post["post_id"]])

    def fetch_once(self, entry: ListedPost) -> None:
        with named_failures(self.limits):
            place = self.place(entry.post["post_id"])
            if place is None:
                raise Failed(ABSENT, lasting_after=1)
            if place.size > self.limits.maximum_bytes:
                raise TooLarge
            data = self.received(place)
        sha256, kind = hashlib.sha256(data).hexdigest(), sniff(data)
        if place.sha256 not in (None, sha256):
            raise Failed("wrong file: not the one that the mirror lists", lasting_after=DOUBTED)
        if kind is None:
            raise Failed("not a picture: unknown format", lasting_after=1)
        part = self.store.parts / f"{file_name(entry.post)}.part"
        with part.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        self.store.add(entry.post, part, kind, sha256, hashlib.md5(data, usedforsecurity=False).hexdigest())

    def received(self, place: Place) -> bytes:
        """The bytes of a file; nothing but its very range is taken."""
        last = place.offset + place.size - 1
        with self.web.reply("GET", place.archive, {"Range": f"bytes={place.offset}-{last}"}, FILE_SECONDS) as reply:
            raise_for_status(reply, self.web)
            said = reply.headers.get("Content-Range", "")
            if reply.status != 206 or not said.startswith(f"bytes {place.offset}-{last}/"):
                raise Failed("download failed: another part than was asked for")
            data = b"".join(reply.chunks(place.size))
        if len(data) != place.size:
            raise Failed("download failed: cut short")
        return data

    # ---- indexes

    def place(self, post_id: str) -> Place | None:
        """Where the mirror has the file of a post."""
        if not post_id.isdecimal():
            return None
        for level in LEVELS:
            index = self.index(archive_of(int(post_id), level))
            if index is not None:
                return index.get(int(post_id))
        return None

    def index(self, archive: str) -> Mapping[int, Place] | None:
        """The files of an archive by post id; None where there is no such archive. Asked for once."""
        with self.index_lock:
            if archive not in self.indexes:
                address = f"{self.web.site.root}/datasets/{self.mirror['repo']}/resolve/{self.mirror['revision']}"
                answer = self.web.get(f"{address}/{archive}.json")
                if answer.status not in (200, 404):
                    raise CharaloomError(
                        f"{self.web.site}: answered {answer.status} for {archive}.json. Run again later."
                    )
                self.indexes[archive] = (
                    None if answer.status == 404 else dict(files_of(answer.body, f"{address}/{archive}.tar", self.web))
                )
            return self.indexes[archive]


def archive_of(post_id: int, level: int) -> str:
    """The archive of a post by the last `level` digits of its id, without ending: `images/0123`, `images/4/0123`."""
    digits = f"{post_id % 10**level:0{level}d}"
    return "/".join(["images", *digits[:-3], f"0{digits[-3:]}"])


def files_of(body: bytes, archive: str, web: Web) -> Iterator[tuple[int, Place]]:
    """The files that an index lists."""
    try:
        files = json.loads(body)["files"].items()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CharaloomError(
            f"{web.site}: {shown(archive)} has no index that can be read. Check the mirror's repo."
        ) from error
    for name, entry in files:
        post_id, row = PurePosixPath(name).stem, entry if isinstance(entry, dict) else {}
        offset, size, sha256 = (row.get(key) for key in ("offset", "size", "sha256"))
        if post_id.isdecimal() and is_number(offset) and offset >= 0 and is_number(size) and size > 0:
            yield int(post_id), Place(archive, offset, size, sha256 if isinstance(sha256, str) else None)
