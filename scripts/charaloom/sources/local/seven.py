"""7z archives, by py7zr: each entry goes to a place of ours in pieces, as the other kinds do."""

from pathlib import Path
from typing import BinaryIO

import py7zr
from py7zr.io import Py7zIO, WriterFactory

from charaloom.images.formats import HEAD_BYTES
from charaloom.sources.local.child import fail
from charaloom.sources.local.unpacking import Unpacking


class Entry(Py7zIO):
    """One entry while it is unpacked: written to its place, or nowhere."""

    def __init__(self, name: str, work: Unpacking) -> None:
        self.name, self.work, self.bytes = name, work, 0
        self.is_placed = False
        self.target: Path | None = None
        self.handle: BinaryIO | None = None

    def begin(self, head: bytes) -> None:
        self.is_placed, self.target = True, self.work.place(self.name, head)
        if self.target is not None:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.handle = self.target.open("wb")

    def write(self, s: bytes | bytearray) -> int:
        if not self.is_placed:
            self.begin(bytes(s[:HEAD_BYTES]))
        self.bytes += len(s)
        self.work.count(len(s))
        if self.handle is not None and self.bytes > self.work.file_bytes:
            self.give_up()
        if self.handle is not None:
            self.handle.write(s)
        return len(s)

    def give_up(self) -> None:
        self.close()
        assert self.target is not None
        self.target.unlink()
        self.work.too_large.append(self.name)

    def close(self) -> None:
        if not self.is_placed:
            self.begin(b"")
        if self.handle is not None:
            self.handle.close()
            self.handle = None

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        pass

    def size(self) -> int:
        return self.bytes


class Entries(WriterFactory):
    def __init__(self, work: Unpacking) -> None:
        self.work = work
        self.open: list[Entry] = []

    def create(self, filename: str) -> Entry:
        for entry in self.open:
            entry.close()
        self.open = [Entry(filename, self.work)]
        return self.open[0]


def extract(path: Path, work: Unpacking) -> None:
    try:
        with py7zr.SevenZipFile(path) as archive:
            if archive.needs_password():
                fail("is encrypted; unpack it yourself and name the folder")
            links = {entry.filename for entry in archive.files if entry.is_symlink or entry.is_junction}
            work.refused += sorted(links)
            names = sorted(entry.filename for entry in archive.files if not entry.is_directory)
            work.check_number(len(names))
            entries = Entries(work)
            archive.extract(targets=[name for name in names if name not in links], factory=entries)
            for entry in entries.open:
                entry.close()
    except py7zr.exceptions.ArchiveError as error:
        raise ValueError(str(error) or type(error).__name__) from error
