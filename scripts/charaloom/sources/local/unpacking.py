"""Where the files of an archive go, whatever its kind: plain names below one folder, each and all of bounded size."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from charaloom.artifacts.files import digest, safe_name
from charaloom.images.formats import HEAD_BYTES, sniff
from charaloom.sources.local.child import fail

TOTAL_BYTES = 50 * 2**30  # set by hand, as the following
ENTRIES = 500_000
NAME_BYTES = 150  # of one part of a path
SHOWN = 1000  # names of each kind that a report lists


class Unpacking:
    """Where files go, and what was refused. `endings`: of the files that are taken; `file_bytes`: of one at most."""

    def __init__(self, folder: Path, endings: tuple[str, ...], file_bytes: int) -> None:
        self.folder, self.endings, self.file_bytes = folder, endings, file_bytes
        self.refused: list[str] = []
        self.too_large: list[str] = []
        self.ignored: list[str] = []
        self.total = 0

    def place(self, name: str, head: bytes = b"") -> Path | None:
        """Where a regular file that begins so goes; None where it is refused or not wanted."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name or re.match(r"[A-Za-z]:", name):
            self.refused.append(name)
            return None
        wanted = name.lower().endswith(self.endings) or sniff(head[:HEAD_BYTES])
        if not wanted or "__MACOSX" in path.parts:
            self.ignored.append(name)
            return None
        return self.folder.joinpath(*(plain_name(part) for part in path.parts if part not in ("", ".")))

    def copy(self, name: str, chunks: Iterator[bytes]) -> None:
        """One file in pieces; one that is larger than it may be is removed again."""
        first = next(chunks, b"")
        target = self.place(name, first)
        if target is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with target.open("wb") as handle:
            for chunk in chain([first], chunks):
                size += len(chunk)
                self.count(len(chunk))
                if size > self.file_bytes:
                    break
                handle.write(chunk)
        if size > self.file_bytes:
            target.unlink()
            self.too_large.append(name)

    def count(self, size: int) -> None:
        self.total += size
        if self.total > TOTAL_BYTES:
            fail(f"holds more than {TOTAL_BYTES // 2**30} GiB; unpack what you need and name the folder")

    def check_number(self, entries: int) -> None:
        if entries > ENTRIES:
            fail(f"holds more than {ENTRIES} entries; unpack what you need and name the folder")

    def report(self) -> dict[str, object]:
        return {
            "refused": [shown(name) for name in self.refused[:SHOWN]],
            "refused_entries": len(self.refused),
            "large": [shown(name) for name in self.too_large[:SHOWN]],
            "large_entries": len(self.too_large),
            "ignored": [shown(name) for name in self.ignored[:SHOWN]],
            "ignored_entries": len(self.ignored),
        }


def plain_name(part: str) -> str:
    """A part of a path as a plain name; files that differ in their endings alone keep the same beginning."""
    hidden = "." if part.startswith(".") else ""  # waifuc's side files begin with a dot
    stem, dot, endings = part.removeprefix(hidden).partition(".")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,24}", endings):
        stem, dot, endings = part.removeprefix(hidden).rpartition(".")
    plain = safe_name(stem)
    short = plain if len(plain) <= NAME_BYTES else f"{plain[:NAME_BYTES]}-{digest(stem)[:6]}"
    return f"{hidden}{short}{dot}{endings}"


def plain_path(name: str) -> str:
    """Where a file of an archive lies, below the folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "/".join(plain_name(part) for part in parts if part not in ("", ".", "/"))


def shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")
