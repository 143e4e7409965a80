"""Boxes (left, top, right, bottom) in pixels: their area, and how much two of them overlap."""

from collections.abc import Sequence
from typing import Any

Edges = Sequence[float]


def area(box: Edges) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap(first: Edges, second: Edges) -> float:
    """Square pixels that both cover."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    return area((left, top, min(first[2], second[2]), min(first[3], second[3])))


def shared(first: Edges, second: Edges) -> float:
    """Intersection over union, 0 to 1."""
    both = overlap(first, second)
    union = area(first) + area(second) - both
    return both / union if union > 0 else 0.0


def box_of(row: dict[str, Any]) -> tuple[int, int, int, int]:
    """The box of a view's row."""
    return row["x0"], row["y0"], row["x1"], row["y1"]
