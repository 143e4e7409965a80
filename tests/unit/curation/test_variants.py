"""Expressions of one drawing are kept, copies of it are found: case P9 of issue 16, by the demo's picture models."""

import numpy as np
import pytest

from charaloom.images.faces import Head, faces_differ
from charaloom.images.overlay import Fit
from tests.drawn_variants import Counts, counted, draw, measured

DRAWINGS = 6


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Counts, Counts]:
    """With variants kept, and without."""
    folder = tmp_path_factory.mktemp("variants")
    drawn = draw(DRAWINGS, 3)
    measured(drawn, folder)
    return counted(drawn, folder), counted(drawn, folder, variants=False)


def test_case_P9_expressions_are_kept_and_copies_found(results: tuple[Counts, Counts]) -> None:
    on, _ = results
    assert on.kept >= 0.95 * on.variants
    assert on.missed == ()


def test_case_P9_without_the_switch_they_are_one_drawing(results: tuple[Counts, Counts]) -> None:
    on, off = results
    assert off.kept < 0.6 * off.variants
    assert off.found == off.copies == on.copies


def head(mouth: int, side: int = 96, level: float = 0.0, seed: int = 0) -> Head:
    """A face with eyes and a mouth at a height, with noise."""
    grey = np.full((side, side), 220.0)
    for left in (20, 60):
        grey[30:45, left : left + 15] = 40
    grey[mouth : mouth + 3, 38:58] = 90
    noise = np.random.default_rng(seed).normal(0, level, grey.shape)
    return Head((0, 0, 2 * side, 2 * side), np.clip(grey + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("mouth", "level", "differs"), [(70, 0, False), (70, 6, False), (78, 0, True), (78, 6, True)])
def test_a_mouth_that_moves_is_another_face(mouth: int, level: float, differs: bool) -> None:
    assert faces_differ(head(70), head(mouth, level=level), Fit(1.0)) == differs


def test_heads_that_share_too_little_are_not_told_apart() -> None:
    assert not faces_differ(head(70), head(78), Fit(1.0, left=185.0))
    assert not faces_differ(head(70, side=6), head(78, side=6), Fit(1.0))
