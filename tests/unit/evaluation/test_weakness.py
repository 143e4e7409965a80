"""When a model counts as weak, on tables of scores; and what is said of it."""

from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.tables import SCORES, read_table, write_table
from charaloom.config.params import SelectionRule
from charaloom.evaluation.selection import choose
from charaloom.evaluation.weakness.rule import weakness
from tests.unit.evaluation.score_rows import THRESHOLD, drawn

RULE = SelectionRule(scores={"recognised": 1, "likeness": 1}, first=0.5, keep=0.5)
NEAR, FAR = 0.08, 0.4  # distances of a picture that is recognised, and of one that is not
OUTFIT = {"pictures": 30, "support": 34}


def judged(tmp_path: Path, rows: list[dict[str, Any]], minimum: float = 0.3, **more: Any) -> dict[str, Any]:
    """What `selection.json` says of these rows, read back from a table as the stage reads them."""
    write_table(tmp_path / "scores.parquet", rows, SCORES, "file")
    table = read_table(tmp_path / "scores.parquet")
    bases = sorted({row["base"] for row in rows})
    names = sorted({row["checkpoint"] for row in rows} - {"none"})
    choice = choose(table, bases, names, RULE, THRESHOLD, "scores.parquet")
    return weakness(choice, minimum, table, more.get("outfits", {}), more.get("pictures", 90))


def some(checkpoint: str, recognised: int, number: int, **more: Any) -> list[dict[str, Any]]:
    """Previews of which some are recognised."""
    return drawn(checkpoint, [NEAR] * recognised + [FAR] * (number - recognised), **more)


@pytest.mark.parametrize(
    ("with_lora", "alone", "weak"),
    [
        ((18, 20), (0, 6), False),  # the demo's rin
        ((21, 24), (1, 7), False),  # the demo's nagi
        ((16, 18), (2, 5), False),
        ((0, 20), (0, 6), True),
        ((5, 20), (0, 6), True),
        ((12, 20), (3, 6), True),  # 60 % and 50 %: chance
        ((20, 20), (6, 6), True),  # the base knows the character
        ((18, 20), (6, 6), True),
        ((2, 2), (0, 1), True),  # nothing can be said of so few
        ((9, 12), (0, 0), False),  # no picture without LoRA: the minimum alone decides
    ],
)
def test_a_model_is_weak_where_it_is_recognised_no_better_than_its_base(
    tmp_path: Path, with_lora: tuple[int, int], alone: tuple[int, int], weak: bool
) -> None:
    rows = [*some("step-000100", *with_lora), *some("none", *alone)]
    assert bool(judged(tmp_path, rows)["weak"]) == weak


def test_the_interval_of_the_gain_is_newcombes(tmp_path: Path) -> None:
    """56 of 70 and 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, table II, method 10, case a)."""
    gained = judged(tmp_path, [*some("step-000100", 56, 70), *some("none", 48, 80)])["gain"]
    assert gained == {"value": 0.2, "low": pytest.approx(0.0524, abs=1e-4), "high": pytest.approx(0.3339, abs=1e-4)}


@pytest.mark.parametrize(("minimum", "weak"), [(0.0, False), (0.6, False), (0.61, True), (1.0, True)])
def test_the_config_says_how_often_a_model_must_be_recognised(tmp_path: Path, minimum: float, weak: bool) -> None:
    rows = [*some("step-000100", 12, 20), *some("none", 0, 8)]
    found = judged(tmp_path, rows, minimum)["weak"]
    assert bool(found) == weak
    assert not weak or "12 of 20 previews are recognised" in found["why"][0]
    assert not weak or "selection.minimum" in found["why"][0]


def test_only_what_is_published_counts(tmp_path: Path) -> None:
    """The chosen checkpoint on the training base, at weight 1 and with its embedding."""
    rows = [
        *some("step-000100", 0, 20, embedding=True),
        *some("step-000100", 20, 20, round=None),
        *some("step-000100", 20, 20, base="two", embedding=True),
        *some("none", 0, 6),
    ]
    assert judged(tmp_path, rows)["weak"]


def test_withheld_pictures_are_not_recognised(tmp_path: Path) -> None:
    rows = [*drawn("step-000100", [None] * 10), *some("none", 0, 4)]
    weak = judged(tmp_path, rows)["weak"]
    assert "0 of 10" in weak["why"][0]
    assert any("10 of 10 previews were withheld" in entry for entry in weak["advice"])


# --- what to try, by cause

NONE = some("none", 0, 6)
CAUSES = {
    "too few pictures": (some("step-000100", 1, 10), {"pictures": 17}, "17 training pictures are few"),
    "an outfit too rare": (
        some("step-000100", 1, 10, outfit="red"),
        {"outfits": {"red": {**OUTFIT, "pictures": 7, "support": 9}}},
        "clustered.minimum_support above 9",
    ),
    "rates too low": (some("step-000100", 0, 10), {}, "changes almost nothing: raise training.rate_unet"),
    "too few steps": (
        [*some("step-000100", 0, 10), *drawn("step-000200", [0.22] * 10)],
        {},
        "ended too early (each checkpoint is better): raise training.steps",
    ),
    "a stronger weight is better": (
        [*drawn("step-000100", [0.25] * 10), *drawn("step-000100", [0.2] * 10, weight=1.4, round=None)],
        {},
        "weight 1.4 is better than 1",
    ),
    "too many steps": (
        [*drawn("step-000100", [0.2] * 10), *some("step-000200", 0, 10)],
        {},
        "the later checkpoints are worse: lower training.rate_unet",
    ),
    "broken pictures": (drawn("step-000100", [0.25] * 10, faults=["nobody"]), {}, "the LoRA breaks pictures"),
    "another base": (
        [*some("step-000100", 1, 10), *some("step-000100", 9, 10, base="two", round=None)],
        {},
        "on two it is recognised more often",
    ),
    "copies": (drawn("step-000100", [0.25] * 10, memorised=True), {}, "the previews repeat training pictures"),
}


@pytest.mark.parametrize(("rows", "more", "said"), CAUSES.values(), ids=CAUSES)
def test_what_to_try_goes_by_the_cause(
    tmp_path: Path, rows: list[dict[str, Any]], more: dict[str, Any], said: str
) -> None:
    advice = judged(tmp_path, [*rows, *NONE], **more)["weak"]["advice"]
    assert any(said in entry for entry in advice), advice
    assert "curation.html" in advice[-1]


def test_a_base_that_fits_not_or_knows_too_much_is_named(tmp_path: Path) -> None:
    broken = judged(tmp_path, [*some("step-000100", 1, 10), *some("none", 0, 6, faults=["nobody"])])["weak"]["advice"]
    assert any("the base one alone renders mostly faulty pictures" in entry for entry in broken)
    knowing = judged(tmp_path, [*some("step-000100", 10, 10), *some("none", 6, 6)])["weak"]["advice"]
    assert any("a prompt of their traits may be enough" in entry for entry in knowing)
