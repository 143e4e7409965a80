"""Recipes: named settings of a training, with defaults by family of the base model and by number of pictures.

Later ones win: the recipe it extends, the recipe, its `by_family`, the last line of its `by_pictures` that her pictures
reach, the keys of `training` itself.
"""

from collections.abc import Mapping
from typing import Any

from charaloom.errors import CharaloomError

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
    found: dict[str, Any] = {}
    for link in reversed(chain):
        found |= {key: value for key, value in recipes[link].items() if key not in {BY_FAMILY, EXTENDS}}
        found |= recipes[link].get(BY_FAMILY, {}).get(family, {})
    return found


def settled(params: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    """`params` with what `by_pictures` says of so many training pictures."""
    reached = [line for line in params.get(BY_PICTURES, []) if line["from"] <= pictures]
    chosen: dict[str, Any] = max(reached, key=lambda line: line["from"], default={})
    own = {key: value for key, value in params.items() if key != BY_PICTURES}
    return {**own, **{key: value for key, value in chosen.items() if key != "from"}}
