"""Which checkpoints render how many prompts."""

from dataclasses import replace

import pytest

from charaloom.config.params import SelectionRule
from charaloom.evaluation.rounds import schedule, segments

RULE = SelectionRule(scores={"recognised": 1}, first=0.25, keep=0.5)


@pytest.mark.parametrize(
    ("checkpoints", "expected"),
    [
        (1, [(1, 1.0)]),
        (2, [(2, 0.25), (1, 1.0)]),
        (4, [(4, 0.25), (2, 0.5), (1, 1.0)]),
        (8, [(8, 0.25), (4, 0.5), (2, 1.0), (1, 1.0)]),
    ],
)
def test_rounds_halve_the_checkpoints_and_double_the_prompts(checkpoints, expected):
    assert schedule(checkpoints, RULE) == expected


def test_every_round_leaves_one_fewer_at_least():
    assert [count for count, _ in schedule(4, replace(RULE, keep=0.99))] == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("prompts", "checkpoints", "expected"),
    [
        (20, 4, [(0, 5), (5, 10), (10, 20)]),
        (3, 4, [(0, 1), (1, 2), (2, 3)]),
        (1, 4, [(0, 1)]),
        (5, 1, [(0, 5)]),
    ],
)
def test_what_each_round_adds(prompts, checkpoints, expected):
    shares = [share for _, share in schedule(checkpoints, RULE)]
    assert [(part.start, part.stop) for part in segments(prompts, shares)] == expected
