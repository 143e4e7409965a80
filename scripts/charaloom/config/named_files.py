"""Files that the config names: the lock of the picture models, and the list of removals."""

from functools import cache
from pathlib import Path

from charaloom.config.schemas import CODE, Config, check, read_yaml
from charaloom.errors import CharaloomError


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
