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
COLOUR_DIFFERENCE = 7.9  # of Cb and Cr together, from which the colours of two faces are two
NOISE, NOISY_SHARE = 2.0, 75.0  # so often the difference that this percentage of places stays below is an encoder's
COLOURED_SIDE = 56  # pixels of a head's shorter side from which colours count: encoders keep half of their pixels
NEUTRAL, COLOURLESS = 128.0, 2.0  # Cb and Cr of grey; mean distance from it below which a head has no colours
CONTRAST = 20.0  # grey values: a difference counts half where both faces have edges of this contrast
SURROUNDINGS = 7  # pixels of the side of the square whose contrast counts
PLACE = 5  # pixels of a place's side, in a head of at most 96
SHIFTS = 2  # pixels by which edges may lie apart
BORDER = 1 / 16  # of a head's shorter side, by which the two are moved to lie best
LEAST_SIDE = 8  # pixels that both heads show


@dataclass(frozen=True)
class Head:
    """A head: its box in pixels of the picture, and its pixels there, reduced: luma, and Cb and Cr where they are
    known; float32 or uint8 [h, w, 1 or 3]."""

    box: "Edges"
    planes: "np.ndarray"


def faces_differ(first: Head, second: Head, fit: Fit) -> bool:
    """Whether two heads of one drawing have different faces; `fit` lays the second picture on the first."""
    pair = laid_over(first, second, fit)
    if pair is None:
        return False
    return grey_difference(*pair) >= DIFFERENCE or colour_difference(*pair) >= COLOUR_DIFFERENCE


def laid_over(first: Head, second: Head, fit: Fit) -> "tuple[np.ndarray, np.ndarray] | None":
    """The part that both heads show, in pixels of the first, the second moved to where it fits best; None where they
    share too little."""
    import cv2
    import numpy as np

    number = min(first.planes.shape[2], second.planes.shape[2])
    ours = first.planes[..., :number].astype(np.float32)
    theirs = second.planes[..., :number].astype(np.float32)
    height, width = ours.shape[:2]
    unit = (first.box[2] - first.box[0]) / width
    unit_second = (second.box[2] - second.box[0]) / theirs.shape[1]
    scale = unit / fit.scale / unit_second
    offsets = [
        ((first.box[axis] - (fit.left, fit.top)[axis]) / fit.scale - second.box[axis]) / unit_second for axis in (0, 1)
    ]
    matrix = np.array([[scale, 0, offsets[0]], [0, scale, offsets[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(theirs, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    moved = moved.reshape(height, width, number)
    covered = cv2.warpAffine(np.ones(theirs.shape[:2], np.float32), matrix, (width, height), flags=flags)
    rows, columns = np.nonzero(covered > 0.5)
    if not len(rows):
        return None
    border = max(2, round(BORDER * min(height, width)))
    top, bottom = int(rows.min()) + border, int(rows.max()) + 1 - border
    left, right = int(columns.min()) + border, int(columns.max()) + 1 - border
    if min(bottom - top, right - left) < LEAST_SIDE:
        return None
    part = moved[top:bottom, left:right]
    whole = ours[top - border : bottom + border, left - border : right + border]
    correlations = cv2.matchTemplate(plane(whole, 0), plane(part, 0), cv2.TM_CCOEFF_NORMED)
    _, _, _, (x, y) = cv2.minMaxLoc(correlations)
    return whole[y : y + part.shape[0], x : x + part.shape[1]], part


def plane(planes: "np.ndarray", index: int) -> "np.ndarray":
    import numpy as np

    return np.ascontiguousarray(planes[..., index])


def grey_difference(first: "np.ndarray", second: "np.ndarray") -> float:
    """The luma difference of the place that differs most."""
    return float(differences_of(first[..., :1], second[..., :1]).max())


def colour_difference(first: "np.ndarray", second: "np.ndarray") -> float:
    """How far the place whose colour differs most stands out from the places around: encoders that keep few colours
    change a whole head, a blush changes some places. A copy in grey has no other face; nor has one in other tints."""
    import numpy as np

    if first.shape[2] < 3 or min(first.shape[:2]) < COLOURED_SIDE:
        return 0.0
    colours = first[..., 1:], second[..., 1:]
    if min(float(np.abs(colour - NEUTRAL).mean()) for colour in colours) < COLOURLESS:
        return 0.0
    tint = np.median(colours[1] - colours[0], axis=(0, 1)).astype(np.float32)
    differences = differences_of(colours[0], colours[1] - tint)
    return float(differences.max() - NOISE * np.percentile(differences, NOISY_SHARE))


def differences_of(first: "np.ndarray", second: "np.ndarray") -> "np.ndarray":
    """Mean difference, over all planes, of each place from the most like place within SHIFTS pixels, the less the more
    edges both have there; without the rim."""
    import cv2
    import numpy as np

    shape = first.shape
    ours, theirs = (cv2.GaussianBlur(part, (3, 3), 0).reshape(shape) for part in (first, second))
    steps = range(-SHIFTS, SHIFTS + 1)
    shifted = (np.roll(theirs, (dy, dx), (0, 1)) for dy in steps for dx in steps)
    least = np.minimum.reduce([cv2.blur(np.abs(ours - other).sum(2), (PLACE, PLACE)) for other in shifted])
    least *= CONTRAST / (CONTRAST + np.minimum(contrast(ours), contrast(theirs)))
    rim = SHIFTS + PLACE // 2
    return least[rim:-rim, rim:-rim] if min(least.shape) > 2 * rim + 4 else least


def contrast(planes: "np.ndarray") -> "np.ndarray":
    """Standard deviation of the values around each pixel, summed over the planes."""
    import cv2
    import numpy as np

    size = (SURROUNDINGS, SURROUNDINGS)
    each = [plane(planes, index) for index in range(planes.shape[2])]
    return sum(np.sqrt(np.maximum(cv2.blur(part * part, size) - cv2.blur(part, size) ** 2, 0)) for part in each)
