"""Files that the config names: the lock of the picture models, the list of removals, folders of references."""

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.config.schemas import CODE, Config, check, origin, read_yaml, written_out
from charaloom.errors import CharaloomError
from charaloom.images.files import contents, read_folder

SHA256 = re.compile("[0-9a-f]{64}")


def located(path: str) -> Path:
    """A file that the config names: from the working directory, else as it comes with the code."""
    for file in (Path(path), CODE / path):
        if file.is_file():
            return file
    raise CharaloomError(f"{path}: there is no such file; paths start at the working directory")


@cache
def read_lock(path: str) -> list[Config]:
    """The pinned picture models: a list of {repo, repo_type, revision, files: {path: sha256 or null}}."""
    return read_yaml(located(path))


@cache
def read_removals(path: str) -> Config:
    """{removals: posts, artists and pictures to exclude}; nothing where the file lists nothing."""
    file = located(path)
    removals = read_yaml(file)
    check(removals, "removals", [file])
    listed = {kind: sorted(set(names or [])) for kind, names in removals.items()}
    return {"removals": listed} if any(listed.values()) else {}


# --- pictures known to show the character


def reference_folders(config: Config) -> dict[str, str]:
    """The folders among `filtered.references`, by what the config says: what is no SHA-256 and no id of a site."""
    named = config["filtered"]["references"]
    return {entry: written_out(entry) for entry in named if not (":" in entry or SHA256.fullmatch(entry))}


def check_references(config: Config, files: Sequence[PathLike]) -> None:
    """The folders of references must be there, and hold some."""
    for entry, folder in reference_folders(config).items():
        where = f"{origin(files, ('filtered', 'references'), config)}: filtered.references: {entry!r}"
        if not os.path.isdir(folder):
            raise CharaloomError(
                f"{where} is no folder, no SHA-256 and no <site>:<post id>; name a folder of pictures, from the working"
                " directory, or take it out"
            )
        if not read_folder(folder).pictures:
            raise CharaloomError(f"{where} holds no picture; put some into it, or take it out")


def references_of(config: Config) -> list[str]:
    """`filtered.references` with the SHA-256 of each picture in place of its folder."""
    folders, work = reference_folders(config), config["paths"]["work"]
    own = [entry for entry in config["filtered"]["references"] if entry not in folders]
    pictures = {
        content
        for folder in folders.values()
        for path, content in contents(folder, work).items()
        if path in set(read_folder(folder).pictures)
    }
    return [*own, *sorted(pictures)]
