"""The checked config and the roster of a run. Light imports only: every job parses this again."""

import copy
import re
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain as chain_of
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.config.bases import bases_named, check_base, check_families, check_whole
from charaloom.config.layers import OWN_CONFIG, config_files, merged, own_file, read_config
from charaloom.config.named_files import check_references, read_lock, read_policy, read_removals
from charaloom.config.params import LINKS
from charaloom.config.recipes import check_recipe, check_regularisation, check_sizes
from charaloom.config.roster import Character, Check, check_sources, empty_roster, read_roster, roster_checks
from charaloom.config.schemas import Config, as_meant, check, origin, read_yaml, suggestion
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
    config = meant_config(config)
    if not trusted:
        refuse_passwords(config)
        check(config, "config", files)
    characters = read_roster(config["roster"])
    own = {name: merged(config, own_config(config, name, trusted)) for name in names_with_file(config, characters)}
    project = Project(config, characters, own)
    if not trusted:
        bases: BaseChecks = {}
        for chain in chain_of(project_checks(project, files, bases), whole_checks(project, files, bases)):
            for each in chain:
                each()
    return project


def meant_config(config: Config) -> Config:
    """A merged config of its own, with what YAML read otherwise than it is meant, and without targets taken away."""
    config = as_meant(copy.deepcopy(dict(config)), "config")
    config.pop("pathvars", None)
    published = config.get("published")
    targets = published.get("targets") if isinstance(published, dict) else None
    if isinstance(published, dict) and isinstance(targets, dict):
        published["targets"] = {name: target for name, target in targets.items() if target is not None}
    return config


# --- what checks a project


class Once:
    """A check that is made once, and raises what it found as often as it is called."""

    def __init__(self, made: Check):
        self.made: Check | None = made
        self.problem: CharaloomError | None = None

    def __call__(self) -> None:
        made, self.made = self.made, None
        try:
            if made:
                made()
        except CharaloomError as problem:
            self.problem = problem
        if self.problem:
            raise self.problem


BaseChecks = dict[tuple[str, tuple[str, str]], Once]  # checks of bases by name and by the key that names it
Chain = tuple[Check, ...]  # behind one that fails, the others would fail of the same


def project_checks(project: Project, files: Sequence[PathLike], bases: BaseChecks) -> Iterator[Chain]:
    """All that must be right before anything runs, as far as it costs little; the checks of bases go into `bases`."""
    config = project.config
    yield (partial(read_removals, config["removals"]),)
    yield (partial(read_lock, config["models"]["lock"]),)
    yield (read_policy,)
    for name in ["", *project.special]:
        own = project.special.get(name, config)
        yield from config_checks(own, [*files, own_file(config, name)] if name else files, bases)
    for each in roster_checks(config["roster"], config["boards"]):
        yield (each,)


def config_checks(config: Config, files: Sequence[PathLike], bases: BaseChecks) -> Iterator[Chain]:
    """The base models, the recipe and the sizes of a config must be there and fit each other."""
    named = bases_named(config)
    for base, key in named:
        bases.setdefault((base, key), Once(partial(check_base, config, base, key, files)))
    own = [bases[each] for each in named]
    yield from ((base,) for base in own)
    yield own[0], partial(check_recipe, config, files)
    yield own[0], partial(check_sizes, config, files)
    yield *own, partial(check_families, config, files)
    yield (partial(check_regularisation, config, files),)
    yield (partial(check_references, config, files),)
    yield (partial(check_dataset, config, files),)


def whole_checks(project: Project, files: Sequence[PathLike], bases: BaseChecks) -> Iterator[Chain]:
    """The files of each base are read whole, once: gigabytes."""
    for name, base in {name: base for (name, _), base in reversed(bases.items())}.items():
        yield base, partial(check_whole, project.config, name, files)


def check_dataset(config: Config, files: Sequence[PathLike]) -> None:
    """An archive of pictures has no place in a dataset without them."""
    if config["dataset"]["kohya"] and config["dataset"]["pictures"] == LINKS:
        where = origin(files, ("dataset", "kohya"), config)
        raise CharaloomError(
            f"{where}: dataset.kohya: an archive of pictures, where `dataset.pictures: {LINKS}` keeps them out of the "
            "dataset; leave one of the two out"
        )


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
    models = config.get("models")
    hub = models.get("hub") if isinstance(models, dict) else None
    if isinstance(hub, str) and "@" in hub.partition("://")[2].partition("/")[0]:
        raise CharaloomError(
            "models.hub: the address has a user name. Name the hub alone, as in `hub: https://huggingface.co`; an"
            " account belongs into the environment: HF_TOKEN."
        )


# --- files of characters


def own_files(config: Config) -> dict[str, Path]:
    """The files of characters by the names that they are for, in the roster or not."""
    folder = own_file(config, "").parent
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder.is_dir() else {}


def names_with_file(config: Config, characters: Container[str]) -> list[str]:
    return [name for name in own_files(config) if name in characters]


def own_config(config: Config, name: str, trusted: bool = False) -> Config:
    """What a character's own file says."""
    path = own_file(config, name)
    own = as_meant(read_yaml(path), "character")
    if not trusted:
        check(own, "character", [path])
        check_sources(own.get("sources", []), str(path), config["boards"])
    return own


def files_of_nobody(config: Config, characters: Collection[str]) -> list[str]:
    """One line for each file that decides nothing: of a character whom the roster does not have, or called `.yml`."""
    folder = own_file(config, "").parent
    others = [*(sorted(folder.glob("*.yml")) if folder.is_dir() else []), OWN_CONFIG.with_suffix(".yml")]
    misnamed = [f"{path}: is not read; rename it to {path.with_suffix('.yaml')}" for path in others if path.is_file()]
    return misnamed + [
        f"{path}: is not read, {name!r} is not in {config['roster']}{suggestion(name, characters)}; give the file the "
        "name of a character, put the row back, or remove the file"
        for name, path in own_files(config).items()
        if name not in characters
    ]
