"""Is it the same face? Two heads of one drawing laid over each other, and the place where they differ most.

Encoders and resizing change a drawing where its edges are, an expression puts an edge where the other face has none.
Edges that lie a pixel or two apart are no difference: each place is compared with its surroundings.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charaloom.images.overlay import Fit

if TYPE_CHECKING:
    import numpy as np

    from charaloom.images.boxes import Edges

# Chosen on drawn expressions of demo characters and their copies (re-encoded, resized, cropped): docs/curation.md.
DIFFERENCE = 8.5  # of the places that differ most, from which two faces are two
CONTRAST = 20.0  # grey values: a difference counts half where both faces have edges of this contrast
SURROUNDINGS = 7  # pixels of the side of the square whose contrast counts
PLACE = 5  # pixels of a place's side, in a head of at most 96
SHIFTS = 2  # pixels by which edges may lie apart
BORDER = 1 / 16  # of a head's shorter side, by which the two are moved to lie best
LEAST_SIDE = 8  # pixels that both heads show


@dataclass(frozen=True)
class Head:
    """A detected head: its box in pixels of the picture, and its pixels in grey, reduced."""

    box: "Edges"
    grey: "np.ndarray"


def faces_differ(first: Head, second: Head, fit: Fit) -> bool:
    """Whether two heads of one drawing have different faces; `fit` lays the second picture on the first."""
    pair = laid_over(first, second, fit)
    return pair is not None and float(differences_of(*pair).max()) >= DIFFERENCE


def laid_over(first: Head, second: Head, fit: Fit) -> "tuple[np.ndarray, np.ndarray] | None":
    """The part that both heads show, in pixels of the first, the second moved to where it fits best; None where they
    share too little."""
    import cv2
    import numpy as np

    height, width = first.grey.shape
    unit = (first.box[2] - first.box[0]) / width
    unit_second = (second.box[2] - second.box[0]) / second.grey.shape[1]
    scale = unit / fit.scale / unit_second
    offsets = [
        ((first.box[axis] - (fit.left, fit.top)[axis]) / fit.scale - second.box[axis]) / unit_second for axis in (0, 1)
    ]
    matrix = np.array([[scale, 0, offsets[0]], [0, scale, offsets[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        second.grey.astype(np.float32), matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    covered = cv2.warpAffine(np.ones(second.grey.shape, np.float32), matrix, (width, height), flags=flags)
    rows, columns = np.nonzero(covered > 0.5)
    if not len(rows):
        return None
    border = max(2, round(BORDER * min(height, width)))
    top, bottom = int(rows.min()) + border, int(rows.max()) + 1 - border
    left, right = int(columns.min()) + border, int(columns.max()) + 1 - border
    if min(bottom - top, right - left) < LEAST_SIDE:
        return None
    part = np.ascontiguousarray(moved[top:bottom, left:right])
    whole = first.grey[top - border : bottom + border, left - border : right + border].astype(np.float32)
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED))
    return np.ascontiguousarray(whole[y : y + part.shape[0], x : x + part.shape[1]]), part


def differences_of(first: "np.ndarray", second: "np.ndarray") -> "np.ndarray":
    """Mean difference of each place from the most like place within SHIFTS pixels, the less the more edges both have
    there; without the rim."""
    import cv2
    import numpy as np

    ours, theirs = cv2.GaussianBlur(first, (3, 3), 0), cv2.GaussianBlur(second, (3, 3), 0)
    steps = range(-SHIFTS, SHIFTS + 1)
    shifted = (np.roll(theirs, (dy, dx), (0, 1)) for dy in steps for dx in steps)
    least = np.minimum.reduce([cv2.blur(np.abs(ours - other), (PLACE, PLACE)) for other in shifted])
    least *= CONTRAST / (CONTRAST + np.minimum(contrast(ours), contrast(theirs)))
    rim = SHIFTS + PLACE // 2
    return least[rim:-rim, rim:-rim] if min(least.shape) > 2 * rim + 4 else least


def contrast(grey: "np.ndarray") -> "np.ndarray":
    """Standard deviation of the grey values around each pixel."""
    import cv2
    import numpy as np

    size = (SURROUNDINGS, SURROUNDINGS)
    return np.sqrt(np.maximum(cv2.blur(grey * grey, size) - cv2.blur(grey, size) ** 2, 0))
