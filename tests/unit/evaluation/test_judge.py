"""What is measured of a single preview: which outfit, which faults, which training picture it repeats."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from charaloom.artifacts.tables import MEASURED, write_table
from charaloom.evaluation.judge import faults, largest_person
from charaloom.evaluation.outfit_matcher import OutfitMatcher, clothes
from charaloom.evaluation.training_pictures import TrainingPictures
from charaloom.images.fingerprints import thumbnail
from charaloom.vision.model_set import ModelInput, TaggerOutput

OUTFITS = {
    "kimono": ["red_kimono", "sash", "wide_sleeves"],
    "uniform": ["serafuku", "sailor_collar", "pleated_skirt"],
}
BOX = {"x0": 0, "y0": 0, "x1": 96, "y1": 96}
PERSON = [((0, 0, 90, 90), 0.9)]


def drawing(number: int) -> Image.Image:
    """A picture of its own shapes."""
    picture = Image.new("RGB", (96, 96), "white")
    pen, chance = ImageDraw.Draw(picture), np.random.default_rng(number)
    for _ in range(12):
        x, y, width, height = chance.integers(0, 60, 4)
        colour = tuple(int(value) for value in chance.integers(0, 256, 3))
        pen.rectangle((x, y, x + 4 + width, y + 4 + height), fill=colour)
    return picture


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Path, list[dict]]:
    """Six views of each outfit, whose portraits show no skirt or sash, and one that wears nothing known."""
    rows, views = [], []
    for number in range(13):
        outfit = [*OUTFITS, None][number % 2] if number < 12 else None
        tags = dict.fromkeys(OUTFITS.get(outfit or "", ["smile"]), 0.9)
        if number % 3 == 0:
            tags = dict(list(tags.items())[:2])
        grey = thumbnail(np.asarray(drawing(number).convert("L")))
        view = {"view": f"{number:02d}/picture/0", "picture": f"{number:02d}", "kind": "picture", **BOX}
        vector = np.eye(16)[number].tolist()
        tagger = {"tags": [{"name": name, "score": score} for name, score in tags.items()], "tag_embedding": vector}
        rows.append({**view, **tagger, "thumbnail": grey.tobytes(), "thumbnail_width": grey.shape[1]})
        views.append({**view, "split": "held_out" if number == 11 else "train", "outfit": outfit})
    write_table(tmp_path / "measured.parquet", rows, MEASURED, "view")
    return tmp_path / "measured.parquet", views


@pytest.mark.parametrize(
    ("seen", "worn"),
    [
        ({"red_kimono": 0.9, "sash": 0.8, "wide_sleeves": 0.7}, "kimono"),
        ({"red_kimono": 0.8, "sash": 0.4}, "kimono"),  # a portrait
        ({"serafuku": 0.9, "sailor_collar": 0.8, "sash": 0.3}, "uniform"),
        ({"black_suit": 0.9, "necktie": 0.9, "pants": 0.9}, None),  # no known outfit
        ({"serafuku": 0.9}, None),  # too little to name an outfit
        ({"red_kimono": 0.2, "sash": 0.1}, None),  # hardly seen
        ({}, None),
    ],
)
def test_the_outfit_is_that_of_the_nearest_views(measured, seen, worn):
    assert OutfitMatcher(*measured).outfit_of(seen) == worn


def test_a_character_without_outfits_wears_none(measured):
    path, views = measured
    matcher = OutfitMatcher(path, [{**view, "outfit": None} for view in views])
    assert matcher.outfit_of({"red_kimono": 0.9, "sash": 0.9}) is None


def test_a_coloured_piece_is_also_the_plain_one():
    assert clothes({"red_kimono": 0.8, "smile": 0.9}) == {"red_kimono": 0.8, "kimono": 0.8}


def test_a_picture_that_repeats_a_training_picture_is_found_and_another_is_not(measured):
    training = TrainingPictures(*measured)
    small = drawing(4).resize((64, 64)).resize((96, 96))
    likeness, view = training.nearest(ModelInput(small), np.eye(16)[4])
    assert (view, likeness > 0.85) == ("04/picture/0", True)
    likeness, _ = training.nearest(ModelInput(drawing(99)), np.eye(16)[4])
    assert likeness < 0.85


def test_held_out_pictures_are_not_what_a_preview_can_repeat(measured):
    assert "11/picture/0" not in TrainingPictures(*measured).names


@pytest.mark.parametrize(
    ("tags", "persons", "heads", "prompt_tags", "expected"),
    [
        ({"smile": 0.9}, PERSON, PERSON, [], []),
        ({"bad_hands": 0.5}, PERSON, PERSON, [], ["hands"]),
        ({"bad_hands": 0.3}, PERSON, PERSON, [], []),
        ({"monochrome": 0.9}, PERSON, PERSON, ["monochrome"], []),
        ({}, [], [], [], ["nobody"]),
        ({}, [], PERSON, [], []),  # a portrait may show no whole person
        ({"2girls": 0.6}, PERSON, PERSON, [], ["several people"]),
        ({}, PERSON * 2, PERSON * 2, [], ["several people"]),
        ({}, PERSON * 2, PERSON, [], []),  # one head: the detector saw one person twice
    ],
)
def test_faults(tags, persons, heads, prompt_tags, expected):
    assert faults(TaggerOutput({}, tags, np.zeros(1)), persons, heads, prompt_tags) == expected


def test_the_largest_person_is_the_one_that_is_compared():
    picture = Image.new("RGB", (100, 100))
    assert largest_person(picture, [((0, 0, 10, 10), 0.9), ((0, 0, 50, 60), 0.4)]).size == (50, 60)
    assert largest_person(picture, []).size == (100, 100)
