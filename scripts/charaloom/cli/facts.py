"""Facts of a character's files, by which a run sees that nothing was touched since it last read them."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

COMPARED = (".json", ".html", ".parquet")  # endings of the files in a character's folder that are looked at
FOLDERS = (  # of many files
    "dataset",
    "dataset/data",
    "dataset_pictures/data",
    "checkpoints",
    "previews",
    "model",
    "model/previews",
    "model/training",
    "model/checkpoints",
)
NESTED = "checkpoints"  # name of the folder of a model repository whose own folders are looked at, too
REPOSITORIES = ("dataset", "model")  # that a target has a copy of
COPIED = tuple(folder for folder in FOLDERS if folder.startswith(("dataset/", "model/")))

Facts = tuple[int, int, int, int]  # size, modification time (ns), inode, change time (ns)


def stats(folder: Path, deeper: Sequence[str], copies: Sequence[Path] = ()) -> dict[str, Facts]:
    """Facts of a character's files: those of the folder itself, the `deeper` ones, what lies in FOLDERS and in the
    folders of published `copies`. Of folders below these only the time, which changes when a file of them goes."""
    files = facts_in(folder, COMPARED)
    if not files:
        return {}
    for name in deeper:
        with suppress(OSError):
            files[name] = facts_of(os.stat(f"{folder}/{name}"))
    for name in FOLDERS:
        files |= {f"{name}/{file}": facts for file, facts in facts_below(folder / name).items()}
    for place in copies:
        files |= {f"{place}/{file}": facts for file, facts in facts_below(place).items()}
    return files


def facts_below(folder: Path) -> dict[str, Facts]:
    """Facts of what lies in one of FOLDERS; of the checkpoints of a model repository also of what lies in each."""
    files = facts_in(folder)
    if folder.match(f"model/{NESTED}"):
        for step in sorted(files):
            files |= {f"{step}/{file}": facts for file, facts in facts_in(folder / step).items()}
    return files


def facts_in(folder: Path, endings: tuple[str, ...] = ("",)) -> dict[str, Facts]:
    """Facts of what lies in a folder and ends so; nothing where it is missing."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return {entry.name: facts_of(entry.stat()) for entry in entries if entry.name.endswith(endings)}
    return {}


def facts_of(stat: os.stat_result) -> Facts:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns


def files_in(folder: str) -> dict[str, Facts]:
    """Facts of all files below a folder; links to folders are not followed."""
    files = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                files.update(files_in(entry.path))
            else:
                with suppress(OSError):  # a link to nowhere
                    files[entry.path] = facts_of(entry.stat())
    return files


def signature_of(files: dict[str, Facts]) -> str:
    return hashlib.blake2b(repr(sorted(files.items())).encode(), digest_size=8).hexdigest()
