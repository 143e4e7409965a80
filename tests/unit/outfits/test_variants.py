"""Outfits that share a garment are told apart by colour, by one piece and by official names; one-offs are none."""

from random import Random
from typing import Any

import numpy as np
import pytest

from charaloom.outfits.names import Outfit, name_all, official_name
from charaloom.outfits.variants import told_apart, worn_by

COLOURS = ("red", "blue", "green", "yellow", "purple", "pink", "white", "black")
LEAST = 4


def view(tags: list[str], origins: str = "both", variants: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "tags": [{"name": tag, "score": 0.9, "origin": origins} for tag in tags],
        "variants": list(variants),
    }


def grouped(views: list[dict[str, Any]], labels: list[int] | None = None) -> list[int]:
    alike = np.full((len(views), len(views)), 0.8, np.float32)
    return told_apart(list(map(worn_by, views)), np.array(labels or [0] * len(views)), alike, LEAST).tolist()


def test_two_colours_of_one_garment_are_two_outfits() -> None:
    views = [view(["red_kimono", "sash"])] * 12 + [view(["blue_kimono", "sash"])] * 6
    groups = grouped(views)
    assert len(set(groups[:12])) == len(set(groups[12:])) == 1
    assert groups[0] != groups[12]
    assert -1 not in groups


def test_a_garment_in_any_colour_is_no_outfit() -> None:
    assert grouped([view([f"{colour}_kimono", "sash"]) for colour in COLOURS]) == [-1] * 8


def test_clothes_that_were_drawn_once_leave_the_outfit() -> None:
    once = [view([f"{colour}_kimono", "sash"]) for colour in COLOURS[1:]]
    groups = grouped([view(["red_kimono", "sash"])] * 15 + once)
    assert set(groups[:15]) == {0}
    assert set(groups[15:]) == {-1}


def test_one_piece_tells_outfits_that_boards_name() -> None:
    named = [view(["red_kimono", "sash"], variants=("festival",))] * 5
    named += [view(["red_kimono"], variants=("home",))] * 5
    groups = grouped([*named, *[view(["red_kimono", "sash"])] * 5, *[view(["red_kimono"])] * 5])
    assert groups[:5] == groups[10:15]
    assert groups[5:10] == groups[15:]
    assert groups[0] != groups[5]


def test_a_view_without_colours_follows_the_others_of_its_group() -> None:
    groups = grouped([view(["red_kimono", "sash"])] * 10 + [view(["sash"])] * 3)
    assert set(groups) == {0}


def test_one_witness_that_is_unsure_does_not_drop_a_view() -> None:
    unsure = view(["yellow_kimono", "white_kimono", "pink_kimono", "sash"], "tagger")
    for tag in unsure["tags"]:
        tag["score"] = 0.4
    assert set(grouped([view(["black_kimono", "sash"])] * 20 + [unsure])) == {0}


def test_a_group_without_colours_or_names_stays_as_it_is() -> None:
    assert grouped([view(["armor", "cape"])] * 6 + [view(["armor"])] * 3) == [0] * 9


@pytest.mark.parametrize("seed", range(5))
def test_tags_with_mistakes(seed: int) -> None:
    """Two colours; a third of the tags missing, one in ten wrong."""
    rng = Random(seed)

    def seen(colour: str) -> dict[str, Any]:
        tags = [f"{rng.choice(COLOURS) if rng.random() < 0.1 else colour}_coat", "scarf", "belt"]
        return view([tag for tag in tags if rng.random() > 0.33], rng.choice(["both", "tagger", "board"]))

    groups = grouped([seen("red") for _ in range(40)] + [seen("green") for _ in range(20)])
    first = max(set(groups[:40]), key=groups[:40].count)
    second = max((group for group in groups[40:] if group != first), key=groups[40:].count)
    coloured = [group for group in groups if group >= 0]
    assert groups[:40].count(first) >= 27  # of those without a colour the tags say nothing
    assert groups[40:].count(second) >= 11
    assert len(set(coloured)) == 2


def test_boards_that_name_a_part_of_an_outfit_name_it() -> None:
    anchors = [{"festival"}] * 4 + [set()] * 8 + [{"home"}] * 3 + [set()] * 20
    assert official_name(anchors, list(range(12))) == "festival"
    assert official_name(anchors, list(range(12, 35))) is None  # three of 23


def test_outfits_of_one_garment_are_named_by_what_differs() -> None:
    first = [{"tag": "red_kimono", "score": 0.9}, {"tag": "sash", "score": 0.8}, {"tag": "geta", "score": 0.7}]
    second = [{"tag": "red_kimono", "score": 0.9}, {"tag": "sash", "score": 0.8}, {"tag": "haori", "score": 0.7}]
    outfits = [Outfit([0], 1.0, first), Outfit([1], 1.0, second)]
    name_all(outfits)
    assert [outfit.identifier for outfit in outfits] == ["red_kimono_geta", "red_kimono_haori"]
