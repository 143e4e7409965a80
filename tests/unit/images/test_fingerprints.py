"""Perceptual hashes and thumbnails."""

import numpy as np
from PIL import Image

from charaloom.images.fingerprints import perceptual_hash, thumbnail


def test_perceptual_hash_survives_resizing_and_tells_pictures_apart() -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    image = small.resize((400, 400), Image.Resampling.BICUBIC)

    def hashed(picture: Image.Image) -> int:
        return int(perceptual_hash(np.asarray(picture.convert("L"))), 16)

    another = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((400, 400))

    def apart(left: Image.Image, right: Image.Image) -> int:
        return (hashed(left) ^ hashed(right)).bit_count()

    assert len(perceptual_hash(np.asarray(image.convert("L")))) == 16
    assert apart(image, image.resize((180, 180), Image.Resampling.LANCZOS)) <= 2
    assert apart(image, another) > 15


def test_thumbnails_keep_their_shape_and_small_pictures_their_size() -> None:
    assert thumbnail(np.zeros((400, 200), np.uint8)).shape == (96, 48)
    assert thumbnail(np.zeros((5000, 10), np.uint8)).shape == (96, 1)
    assert thumbnail(np.zeros((40, 30), np.uint8)).shape == (40, 30)
