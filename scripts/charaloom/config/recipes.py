"""Recipes: named settings of a training, with defaults by family of the base model and by number of pictures.

Later ones win: the recipe it extends, the recipe, its `by_family`, the last line of its `by_pictures` that the number
of training pictures reaches, the keys of `training` itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charaloom.artifacts.types import PathLike
from charaloom.config.bases import training_base
from charaloom.config.families import FAMILIES
from charaloom.config.schemas import AUTO, Config, origin, schema
from charaloom.errors import CharaloomError
from charaloom.images.files import pictures_digest, read_folder

BY_FAMILY, BY_PICTURES, EXTENDS = "by_family", "by_pictures", "extends"


def recipe(recipes: Mapping[str, Any], name: str, family: str) -> dict[str, Any]:
    """The settings of a recipe for a family, `by_pictures` still among them: their number is known later.

    Raises CharaloomError where recipes extend each other in a circle or one that is not there.
    """
    chain: list[str] = []
    while name:
        if name in chain:
            raise CharaloomError(f"recipes: {' extends '.join([*chain, name])}: a circle; let one of them stand alone")
        if name not in recipes:
            raise CharaloomError(f"recipes: there is no recipe {name!r}; there are {', '.join(sorted(recipes))}")
        chain.append(name)
        name = recipes[name].get(EXTENDS)
    settings: dict[str, Any] = {}
    for link in reversed(chain):
        settings |= {key: value for key, value in recipes[link].items() if key not in {BY_FAMILY, EXTENDS}}
        settings |= recipes[link].get(BY_FAMILY, {}).get(family, {})
    return settings


def settled(params: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    """`params` with what `by_pictures` says of so many training pictures."""
    reached = [line for line in params.get(BY_PICTURES, []) if line["from"] <= pictures]
    chosen: dict[str, Any] = max(reached, key=lambda line: line["from"], default={})
    own = {key: value for key, value in params.items() if key != BY_PICTURES}
    return {**own, **{key: value for key, value in chosen.items() if key != "from"}}


def training_of(config: Config) -> Config:
    """The recipe under what `training` sets by hand, the base model, and what the regularisation folder holds."""
    training = training_settings(config)
    if training["regularisation"]:
        training["regularisation_digest"] = pictures_digest(training["regularisation"], config["paths"]["work"])
    return training


def training_settings(config: Config) -> Config:
    """The recipe under what `training` sets by hand, and the base model, whose family a resolution of `auto` takes."""
    own = {key: value for key, value in config["training"].items() if key != "warm_seconds"}  # changes no byte
    base = training_base(config, own["base"])
    settings = recipe(config["recipes"], own["recipe"], base["family"])
    lines = [{key: value for key, value in line.items() if key not in own} for line in settings.get(BY_PICTURES, [])]
    native = FAMILIES[base["family"]].resolution
    training = {**settings, **own, BY_PICTURES: [with_resolution(line, native) for line in lines], "base": base}
    return with_resolution(training, native)


def with_resolution(settings: Config, native: int) -> Config:
    """The settings with the family's native resolution in place of `auto`."""
    return {**settings, "resolution": native} if settings.get("resolution") == AUTO else settings


def largest_resolution(config: Config) -> int:
    """Pixels of one side at which pictures train: the largest that any number of pictures may lead to."""
    training = training_settings(config)
    return max(settings.get("resolution", 0) for settings in (training, *training[BY_PICTURES]))


def check_recipe(config: Config, files: Sequence[PathLike]) -> None:
    """The recipe must be there and, with what `training` sets, leave nothing open for any number of pictures."""
    where = f"{origin(files, ('training', 'recipe'), config)}: training.recipe"
    name = config["training"]["recipe"]
    try:
        params = training_settings(config)
    except CharaloomError as problem:
        raise CharaloomError(f"{where}: {problem}") from None
    settings = {**params, **settled(params, 0)}
    missing = [key for key in schema("config")["$defs"]["settings"]["properties"] if key not in settings]
    if missing:
        raise CharaloomError(
            f"{where}: recipe {name!r} says nothing of `{missing[0]}` for {config['training']['base']}"
        )


def check_sizes(config: Config, files: Sequence[PathLike]) -> None:
    """The dataset must hold as many pixels as pictures train with: nothing is enlarged."""
    kept, trained = config["dataset"]["resolution"], largest_resolution(config)
    if kept != AUTO and kept < trained:
        raise CharaloomError(
            f"{origin(files, ('dataset', 'resolution'), config)}: dataset.resolution: {kept} is below the training's "
            f"resolution, {trained}, which nothing is enlarged to; write `{AUTO}`, or lower training.resolution"
        )


def check_regularisation(config: Config, files: Sequence[PathLike]) -> None:
    """The folder of regularisation pictures must be there, and hold some."""
    folder = config["training"]["regularisation"]
    if folder is None:
        return
    where = f"{origin(files, ('training', 'regularisation'), config)}: training.regularisation: {folder!r}"
    if not Path(folder).is_dir():
        raise CharaloomError(
            f"{where} is no folder; name a folder of pictures, from the working directory, or null for none"
        )
    found = read_folder(folder)
    if found.unlisted:
        raise CharaloomError(f"{where} cannot be listed: {found.unlisted[0].strerror}; make it readable")
    if not found.pictures:
        raise CharaloomError(f"{where} holds no picture; put some into it, or write null for none")
