"""Expressions of one drawing are kept, copies of it are found: case P9 of issue 16, by the demo's picture models."""

import numpy as np
import pytest

from charaloom.curation.duplicates import Faces
from charaloom.curation.views import View
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
    return Head((0, 0, 2 * side, 2 * side), np.clip(grey + noise, 0, 255).astype(np.uint8)[..., None])


@pytest.mark.parametrize(("mouth", "level", "differs"), [(70, 0, False), (70, 6, False), (78, 0, True), (78, 6, True)])
def test_a_mouth_that_moves_is_another_face(mouth: int, level: float, differs: bool) -> None:
    assert faces_differ(head(70), head(mouth, level=level), Fit(1.0)) == differs


def test_heads_that_share_too_little_are_not_told_apart() -> None:
    assert not faces_differ(head(70), head(78), Fit(1.0, left=185.0))
    assert not faces_differ(head(70, side=6), head(78, side=6), Fit(1.0))


def coloured(cheeks: float, tint: float = 0.0, colours: bool = True, level: float = 0.0) -> Head:
    """The face with hair, skin, and cheeks that differ from the skin in colour alone."""
    side = 96
    planes = np.dstack([head(70).planes.astype(float), np.full((side, side, 2), 128.0)])
    if colours:
        planes[..., 1:] += (-14.0, 18.0)
        planes[:20, :, 1:] = (150.0, 110.0)
        for left in (14, 68):
            planes[58:66, left : left + 14, 1:] += (-cheeks / 2, cheeks)
        planes[..., 1:] += tint + np.random.default_rng(1).normal(0, level, (side, side, 2))
    return Head((0, 0, 2 * side, 2 * side), np.clip(planes, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (coloured(22), True),
        (coloured(22, tint=6, level=2), True),
        (coloured(0, level=3), False),
        (coloured(0, tint=9), False),
        (coloured(0, colours=False), False),
        (coloured(2), False),
    ],
)
def test_a_blush_is_another_face_and_a_tint_is_none(other: Head, differs: bool) -> None:
    assert faces_differ(coloured(0), other, Fit(1.0)) == differs
    assert faces_differ(other, coloured(0), Fit(1.0)) == differs


@pytest.mark.parametrize(("painted", "heads"), [(True, "first"), (True, "second"), (False, "first"), (False, "none")])
def test_a_face_that_is_painted_over_is_another_where_no_head_is_detected(painted: bool, heads: str) -> None:
    """A drawing of 192 pixels in thumbnails of 96, its head at (48, 0) to (144, 96)."""
    drawing = np.random.default_rng(2).integers(60, 200, (6, 6)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    drawing[:48, 24:72] = head(70).planes[::2, ::2, 0]
    other = drawing.copy()
    if painted:
        other[8:40, 32:64] = 128
    row = {"kind": "picture", "x0": 0, "y0": 0, "x1": 192, "y1": 192, "width": 192, "height": 192}
    views = [View({**row, "picture": name}, {}, [], 0, []) for name in "ab"]
    known = Head((48, 0, 144, 96), head(70).planes)
    faces = Faces(
        {"first": {"a": [known]}, "second": {"b": [known]}, "none": {}}[heads],
        {view.row["picture"]: view.row for view in views},
        {"a": drawing, "b": other},
    )
    assert faces.differ(*views, Fit(1.0)) == painted
