"""Files that carry their SHA-256: a flipped bit is found where they are read, whatever their times and sizes say.

A sealed JSON file holds the digest of its other keys. A sealed file of any other kind has it in its name, so that
content and digest appear in one step: `state.pt` lies there as `state.<sha256>.pt`. A sealed folder has a list of its
files.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, files_below, read_json, sha256_file, whole_file, write_json
from charaloom.artifacts.types import PathLike
from charaloom.errors import DamagedError

SEAL = "sha256"
SEALED_SCHEMA = 3  # `schema` of JSON files from which on they are sealed
LIST = "files.json"  # of a sealed folder
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
    except ValueError as error:  # no JSON, no UTF-8
        raise damaged(path) from error
    if not isinstance(content, dict):
        raise damaged(path)
    seal, schema = content.pop(SEAL, None), content.get("schema")
    if seal is None and not (isinstance(schema, int) and schema >= SEALED_SCHEMA):
        return content
    if seal != digest(content):
        raise damaged(path)
    return content


def damaged(path: PathLike) -> DamagedError:
    return DamagedError(
        f"{path}: not the bytes that were written there: damaged, or edited by hand. `charaloom run` makes it again."
    )


# --- files with their digest in the name


@contextmanager
def sealed_file(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes the file that `whole_sealed(path)` finds, and earlier ones go."""
    target = Path(path)
    scratch = target.with_name(f"{target.stem}.new{target.suffix}")
    with whole_file(scratch) as part:
        yield part
    final = target.with_name(f"{target.stem}.{sha256_file(scratch)}{target.suffix}")
    os.replace(scratch, final)
    for other in versions(target):
        if other != final:
            other.unlink(missing_ok=True)


def whole_sealed(path: PathLike) -> Path | None:
    """Where the file that was sealed as `path` lies; None where there is none. A damaged one is removed."""
    for file in versions(Path(path)):
        match = NAMED.fullmatch(file.name)
        if match and sha256_file(file) == match["digest"]:
            return file
        print(f"{file}: damaged; it is made again", file=sys.stderr, flush=True)
        file.unlink(missing_ok=True)
    return None


def versions(target: Path) -> list[Path]:
    """Files that were sealed under a name, whole or not."""
    found = target.parent.glob(f"{escape(target.stem)}.{'[0-9a-f]' * 8}*{escape(target.suffix)}")
    return sorted(file for file in found if NAMED.fullmatch(file.name))


# --- folders


def seal_folder(folder: Path) -> None:
    """Write the list of a folder's files, so that `is_whole_folder` can compare them."""
    write_sealed(folder / LIST, {"files": {str(name): sha256_file(folder / name) for name in listed(folder)}})


def is_whole_folder(folder: Path) -> bool:
    """Whether a sealed folder holds what it held when it was sealed; False where it is missing."""
    try:
        expected = read_sealed(folder / LIST)["files"]
        return expected == {str(name): sha256_file(folder / name) for name in listed(folder)}
    except (OSError, KeyError, DamagedError):
        return False


def listed(folder: Path) -> list[Path]:
    return [name for name in files_below(folder) if str(name) != LIST]


def remove_damaged(folder: Path) -> None:
    """Remove a sealed folder that is not whole, so that it is made again."""
    if folder.exists() and not is_whole_folder(folder):
        print(f"{folder}: damaged; it is made again", file=sys.stderr, flush=True)
        shutil.rmtree(folder)
