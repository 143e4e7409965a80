"""What tells a drawing again after it was re-encoded or resized: a perceptual hash and a small grey thumbnail."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HASH_SIDE = 32  # pixels, as pHash has it
THUMBNAIL_SIDE = 96  # pixels of the longest side, set by hand


def perceptual_hash(grey: "np.ndarray") -> str:
    """64-bit pHash as 16 hex digits: signs of the lowest 8 x 8 cosine frequencies of a 32 px grey thumbnail."""
    import cv2
    import numpy as np

    small = cv2.resize(grey, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float64))[:8, :8]
    bits: np.ndarray = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()


def thumbnail(grey: "np.ndarray") -> "np.ndarray":
    """At most THUMBNAIL_SIDE pixels on the longest side, uint8 [h, w], by averaging: copies are found on it."""
    import cv2

    height, width = grey.shape
    factor = min(THUMBNAIL_SIDE / max(height, width), 1.0)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
