"""What a tag describes, what it implies and what contradicts it."""

from pathlib import Path

import pytest

from charaloom.tagging.vocabulary import (
    Vocabulary,
    contradictions,
    hidden,
    implied_by_words,
    is_clothing,
    is_headwear,
    is_identity,
)
from tests.standins import write_vocabulary


@pytest.mark.parametrize("tag", ["red_kimono", "pleated_skirt", "long_sleeves", "witch_hat", "tiara"])
def test_clothing(tag: str) -> None:
    assert is_clothing(tag)
    assert not is_identity(tag)


@pytest.mark.parametrize("tag", ["blue_hair", "cat_ears", "dark_skin", "red_hair_bow", "glasses", "halo"])
def test_identity(tag: str) -> None:
    assert is_identity(tag)
    assert not is_clothing(tag)


@pytest.mark.parametrize("tag", ["smile", "closed_eyes", "holding_hat", "no_shirt", "outdoors", "chair"])
def test_neither(tag: str) -> None:
    assert not is_clothing(tag)
    assert not is_identity(tag)


def test_implied_and_hidden() -> None:
    assert implied_by_words(["kimono", "red_kimono", "hair", "long_hair"]) == {"kimono", "hair"}
    assert is_headwear("witch_hat")
    assert hidden("hairband", ["witch_hat"])
    assert hidden("blue_eyes", ["closed_eyes"])
    assert not hidden("blue_hair", ["witch_hat", "closed_eyes"])


def test_implications_are_the_boards_own(tmp_path: Path) -> None:
    vocabulary = Vocabulary(write_vocabulary(tmp_path))
    assert vocabulary.implied(["school_swimsuit", "swimsuit", "smile"]) == {"swimsuit"}
    assert vocabulary.implied(["school_swimsuit"]) == set()
    assert vocabulary.counts["kimono"] == 1000
    assert "hana_(charaloom)" not in vocabulary.counts


def test_contradictions_come_in_groups() -> None:
    assert contradictions(["red_hair", "blue_hair", "day", "night", "smile"]) == [
        ["blue_hair", "red_hair"],
        ["day", "night"],
    ]
    assert contradictions(["red_hair", "blue_hair", "streaked_hair"]) == []
