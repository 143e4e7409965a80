"""Core tags by confidence intervals."""

import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charaloom.config.params import Tagged
from charaloom.tagging.core import interval, judge_core
from charaloom.tagging.vocabulary import Vocabulary
from tests.standins import write_vocabulary

PARAMS = Tagged(
    version=1,
    thresholds={"people": 0.35, "person": 0.35, "clothing": 0.35, "other": 0.35},
    board_tags=True,
    core_share=0.6,
    core_add=(),
    core_forbid=(),
    blacklist=(),
    tag="hana_(charaloom)",
)


def test_interval_is_wilsons() -> None:
    assert interval(9, 10) == pytest.approx({"share": 0.9, "low": 0.5958, "high": 0.9821, "views": 10})
    assert interval(0, 0) == {"share": 0.0, "low": 0.0, "high": 1.0, "views": 0}


def drawn_views(rng: random.Random, number: int = 90) -> list[set[str]]:
    """Three outfits, one with a hat that hides the hairband, one with a ribbon of its own; a tagger that errs."""
    outfits = (["red_kimono", "sash"], ["black_robe", "witch_hat"], ["white_dress", "hair_ribbon"])
    views = []
    for _ in range(number):
        outfit = rng.choice(outfits)
        tags = ["1girl", "blue_hair", "twintails", "red_eyes", *outfit]
        tags += [] if "witch_hat" in outfit else ["hairband"]
        tags += ["smile"] if rng.random() < 0.8 else []
        closed = rng.random() < 0.3
        tags = [tag for tag in tags if not (closed and tag == "red_eyes")] + ["closed_eyes"] * closed
        views.append({tag for tag in tags if rng.random() < 0.93})
    return views


def judged(views: list[set[str]], params: Tagged = PARAMS, origin: str = "both") -> list[dict[str, Any]]:
    merged = [dict.fromkeys(view, (0.9, origin)) for view in views]
    with tempfile.TemporaryDirectory() as folder:
        return judge_core(merged, params, Vocabulary(write_vocabulary(Path(folder))))


@pytest.mark.parametrize("seed", range(10))
def test_core_is_what_holds_in_every_outfit(seed: int) -> None:
    rows = judged(drawn_views(random.Random(seed)))
    core = {row["tag"] for row in rows if row["core"]}
    assert core == {"blue_hair", "twintails", "red_eyes", "hairband"}
    why = {row["tag"]: row["why"] for row in rows}
    assert why["smile"] == "not a trait of the person"
    assert why["hair_ribbon"] == "too rare"


def test_an_accessory_of_the_common_outfit_is_not_core() -> None:
    """A ribbon worn in 75 % of the views, always with the same dress."""
    views = [{"blue_hair", "white_dress", "hair_ribbon"}] * 75 + [{"blue_hair", "red_kimono"}] * 25
    rows = {row["tag"]: row for row in judged(views)}
    assert rows["hair_ribbon"]["low"] > 0.6
    assert not rows["hair_ribbon"]["core"]
    assert rows["hair_ribbon"]["why"] == "belongs to an outfit"
    assert rows["hair_ribbon"]["weakest"] == {"given": "red_kimono", **interval(0, 25)}
    assert rows["blue_hair"]["core"]


def test_core_can_be_added_and_forbidden() -> None:
    views = [{"blue_hair", "red_eyes"}] * 40
    params = replace(PARAMS, core_add=("scar",), core_forbid=("red_eyes",))
    rows = {row["tag"]: row for row in judged(views, params)}
    assert {tag for tag, row in rows.items() if row["core"]} == {"blue_hair", "scar"}


def test_general_core_tags_give_way_to_special_ones() -> None:
    rows = {row["tag"]: row for row in judged([{"hair_bow", "red_hair_bow"}] * 40)}
    assert rows["red_hair_bow"]["core"]
    assert rows["hair_bow"]["why"] == "implied by another core tag"


def test_of_two_eye_colours_the_one_that_is_seen_more_is_core() -> None:
    views = [{"blue_eyes", "aqua_eyes"}] * 70 + [{"blue_eyes"}] * 20
    rows = {row["tag"]: row for row in judged(views)}
    assert rows["blue_eyes"]["core"]
    assert rows["aqua_eyes"]["why"] == "blue_eyes has more evidence"
    both = {row["tag"] for row in judged([view | {"heterochromia"} for view in views]) if row["core"]}
    assert both == {"blue_eyes", "aqua_eyes", "heterochromia"}


def test_thorough_boards_refute_what_only_the_tagger_sees() -> None:
    thorough = dict.fromkeys(["1girl", "solo", "smile", "sky", "day", "grass", "hat", "belt"], (0.9, "board"))
    views = [{**thorough, "blue_eyes": (0.9, "both"), "hairband": (0.8, "tagger")}] * 40
    with tempfile.TemporaryDirectory() as folder:
        rows = {row["tag"]: row for row in judge_core(views, PARAMS, Vocabulary(write_vocabulary(Path(folder))))}
    assert rows["blue_eyes"]["core"]
    assert rows["hairband"]["why"] == "boards do not say it"
    quiet = [{"1girl": (0.9, "board"), "hairband": (0.8, "tagger")}] * 40
    with tempfile.TemporaryDirectory() as folder:
        rows = {row["tag"]: row for row in judge_core(quiet, PARAMS, Vocabulary(write_vocabulary(Path(folder))))}
    assert rows["hairband"]["core"]
