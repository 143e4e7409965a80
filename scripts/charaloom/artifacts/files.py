"""Files appear whole or not at all, and their digests are the only thing that decides whether they changed."""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from charaloom.artifacts.locks import try_lock
from charaloom.artifacts.types import PathLike

PART, OLD = ".part", ".old"  # endings of temporary names: not finished yet, or moved away
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux' fcntl.h and fs.h


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no clock, host or float surprise: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: PathLike) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value."""
    return sha256_bytes(canonical_json(value).encode())


def sync_folder(folder: Path) -> None:
    with opened_folder(folder) as handle:
        os.fsync(handle)


def current_umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


UMASK = current_umask()  # of this process; asked once, since asking changes it for a moment


@contextmanager
def private_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, which is gone afterwards unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=PART, dir=target.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def put_in_place(part: Path, target: Path) -> None:
    """Bring a finished file to the disk, and then under its name."""
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    part.chmod(0o666 & ~UMASK)
    os.replace(part, target)
    sync_folder(target.parent)


@contextmanager
def whole_file(path: PathLike) -> Iterator[Path]:
    """Yield a private temporary path beside `path`; on success it is synced and renamed over `path`."""
    target = Path(path)
    with private_file(target) as part:
        yield part
        put_in_place(part, target)


@contextmanager
def whole_folder(path: PathLike) -> Iterator[Path]:
    """Yield a private temporary folder beside `path`; on success it is synced with all it holds and replaces `path`.

    A kill at any moment leaves the old folder or the new one, whole. Where the file system cannot exchange two folders
    at once, a kill between two renames leaves none, and the next call brings the old one back.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    mend_folder(target)
    part, handle = private_folder(target)
    try:
        yield part
        part.chmod(0o777 & ~UMASK)
        sync_tree(part)
        replace_folder(part, target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # what was not finished, or the old folder
        os.close(handle)


def private_folder(target: Path) -> tuple[Path, int]:
    """A new folder beside `target`, and its open handle, whose lock says that its process is alive."""
    while True:
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PART, dir=target.parent))
        with suppress(FileNotFoundError):  # another process took it for a leftover before it was locked
            handle = os.open(part, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: `mend_folder` leaves its folders alone
                fcntl.flock(handle, fcntl.LOCK_EX)
            if part.exists():
                return part, handle
            os.close(handle)


def mend_folder(target: Path) -> None:
    """Clear away what killed calls of `whole_folder` left beside `target`; without `target`, its old folder returns."""
    for left in leftovers(target, OLD):
        if target.exists():
            shutil.rmtree(left, ignore_errors=True)
        else:
            os.rename(left, target)
    for left in leftovers(target, PART):
        shutil.rmtree(left, ignore_errors=True)


def leftovers(target: Path, suffix: str) -> Iterator[Path]:
    """Temporary folders of `target` whose process has ended."""
    for folder in sorted(target.parent.glob(f".{escape(target.name)}.*{suffix}")):
        of_another = "." in folder.name.removeprefix(f".{target.name}.").removesuffix(suffix)  # of `<target>.x`
        if of_another or folder.is_symlink() or not folder.is_dir():
            continue
        with suppress(OSError), opened_folder(folder) as handle:
            if try_lock(handle):
                yield folder


def sync_tree(folder: Path) -> None:
    """Bring every file and folder below `folder`, and itself, to the disk."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                with path.open("rb") as handle:
                    os.fsync(handle.fileno())
        sync_folder(Path(parent))


def replace_folder(part: Path, target: Path) -> None:
    """Put `part` in the place of `target`; an old `target` is afterwards where `part` was."""
    if not target.exists():
        os.rename(part, target)
    elif not exchange(part, target):
        old = part.with_suffix(OLD)
        with opened_folder(target) as handle:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)  # so that no other call takes it for a leftover
            os.rename(target, old)
            os.rename(part, target)
            os.rename(old, part)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; False where the system or the file system cannot."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


@contextmanager
def opened_folder(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def write_text(path: PathLike, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: PathLike, value: Any) -> None:
    write_text(path, canonical_json(value))


def read_json(path: PathLike) -> Any:
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)


def files_below(folder: PathLike) -> list[Path]:
    """All files below a folder, as paths relative to it, in a total order."""
    root = Path(folder)
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def safe_name(name: str) -> str:
    """A name as a file name: other characters are replaced, and a digest keeps two names apart."""
    plain = re.sub(r"[^A-Za-z0-9_.()+-]", "_", name).lstrip(".")
    return plain if plain == name else f"{plain}-{digest(name)[:6]}"
