"""Boxes (left, top, right, bottom) in pixels: how large they are, and how far two lie on each other."""

from collections.abc import Sequence
from typing import Any

Edges = Sequence[float]


def area(box: Edges) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap(one: Edges, other: Edges) -> float:
    """Pixels that both cover."""
    return area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))


def shared(one: Edges, other: Edges) -> float:
    """Intersection over union, 0 to 1."""
    both = overlap(one, other)
    union = area(one) + area(other) - both
    return both / union if union > 0 else 0.0


def box_of(row: dict[str, Any]) -> tuple[int, int, int, int]:
    """The box of a view's row."""
    return row["x0"], row["y0"], row["x1"], row["y1"]
