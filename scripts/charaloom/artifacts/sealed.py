"""Files that carry their SHA-256: a flipped bit is found where they are read, whatever their times and sizes say.

A sealed JSON file holds the digest of its other keys. A sealed file of any other kind has it in its name, so that
content and digest appear in one step: `state.pt` lies there as `state.<sha256>.pt`. A sealed folder has a list of its
files.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import (
    digest,
    files_below,
    private_file,
    put_in_place,
    read_json,
    sha256_file,
    write_json,
)
from charaloom.artifacts.types import PathLike
from charaloom.errors import DamagedError

SEAL = "sha256"
DAMAGED = "not the bytes that were written there"  # in the message of each error about a damaged file
SEALED_SCHEMA = 3  # `schema` of JSON files from which on they are sealed
LIST, FILES = "files.json", "files"  # of a sealed folder; its key
NAMED = re.compile(r"(?P<stem>.*)\.(?P<digest>[0-9a-f]{64})(?P<suffix>\.[^.]*)?")


# --- JSON


def write_sealed(path: PathLike, content: Mapping[str, Any]) -> None:
    """Write a JSON object with the digest of it as one more key. Its `schema` says that it is sealed."""
    write_json(path, {"schema": SEALED_SCHEMA, **content, SEAL: digest({"schema": SEALED_SCHEMA, **content})})


def read_sealed(path: PathLike) -> dict[str, Any]:
    """The object in a sealed JSON file; one of before files were sealed is taken as it is.

    Raises DamagedError where it is not what was written.
    """
    try:
        content = read_json(path)
        seal, schema = content.pop(SEAL, None), content.get("schema")
        old = seal is None and not (isinstance(schema, int) and schema >= SEALED_SCHEMA)
        whole = old or seal == digest(content)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # no JSON, no UTF-8, no object
        raise damaged(path) from error
    if not whole:
        raise damaged(path)
    return content


def read_kept(path: PathLike) -> dict[str, Any]:
    """The object in a sealed JSON file of a cache; empty where it is missing or damaged, so that it is made again."""
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return {}
    except DamagedError:
        print(f"{path}: damaged; it is made again", file=sys.stderr, flush=True)
        return {}


def damaged(path: PathLike) -> DamagedError:
    return DamagedError(f"{path}: {DAMAGED}: damaged, or edited by hand. `charaloom run` makes it again.")


# --- files with their digest in the name


@contextmanager
def sealed_file(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes the file that `whole_sealed(path)` finds, and earlier ones go."""
    target = Path(path)
    with private_file(target) as part:
        yield part
        final = target.with_name(f"{target.stem}.{sha256_file(part)}{target.suffix}")
        put_in_place(part, final)
    for other in versions(target):
        if other != final:
            other.unlink(missing_ok=True)


def whole_sealed(path: PathLike) -> Path | None:
    """Where the file that was sealed as `path` lies; None where there is none. A damaged one is removed."""
    for file in versions(Path(path)):
        if sha256_file(file) == named_digest(file):
            return file
        print(f"{file}: damaged; it is made again", file=sys.stderr, flush=True)
        file.unlink(missing_ok=True)
    return None


def versions(target: Path) -> list[Path]:
    """Files that were sealed under a name, whole or not, the newest first."""
    try:  # a cache may have thousands of files in a folder: their names are compared, no pattern
        names = [name for name in os.listdir(target.parent) if name.startswith(f"{target.stem}.")]
    except FileNotFoundError:
        return []
    found = [target.with_name(name) for name in names if name.endswith(target.suffix) and NAMED.fullmatch(name)]
    return sorted(found, key=lambda file: (-file.stat().st_mtime_ns, file.name))


def named_digest(file: Path) -> str | None:
    match = NAMED.fullmatch(file.name)
    return match["digest"] if match else None


# --- several files under a list


def seal_files(listing: Path, names: Iterable[PathLike], content: Mapping[str, Any] | None = None) -> None:
    """Write a sealed list of files, with other `content`, so that `whole_files` can compare them. Their names are
    relative to the list's folder."""
    digests = {str(name): sha256_file(listing.parent / name) for name in names}
    write_sealed(listing, {**(content or {}), FILES: dict(sorted(digests.items()))})


def whole_files(listing: Path, some: bool = False) -> dict[str, Any] | None:
    """The content of a sealed list; None where it, or a file of it, is missing or damaged. `some`: files may be
    missing, since they were removed on purpose."""
    try:
        content = read_sealed(listing)
        files = {listing.parent / name: found for name, found in content[FILES].items()}
        whole = all(sha256_file(file) == found for file, found in files.items() if not some or file.exists())
    except (OSError, KeyError, DamagedError):
        return None
    return content if whole else None


def below(folder: Path) -> list[Path]:
    """The files below a folder, as a list beside it names them."""
    return [Path(folder.name) / name for name in files_below(folder)]


def seal_folder(folder: Path) -> None:
    seal_files(folder / LIST, (name for name in files_below(folder) if str(name) != LIST))


def is_whole_folder(folder: Path) -> bool:
    """Whether a sealed folder holds the files that it held when it was sealed; False where it is missing."""
    content = whole_files(folder / LIST)
    return content is not None and {str(name) for name in files_below(folder)} == {*content[FILES], LIST}


def remove_damaged(folder: Path) -> None:
    """Remove a sealed folder that is not whole, so that it is made again."""
    if folder.exists() and not is_whole_folder(folder):
        print(f"{folder}: damaged; it is made again", file=sys.stderr, flush=True)
        shutil.rmtree(folder)
