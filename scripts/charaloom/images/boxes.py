"""Boxes (left, top, right, bottom) in pixels: their area, and how much two of them overlap."""

from collections.abc import Sequence
from typing import Any

Edges = Sequence[float]
Corners = tuple[int, int, int, int]


def area(box: Edges) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap(first: Edges, second: Edges) -> float:
    """Square pixels that both cover."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    return area((left, top, min(first[2], second[2]), min(first[3], second[3])))


def common(first: Corners, second: Corners) -> Corners:
    """The box that both cover; its area is 0 where there is none."""
    return max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3])


def outside(box: Corners, hole: Corners) -> list[Corners]:
    """What of a box lies outside another, as up to four boxes that do not overlap."""
    x0, y0, x1, y1 = common(box, hole)
    if not area((x0, y0, x1, y1)):
        return [box]
    left, top, right, bottom = box
    pieces = [(left, top, right, y0), (left, y1, right, bottom), (left, y0, x0, y1), (x1, y0, right, y1)]
    return [piece for piece in pieces if area(piece)]


def shared(first: Edges, second: Edges) -> float:
    """Intersection over union, 0 to 1."""
    both = overlap(first, second)
    union = area(first) + area(second) - both
    return both / union if union > 0 else 0.0


def box_of(row: dict[str, Any]) -> Corners:
    """The box of a view's row."""
    return row["x0"], row["y0"], row["x1"], row["y1"]
