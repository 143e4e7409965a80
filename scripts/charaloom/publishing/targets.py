"""Where repositories are published to: one function per kind of target."""

import shutil
from pathlib import Path

from charaloom.artifacts.files import whole_folder
from charaloom.artifacts.manifest import describe
from charaloom.config.params import Target


def to_folder(target: Target, character: str, name: str, source: Path) -> Path:
    """Copy `source` whole to `<path>/<character>/<name>`; the same bytes there stay untouched, times included."""
    place = Path(target.path) / character / name
    if place.is_dir() and describe(place) == describe(source):
        return place
    with whole_folder(place) as part:
        shutil.copytree(source, part, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return place


KINDS = {"folder": to_folder}  # by `kind` of a target: brings a repository there, returns where its files lie
