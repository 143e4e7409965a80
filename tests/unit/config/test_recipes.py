"""Recipes: which setting wins, and what is said of a broken one."""

from typing import Any

import pytest

from charaloom.config.layers import DEFAULTS, read_config
from charaloom.config.recipes import largest_resolution, recipe, settled, training_of
from charaloom.errors import CharaloomError

RECIPES: dict[str, Any] = {
    "whole": {
        "rank": 16,
        "batch": 4,
        "by_family": {"sdxl": {"batch": 1}},
        "by_pictures": [{"from": 0, "rank": 4}, {"from": 50, "rank": 8, "steps": 9}],
    },
    "plain": {"extends": "whole", "vectors": 0},
    "round": {"extends": "about"},
    "about": {"extends": "round"},
}


def test_later_settings_win() -> None:
    settings = recipe(RECIPES, "plain", "sdxl")
    assert (settings["rank"], settings["batch"], settings["vectors"]) == (16, 1, 0)
    assert settled(settings, 49)["rank"] == 4
    assert settled(settings, 50) == {"rank": 8, "batch": 1, "vectors": 0, "steps": 9}


def test_auto_is_the_resolution_of_the_family_in_every_line() -> None:
    config = read_config([DEFAULTS])
    config["recipes"]["lora"]["by_pictures"] = [{"from": 0, "resolution": 768}, {"from": 9, "resolution": "auto"}]
    config["training"]["recipe"] = "lora"
    assert [settled(training_of(config), pictures)["resolution"] for pictures in (8, 9)] == [768, 1024]
    assert largest_resolution(config) == 1024
    config["training"]["resolution"] = 640
    assert [settled(training_of(config), pictures)["resolution"] for pictures in (8, 9)] == [640, 640]
    assert largest_resolution(config) == 640


@pytest.mark.parametrize(
    ("name", "message"), [("round", "round extends about extends round: a circle"), ("x", "no recipe")]
)
def test_broken_recipes_are_reported(name: str, message: str) -> None:
    with pytest.raises(CharaloomError, match=message):
        recipe(RECIPES, name, "sd15")


def test_what_is_set_by_hand_wins_over_the_number_of_pictures() -> None:
    config = read_config([DEFAULTS])
    by_default = settled(training_of(config), 20)
    config["training"]["rank"] = 64
    by_hand = settled(training_of(config), 20)
    assert (by_default["rank"], by_hand["rank"]) == (8, 64)
    assert by_hand["steps"] == by_default["steps"]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("name", ["pivotal", "lora"])
def test_recipes_that_come_with_it_say_everything(family: str, name: str) -> None:
    config = read_config([DEFAULTS])
    config["training"]["recipe"] = name
    config["bases"][config["training"]["base"]]["family"] = family
    settings = training_of(config)
    steps = [settled(settings, pictures)["steps"] for pictures in (0, 100, 300, 5000)]
    assert steps == sorted(steps)
    assert (settings["vectors"] > 0) == (name == "pivotal")
    assert settings["resolution"] == {"sd15": 512, "sdxl": 1024}[family]
    assert not any("animefull" in str(base.get("repo")) for base in config["bases"].values()), "leaked weights"
