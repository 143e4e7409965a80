"""A download under way: its bytes so far, and what the site said that tells whether the file is still the same.

Two halves are joined only where the site confirms the same strong ETag, or the same old enough Last-Modified, for both.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from charaloom.artifacts.files import digest
from charaloom.sources.network.pace import date_of

OLD_ENOUGH = 60.0  # seconds between Last-Modified and Date, from which RFC 9110 (8.8.2.2) lets it identify a file


class Part:
    """`path` holds the bytes, a note beside it what they belong to; neither is there once the file is complete."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.note_path, self.url = path, path.with_suffix(".json"), digest(url)
        self.note = self.read_note()
        self.size = path.stat().st_size if self.note and path.is_file() else 0
        self.sha256, self.md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.resumed = False
        self.handle: IO[bytes] | None = None

    def read_note(self) -> dict[str, Any]:
        """{url, validator, total}; empty where there is none for this address."""
        try:
            note = json.loads(self.note_path.read_bytes())
            whole = isinstance(note["validator"], str) and isinstance(note["total"], int) and note["url"] == self.url
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return {}
        return note if whole else {}

    @property
    def is_complete(self) -> bool:
        """Whether a killed run had written all of it."""
        return bool(self.size) and self.size == self.note["total"]

    def conditions(self) -> dict[str, str]:
        """Headers that ask for the rest, or for the whole where the file has changed."""
        if not self.size or self.size > self.note["total"]:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.note["validator"]}

    def begin(self, status: int, headers: Mapping[str, str]) -> bool:
        """Prepare to write what comes; False where it is neither the whole nor the rest of the same file."""
        if status == 206:
            if not self.is_rest(headers):
                self.discard()
                return False
            self.open_to_append()
            return True
        self.discard()
        validator, length = validator_of(headers), headers.get("Content-Length", "")
        if validator and length.isdecimal() and not headers.get("Content-Encoding"):
            self.note = {"url": self.url, "validator": validator, "total": int(length)}
            self.note_path.write_text(json.dumps(self.note), encoding="utf-8")
        self.handle = self.path.open("wb")
        return True

    def is_rest(self, headers: Mapping[str, str]) -> bool:
        if not self.size or headers.get("Content-Encoding"):
            return False
        ranged = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
        total = self.note["total"]
        same = self.note["validator"] in (headers.get("ETag"), headers.get("Last-Modified"))
        return same and ranged is not None and tuple(map(int, ranged.groups())) == (self.size, total - 1, total)

    def open_to_append(self) -> None:
        self.digest_file()
        self.handle = self.path.open("ab")
        self.resumed = True

    def digest_file(self) -> None:
        with self.path.open("rb") as handle:
            while chunk := handle.read(1 << 20):
                self.sha256.update(chunk)
                self.md5.update(chunk)

    def write(self, chunk: bytes) -> None:
        assert self.handle is not None
        self.handle.write(chunk)
        self.sha256.update(chunk)
        self.md5.update(chunk)
        self.size += len(chunk)

    def finish(self) -> None:
        """Bring the bytes to the disk."""
        assert self.handle is not None
        self.handle.flush()
        os.fsync(self.handle.fileno())
        self.close()

    def close(self) -> None:
        if self.handle is not None:
            self.handle.close()
            self.handle = None

    def discard(self) -> None:
        self.close()
        self.forget()
        self.path.unlink(missing_ok=True)
        self.size, self.note = 0, {}
        self.sha256, self.md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def forget(self) -> None:
        """Remove the note: the bytes are complete."""
        self.note_path.unlink(missing_ok=True)

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        if not self.note:
            self.path.unlink(missing_ok=True)  # nothing tells whether the rest would be of the same file


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What identifies these bytes: a strong ETag, else a Last-Modified that lies back far enough."""
    tag = headers.get("ETag", "").strip()
    if re.fullmatch(r'"[^"]*"', tag):
        return tag
    modified, now = headers.get("Last-Modified", ""), date_of(headers.get("Date", ""))
    at = date_of(modified)
    return modified if at is not None and now is not None and now - at >= OLD_ENOUGH else None
