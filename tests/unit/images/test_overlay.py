"""Laying one drawing over another."""

import numpy as np
import pytest
from PIL import Image

from charaloom.images.fingerprints import thumbnail
from charaloom.images.overlay import fitted


def drawing(seed: int) -> np.ndarray:
    """A grey picture of soft spots, uint8 [96, 96]: one of many that are not alike."""
    spots = np.random.default_rng(seed).integers(0, 255, (9, 9), dtype=np.uint8)
    return np.asarray(Image.fromarray(spots).resize((96, 96), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [(20, 1400), (1400, 20), (1, 5000), (9, 96), (96, 9)])
def test_a_strip_is_like_nothing_and_breaks_nothing(size: tuple[int, int]) -> None:
    strip = thumbnail(np.asarray(Image.fromarray(drawing(5)).resize(size)))
    for first, second in ((strip, drawing(6)), (drawing(6), strip), (strip, strip)):
        assert -1 <= fitted(first, second).score <= 1


def test_a_fit_maps_boxes_of_one_picture_onto_the_other() -> None:
    whole = thumbnail(drawing(5))
    part = thumbnail(drawing(5)[20:80, 10:70])
    fit = fitted(whole, part)
    assert fit.score > 0.98
    assert fit.moved((0, 0, part.shape[1], part.shape[0])) == pytest.approx([10, 20, 70, 80], abs=1)
    assert fitted(part, whole).moved((10, 20, 70, 80)) == pytest.approx([0, 0, 60, 60], abs=1.5)
    assert fitted(whole, thumbnail(drawing(6))).score < 0.8
