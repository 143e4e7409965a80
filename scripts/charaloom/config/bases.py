"""The base models that a config names: which a character uses, and whether they are there and fit each other."""

from collections.abc import Sequence
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.config.schemas import Config, origin, suggestion
from charaloom.errors import CharaloomError


def base_of(config: Config, name: str) -> Config:
    """One entry of `bases` with its name."""
    empty = {"path": None, "repo": None, "revision": None}
    return {**empty, **config["bases"][name], "name": name}


def drawing_base(config: Config, name: str) -> Config:
    """What training and previews may know of a base: its licence is the card's alone."""
    return {key: value for key, value in base_of(config, name).items() if key != "licence"}


def preview_bases(config: Config) -> list[str]:
    """The bases that previews are rendered on: the one that is trained on, then the others."""
    first = config["training"]["base"]
    return [first, *(name for name in config["previews"]["bases"] if name != first)]


def bases_named(config: Config) -> list[tuple[str, tuple[str, str]]]:
    """(name, key path that names it) of every base model a config uses."""
    trained = [(config["training"]["base"], ("training", "base"))]
    return trained + [(base, ("previews", "bases")) for base in config["previews"]["bases"]]


def check_base(config: Config, name: str, key: tuple[str, str], files: Sequence[PathLike]) -> None:
    """A base model that `key` names must be in `bases`, and in its place."""
    bases = config["bases"]
    if name not in bases:
        where = f"{origin(files, key, config)}: {'.'.join(key)}"
        raise CharaloomError(f"{where}: there is no base {name!r}{suggestion(name, bases)}")
    base, where = bases[name], f"{origin(files, ('bases', name), config)}: bases.{name}"
    if base.get("path") is None:
        if not (base.get("repo") and base.get("revision")):
            raise CharaloomError(f"{where}: needs `path`, or `repo` and `revision`")
        return
    path = Path(base["path"])
    if not (path.is_dir() or (path.is_file() and path.suffix == ".safetensors")):
        raise CharaloomError(f"{where}.path: {base['path']!r} is neither a diffusers folder nor a .safetensors file")


def check_families(config: Config, files: Sequence[PathLike]) -> None:
    """A LoRA fits bases of its own family only."""
    trained = config["training"]["base"]
    family = config["bases"][trained]["family"]
    for name in config["previews"]["bases"]:
        if config["bases"][name]["family"] != family:
            where = f"{origin(files, ('previews', 'bases'), config)}: previews.bases"
            own = config["bases"][name]["family"]
            raise CharaloomError(f"{where}: {name!r} is an {own} base, {trained!r}, which is trained on, is {family}")
