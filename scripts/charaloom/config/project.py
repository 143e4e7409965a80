"""The checked config and the roster of a run. Light imports only: every job parses this again."""

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from charaloom.artifacts.types import PathLike
from charaloom.config.bases import bases_named, check_base, check_families
from charaloom.config.layers import config_files, merged, own_file, read_config
from charaloom.config.named_files import read_lock, read_removals
from charaloom.config.recipes import check_recipe, check_sizes
from charaloom.config.roster import Character, check_sources, empty_roster, read_roster
from charaloom.config.schemas import Config, as_meant, check, read_yaml, suggestion
from charaloom.errors import CharaloomError


@dataclass(frozen=True)
class Project:
    """A checked config, the roster by name in its order, and the config of each character who has one of their own."""

    config: Config
    characters: dict[str, Character]
    special: dict[str, Config] = field(default_factory=dict)

    def config_of(self, name: str) -> Config:
        return self.special.get(name, self.config)


def load_project(overlays: Iterable[PathLike] = ()) -> Project:
    """Read, merge and check everything a run is made of."""
    files = config_files(overlays)
    project = open_project(read_config(files), files)
    if not project.characters:
        raise CharaloomError(empty_roster(project.config))
    return project


def open_project(config: Config, files: Sequence[PathLike], trusted: bool = False) -> Project:
    """A project from a merged config; `files` are where its keys came from, for the errors.

    `trusted` skips the checks: for the jobs of a run whose controller made them.
    """
    config = as_meant(copy.deepcopy(dict(config)), "config")
    config.pop("pathvars", None)
    if not trusted:
        refuse_passwords(config)
        check(config, "config", files)
    characters = read_roster(config["roster"], config["boards"], trusted)
    project = Project(config, characters, read_special(config, characters, trusted))
    if not trusted:
        check_bases(project, files)
        read_removals(config["removals"])
        read_lock(config["models"]["lock"])
    return project


def refuse_passwords(config: Config) -> None:
    """A board's address stands in tables and logs: it must not hold an account. The message does not repeat it."""
    boards = config.get("boards")
    for name, board in boards.items() if isinstance(boards, dict) else ():
        roots = [board.get("root"), *(board.get("file_roots") or ())] if isinstance(board, dict) else []
        if any(isinstance(root, str) and re.search(r"[@?#\\]", root.partition("://")[2]) for root in roots):
            variable = "CHARALOOM_" + re.sub(r"\W", "_", str(name)).upper()
            raise CharaloomError(
                f"boards.{name}: an address has a user name, a query or a backslash. Name the board alone, as in "
                f"`root: https://board.example`; an account belongs into the environment: {variable}_USERNAME and "
                f"{variable}_API_KEY."
            )


def read_special(config: Config, characters: dict[str, Character], trusted: bool = False) -> dict[str, Config]:
    """The whole config of each character who has a file of their own."""
    folder = own_file(config, "").parent
    special = {}
    for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
        if path.stem not in characters:
            where = f"{path}: {path.stem!r} is not in {config['roster']}"
            raise CharaloomError(f"{where}{suggestion(path.stem, characters)}")
        own = as_meant(read_yaml(path), "character")
        if not trusted:
            check(own, "character", [path])
            check_sources(own.get("sources", []), str(path), config["boards"])
        special[path.stem] = merged(config, own)
    return special


def check_bases(project: Project, files: Sequence[PathLike]) -> None:
    """The base models, the recipe and the sizes of every character must be there and fit each other."""
    checked = set()
    for name in ["", *project.special]:
        config = project.special.get(name, project.config)
        sources = [*files, own_file(config, name)] if name else files
        for base, key in bases_named(config):
            if (base, key) not in checked:
                check_base(config, base, key, sources)
                checked.add((base, key))
        check_recipe(config, sources)
        check_sizes(config, sources)
        check_families(config, sources)
