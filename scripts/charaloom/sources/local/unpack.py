"""Unpack the pictures and side files of a zip, tar or 7z archive; a process of its own (`child.py`).

Names in an archive decide nothing but the order and what belongs together: what would leave the folder, links and
devices are refused, names are made plain, archives inside are not opened. Every file has a limit of its own, all
together another, counted on the unpacked bytes.
"""

import json
import lzma
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from charaloom.sources.local.child import fail
from charaloom.sources.local.unpacking import Unpacking

CHUNK = 1 << 18  # bytes
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


def unpack(path: Path, work: Unpacking) -> None:
    if starts_as_7z(path):
        unpack_7z(path, work)
    elif zipfile.is_zipfile(path):
        unpack_zip(path, work)
    elif tarfile.is_tarfile(path):
        unpack_tar(path, work)
    else:
        fail("is no zip, tar or 7z archive; unpack it yourself and name the folder")


def starts_as_7z(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(6) == b"7z\xbc\xaf\x27\x1c"


def unpack_zip(path: Path, work: Unpacking) -> None:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        work.check_number(len(infos))
        for info in sorted(infos, key=lambda entry: entry.filename):
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                work.refused.append(info.filename)
            elif info.flag_bits & 1:
                fail("is encrypted; unpack it yourself and name the folder")
            else:
                with archive.open(info) as handle:
                    work.copy(info.filename, pieces(handle))


def unpack_tar(path: Path, work: Unpacking) -> None:
    with tarfile.open(path) as archive:
        for number, info in enumerate(archive, 1):
            work.check_number(number)
            if info.isdir():
                continue
            handle = archive.extractfile(info) if info.isreg() else None
            if handle is None:
                work.refused.append(info.name)
            else:
                with handle:
                    work.copy(info.name, pieces(handle))
            archive.members = []  # type: ignore[attr-defined]  # else it remembers every entry


def pieces(handle: IO[bytes]) -> Iterator[bytes]:
    while chunk := handle.read(CHUNK):
        yield chunk


def unpack_7z(path: Path, work: Unpacking) -> None:
    from charaloom.sources.local.seven import extract

    extract(path, work)


def main() -> None:
    facts = json.loads(sys.argv[1])
    work = Unpacking(Path(facts["folder"]), tuple(facts["endings"]), facts["file_bytes"])
    try:
        unpack(Path(facts["path"]), work)
    except DAMAGED as error:
        fail(f"is damaged or packed in an unknown way ({error}); unpack it yourself and name the folder")
    print(json.dumps(work.report()))


if __name__ == "__main__":
    main()
