"""The independent classifier of demo previews, on drawings new to it; and what `make score PREVIEWS=` counts."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from charaloom.artifacts.files import write_json
from charaloom.artifacts.tables import SCORES, write_table
from charaloom.demo.models.classifier import MODEL, QUESTIONS, SIDE, Classifier, answers_of
from charaloom.demo.scores import previews as preview_scores
from charaloom.demo.scores.previews import PreviewCounts, Truth
from charaloom.demo.world import cast
from charaloom.demo.world.drawing import draw_group
from tests.small_results import score_row

SEED = 77


@pytest.fixture(scope="module")
def drawings() -> list[tuple[Image.Image, cast.Character, cast.Outfit]]:
    rng, pictures = Random(SEED), []
    for number in range(40):
        somebody = cast.draw_character(rng, "somebody", outfits=3)
        outfit, staging = rng.choice(somebody.outfits), cast.draw_staging(rng, cast.FRAMINGS[number % 4])
        scene = rng.choice(cast.BACKGROUNDS), rng.choice(cast.STYLES)
        picture, _ = draw_group([(somebody, outfit, staging)], *scene, (SIDE, SIDE), rng)
        pictures.append((picture, somebody, outfit))
    return pictures


def test_the_classifier_knows_people_and_clothes_it_never_saw(drawings):
    classifier = Classifier()
    verdicts = [classifier.judged(*drawing) for drawing in drawings]
    assert sum(who for who, _ in verdicts) >= 38
    assert sum(bool(worn) for _, worn in verdicts) >= 36


def test_the_classifier_hardly_ever_mistakes_people_or_clothes(drawings):
    classifier, others = Classifier(), [*drawings[1:], drawings[0]]
    verdicts = [
        classifier.judged(picture, other, outfit)
        for (picture, somebody, worn), (_, other, outfit) in zip(drawings, others, strict=True)
        if not cast.alike(somebody, other) and outfit.garment != worn.garment
    ]
    assert len(verdicts) > 25
    assert sum(who for who, _ in verdicts) <= len(verdicts) // 10
    assert sum(bool(worn) for _, worn in verdicts) <= len(verdicts) // 10


def test_without_an_outfit_in_the_prompt_none_is_judged(drawings):
    picture, somebody, _ = drawings[0]
    assert Classifier().judged(picture, somebody, None)[1] is None


def test_the_classifier_is_small_and_answers_every_question():
    assert MODEL.stat().st_size < 2_000_000
    answers = Classifier().answers(Image.new("RGB", (64, 64)))
    assert {name: len(values) for name, values in answers.items()} == {n: len(v) for n, v in QUESTIONS.items()}


def test_what_headwear_hides_is_not_asked():
    rng = Random(1)
    somebody = cast.draw_character(rng, "somebody")
    witch = cast.draw_outfit(rng, "witch")
    assert "ahoge" not in answers_of(somebody, witch)


class ByColour:
    """Takes red pictures for the character and for any outfit."""

    def judged(self, picture, somebody, outfit):
        red = picture.getpixel((0, 0))[0] > 100
        return red, None if outfit is None else red


def test_what_is_counted(tmp_path: Path, monkeypatch):
    """On each base the chosen checkpoint at weight 1, with its embedding; the base alone on the training base only."""
    rows = []
    for base in ("one", "two"):
        for checkpoint, weight in (("none", 1.0), ("step-000100", 1.0), ("step-000200", 1.0), ("step-000200", 0.8)):
            rows += [score_row(base, checkpoint, scene, True, True, weight) for scene in ("portrait", "standing")]
    for row in rows:
        row["embedding"] = row["checkpoint"] != "none"
        red = row["checkpoint"] == "step-000200" and (row["base"], row["prompt_id"]) != ("two", "red-standing")
        (tmp_path / "previews" / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (200 if red else 0, 0, 0)).save(tmp_path / "previews" / row["file"])
    write_table(tmp_path / "previews" / "scores.parquet", rows, SCORES, "file")
    selection = {"chosen": "step-000200", "base": "one", "cost": {"drawn": 16, "full": 40}}
    write_json(tmp_path / "selection.json", selection)
    outfit = cast.draw_outfit(Random(1))
    somebody = cast.draw_character(Random(2), "hana")
    monkeypatch.setattr(preview_scores, "Classifier", ByColour)
    monkeypatch.setattr(preview_scores, "truth_of", lambda *_: Truth(somebody, {"red": outfit}))
    monkeypatch.setattr(preview_scores, "values_of_all", lambda *_: {"step-000100": 0.8, "step-000200": 0.6})
    counts = preview_scores.counted(tmp_path, "hana", {}, None, tmp_path, tmp_path)
    assert counts.named == {"one": 2, "two": 2, "none": 2}
    assert +counts.recognised == {"one": 2, "two": 1}
    line = preview_scores.figures("all", counts + PreviewCounts(), ["one", "two"])
    assert line == {
        "": "all",
        "who": 1.0,
        "who on two": 0.5,
        "without LoRA": 0.0,
        "outfit": 1.0,
        "outfit on two": 0.5,
        "chosen / best": 0.75,
        "drawn": 0.4,
    }


def test_worlds_add_up():
    first, second = (PreviewCounts(Counter({"one": n}), Counter({"one": n}), drawn=n, full=10) for n in (3, 4))
    both = preview_scores.figures("all", first + second, ["one"])
    assert (both["who"], both["drawn"], both["chosen / best"]) == (1.0, 0.35, None)
