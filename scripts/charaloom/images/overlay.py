"""Is it the same drawing? One grey thumbnail laid over the other, the smaller frame searched at every place and scale.

The score is their correlation where they fit best, times one less the difference of the part that differs most: two
drawings of one pose and outfit share hash, tags and outline, but not every part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.types import PathLike, Row

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 8  # pictures that each one is laid over at most, by hash and by embedding
COARSE = 48  # pixels of the longest side, where every scale is tried; then the best is refined on the whole thumbnail
SCALES = tuple(0.965**step for step in range(20))  # of the smaller frame in the larger one: 1 to 0.5
FINE = tuple(1 + 0.004 * step for step in range(-9, 10))
PROMISING = 0.6  # coarse correlation below which nothing is refined
SAME_FRAME = 0.97  # correlation of unchanged frames that needs no search
PARTS = 4  # of each side: blocks among which two frames differ most in one
LEAST_SIDE = 8  # pixels of a frame that is searched for
LEAST_CONTRAST = 2.0  # standard deviation of grey values: a plain sheet is like every other


@dataclass(frozen=True)
class Fit:
    """How well a second picture lies on a first: its pixel (x, y) falls on (x * scale + left, y * scale + top)."""

    score: float
    scale: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def inverse(self) -> "Fit":
        return Fit(self.score, 1 / self.scale, -self.left / self.scale, -self.top / self.scale)

    def moved(self, box: Sequence[float]) -> list[float]:
        return [edge * self.scale + (self.left, self.top)[index % 2] for index, edge in enumerate(box)]


def read_thumbnails(measured: PathLike, wholes: dict[str, str]) -> dict[str, "np.ndarray"]:
    """Grey thumbnails [height, width] by picture, of those among `wholes` (picture by view) that are not plain."""
    import numpy as np
    import pyarrow.parquet as pq

    thumbnails = {}
    source = pq.ParquetFile(measured)
    for batch in source.iter_batches(batch_size=1024, columns=["view", "thumbnail", "thumbnail_width"]):
        for row in batch.to_pylist():
            if row["view"] in wholes and row["thumbnail"]:
                grey = np.frombuffer(row["thumbnail"], np.uint8).reshape(-1, row["thumbnail_width"])
                if grey.std() >= LEAST_CONTRAST:
                    thumbnails[wholes[row["view"]]] = grey
    return thumbnails


def fitted(first: "np.ndarray", second: "np.ndarray") -> Fit:
    """The best fit of two thumbnails, either of which may be a part of the other; in pixels of the first."""
    on_first, on_second = searched(first, second), searched(second, first)
    if on_first.score >= on_second.score:
        return alike_everywhere(first, second, on_first)
    return alike_everywhere(second, first, on_second).inverse()


def searched(frame: "np.ndarray", part: "np.ndarray") -> Fit:
    """The best place and scale of `part` in `frame`, by correlation."""
    unchanged = best_of(frame, part, (1.0,))
    if unchanged.score >= SAME_FRAME:
        return unchanged
    coarse = best_of(shrunk(frame), shrunk(part), SCALES)
    if coarse.score < PROMISING:
        return coarse
    return best_of(frame, part, [min(coarse.scale * step, 1.0) for step in FINE])


def alike_everywhere(frame: "np.ndarray", part: "np.ndarray", fit: Fit) -> Fit:
    """The fit with its score lowered by the mean difference (0 to 1) of the part that differs most."""
    import numpy as np

    if fit.score < PROMISING:
        return fit
    left, top = round(fit.left), round(fit.top)
    size = round(part.shape[1] * fit.scale), round(part.shape[0] * fit.scale)
    below = frame[top : top + size[1], left : left + size[0]].astype(np.float32)
    apart = np.abs(below - resized(part, (below.shape[1], below.shape[0])))
    rows = [block for rows in np.array_split(apart, PARTS, 0) for block in np.array_split(rows, PARTS, 1)]
    worst = max(float(block.mean()) for block in rows if block.size)
    return replace(fit, score=rounded(fit.score * (1 - worst / 255)))


def shrunk(grey: "np.ndarray") -> "np.ndarray":
    import cv2

    factor = COARSE / max(grey.shape)
    return cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else grey


def best_of(frame: "np.ndarray", part: "np.ndarray", scales: Iterable[float]) -> Fit:
    import cv2

    best = Fit(-1.0)
    height, width = frame.shape
    for scale in scales:
        size = round(part.shape[1] * scale), round(part.shape[0] * scale)
        if size[0] > width + 1 or size[1] > height + 1 or min(size) < LEAST_SIDE:
            continue
        size = min(size[0], width), min(size[1], height)
        correlations = cv2.matchTemplate(frame, resized(part, size), cv2.TM_CCOEFF_NORMED)
        _, score, _, (left, top) = cv2.minMaxLoc(correlations)
        if score > best.score:
            best = Fit(rounded(score), size[0] / part.shape[1], left, top)
    return best


def resized(grey: "np.ndarray", size: tuple[int, int]) -> "np.ndarray":
    import cv2

    return grey if (grey.shape[1], grey.shape[0]) == size else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def in_pixels(fit: Fit, first: Row, second: Row, grey: "np.ndarray", grey_second: "np.ndarray") -> Fit:
    """The fit in pixels of the two pictures (their rows of `measured`) instead of their thumbnails', which show what
    is drawn."""
    unit, unit_second = first["width"] / grey.shape[1], second["width"] / grey_second.shape[1]
    scale = fit.scale * unit / unit_second
    left = first["x0"] + fit.left * unit - second["x0"] * scale
    top = first["y0"] + fit.top * unit - second["y0"] * scale
    return Fit(fit.score, scale, left, top)
