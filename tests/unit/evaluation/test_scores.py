"""What is counted of the previews of one checkpoint."""

from dataclasses import replace

import pytest

from charaloom.config.params import SelectionRule
from charaloom.evaluation.scores import numbers, scores_of, wilson
from tests.unit.evaluation.score_rows import THRESHOLD, drawn, picture

RULE = SelectionRule(scores={"recognised": 1}, first=0.25, keep=0.5)


def test_the_score_is_the_weighted_mean_of_what_could_be_counted():
    rows = drawn("step-000100", [0.1, 0.1, 0.3, 0.3], outfit="red", outfit_drawn="red")
    weights = {"recognised": 1, "outfit": 3, "following": 5}  # the prompts name no tag: following is not counted
    rule = replace(RULE, scores=weights)
    assert numbers(rows, rule, THRESHOLD)["score"] == pytest.approx((0.5 + 3 * 1.0) / 4)


def test_what_each_score_counts():
    rows = [
        picture("s000100", 0, 0.0, outfit="red", outfit_drawn="red", asked=["a", "b"], seen=["a"], core_seen=1.0),
        picture("s000100", 1, 0.178, outfit="red", outfit_drawn="blue", asked=["a"], seen=["a"], core_seen=0.5),
        picture("s000100", 2, 0.5, kind="clothes", outfit_drawn="red", faults=["nobody"], memorised=True),
        picture("s000100", 3, 0.0, kind="plain", core_seen=0.25),
        picture("s000100", 4, None, outfit="red", asked=["a"]),
    ]
    values = {name: score["value"] for name, score in scores_of(rows, THRESHOLD).items()}
    assert values == {
        "recognised": 0.5,  # two of the four that name the character
        "likeness": pytest.approx((1 + 0.5 + 0 + 0) / 4),
        "outfit": pytest.approx(1 / 3, abs=1e-4),
        "following": pytest.approx((0.5 + 1 + 0) / 3),
        "core": 0.75,
        "sound": 0.6,  # neither the fault nor the withheld one
        "fresh": 0.8,
        "bleeding": 0.5,  # blue for red, red for other clothes
        "leaking": 0.25,
        "diversity": None,
    }


def test_diversity_is_how_far_apart_pictures_of_one_prompt_are():
    vectors = {0: [1.0, 0.0], 1: [0.0, 1.0], 2: [1.0, 0.0]}
    rows = [picture("s000100", k, 0.1, prompt_id=f"p{k // 2}", embedding_vector=v) for k, v in vectors.items()]
    assert scores_of(rows, THRESHOLD)["diversity"]["value"] == 1.0


def test_every_score_has_its_interval():
    scores = scores_of(drawn("s000100", [0.1, 0.2, 0.05, 0.12]), THRESHOLD)
    for name in ("recognised", "likeness", "sound", "fresh"):
        assert 0 <= scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"] <= 1
        assert scores[name]["n"] == 4


def test_the_interval_of_a_share_is_wilsons():
    """Reference values: Newcombe 1998, table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
