"""Recipes: named settings of a training, with defaults by family of the base model and by number of pictures.

Later ones win: the recipe it extends, the recipe, its `by_family`, the last line of its `by_pictures` that the number
of training pictures reaches, the keys of `training` itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from charaloom.artifacts.types import PathLike
from charaloom.config.bases import training_base
from charaloom.config.schemas import Config, origin, schema
from charaloom.errors import CharaloomError
from charaloom.images.files import pictures_digest

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
    """The recipe under what `training` sets by hand, and the base model."""
    own = {key: value for key, value in config["training"].items() if key != "warm_seconds"}  # changes no byte
    base = training_base(config, own["base"])
    settings = recipe(config["recipes"], own["recipe"], base["family"])
    lines = [{key: value for key, value in line.items() if key not in own} for line in settings.get(BY_PICTURES, [])]
    training = {**settings, **own, BY_PICTURES: lines, "base": base}
    if own["regularisation"]:
        training["regularisation_digest"] = pictures_digest(own["regularisation"], config["paths"]["work"])
    return training


def check_recipe(config: Config, files: Sequence[PathLike]) -> None:
    """The recipe must be there and, with what `training` sets, leave nothing open for any number of pictures."""
    where = f"{origin(files, ('training', 'recipe'), config)}: training.recipe"
    name = config["training"]["recipe"]
    try:
        params = training_of(config)
    except CharaloomError as problem:
        raise CharaloomError(f"{where}: {problem}") from None
    settings = {**params, **settled(params, 0)}
    missing = [key for key in schema("config")["$defs"]["settings"]["properties"] if key not in settings]
    if missing:
        raise CharaloomError(
            f"{where}: recipe {name!r} says nothing of `{missing[0]}` for {config['training']['base']}"
        )
