"""Geometry of the charts, in SVG units with y downwards; templates/charts.html.j2 holds their markup."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charaloom.artifacts.types import Row
from charaloom.pages.verdicts import Score, drop_side, number

# --- histogram: the numbers that a rule looked at

HISTOGRAM = (560, 96)  # width and height
BINS = 40
WHOLE_BINS = 12  # up to so many whole numbers have a bar each
LOGARITHMIC = 30.0  # largest by smallest number from which the axis is logarithmic; set by hand


@dataclass(frozen=True)
class Axis:
    """Maps numbers to places on a histogram: 0 left, 1 right."""

    low: float
    high: float
    bins: int = BINS
    logarithmic: bool = False
    whole: bool = False  # a bar for each whole number

    def place(self, value: float) -> float:
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def value(self, place: float) -> float:
        if self.logarithmic:
            return self.low * (self.high / self.low) ** place
        return self.low + place * (self.high - self.low)

    @property
    def ends(self) -> tuple[float, float]:
        return (self.low + 0.5, self.high - 0.5) if self.whole else (self.low, self.high)

    def bin(self, value: float) -> int:
        return min(int(self.place(value) * self.bins), self.bins - 1)


def histogram(rule: str, scores: Sequence[Score]) -> Row | None:
    """A rule's numbers over all candidates, with its thresholds; None where it has no numbers."""
    if not scores:
        return None
    width, height = HISTOGRAM
    thresholds = sorted({score.threshold for score in scores if score.threshold is not None})
    axis = axis_of(rule, [score.value for score in scores], thresholds)
    edges = [edge(rule, threshold, axis) for threshold in thresholds]
    return {
        "width": width,
        "height": height,
        "bars": bars(rule, scores, axis),
        "lines": [{"x": x, "label": number(rule, value)} for x, value in zip(edges, thresholds, strict=True)],
        "tint": tint(rule, edges),
        "dropped": dropped_words(rule, thresholds),
        "ends": [number(rule, value) for value in axis.ends],
        "logarithmic": axis.logarithmic,
        "views": len(scores),
        "fired": sum(score.fired for score in scores),
    }


def is_whole(values: Sequence[float]) -> bool:
    """Whether these are a few whole numbers, such as people or heads, that have a bar each."""
    return all(value == int(value) for value in values) and max(values) - min(values) < WHOLE_BINS


def axis_of(rule: str, values: Sequence[float], thresholds: Sequence[float]) -> Axis:
    """An axis over every number, every threshold, and a little of the side where views are dropped."""
    numbers = [*values, *thresholds]
    whole = is_whole(numbers)
    numbers += [beyond(rule, threshold, whole) for threshold in thresholds]
    low, high = min(numbers), max(numbers)
    if whole:  # a number stands in the middle of its bar
        return Axis(low - 0.5, high + 0.5, int(high - low) + 1, whole=True)
    if low == high:
        return Axis(low - 0.5, high + 0.5)
    return Axis(low, high, logarithmic=low > 0 and high / low >= LOGARITHMIC)


def beyond(rule: str, threshold: float, whole: bool) -> float:
    """A number on the side of a threshold where views are dropped."""
    side = {"below": -1, "above": 1, "from": 1}.get(drop_side(rule), 0)
    return threshold + side if whole else threshold * (1 + 0.1 * side)


def bars(rule: str, scores: Sequence[Score], axis: Axis) -> list[Row]:
    """Passed views, and on top of them the dropped ones. Heights are square roots: one view shows beside hundreds."""
    counts = [[0, 0] for _ in range(axis.bins)]
    for score in scores:
        counts[axis.bin(score.value)][score.fired] += 1
    most = max(map(sum, counts))
    return [
        bar(rule, index, passed, fired, most, axis) for index, (passed, fired) in enumerate(counts) if passed + fired
    ]


def bar(rule: str, index: int, passed: int, fired: int, most: int, axis: Axis) -> Row:
    width, height = HISTOGRAM
    total = height * math.sqrt((passed + fired) / most)
    upper = total * fired / (passed + fired)
    return {
        "x": round(width * index / axis.bins, 1),
        "width": round(width / axis.bins - 1, 1),
        "top": round(height - total, 1),
        "fired_height": round(upper, 1),
        "passed_top": round(height - total + upper, 1),
        "passed_height": round(total - upper, 1),
        "title": f"{bin_words(rule, index, axis)}: {passed} passed, {fired} dropped",
    }


def bin_words(rule: str, index: int, axis: Axis) -> str:
    if axis.whole:
        return number(rule, axis.value((index + 0.5) / axis.bins))
    return f"{number(rule, axis.value(index / axis.bins))} to {number(rule, axis.value((index + 1) / axis.bins))}"


def edge(rule: str, threshold: float, axis: Axis) -> float:
    """x of a threshold; among whole numbers between the last that stays and the first that is dropped."""
    if axis.whole:
        threshold += 0.5 if drop_side(rule) == "above" else -0.5
    return round(HISTOGRAM[0] * axis.place(threshold), 1)


def tint(rule: str, edges: Sequence[float]) -> Row | None:
    """The side where every view is dropped, whichever threshold its kind has."""
    if not edges or not drop_side(rule):
        return None
    if drop_side(rule) == "below":
        return {"x": 0, "width": min(edges)}
    return {"x": max(edges), "width": round(HISTOGRAM[0] - max(edges), 1)}


def dropped_words(rule: str, thresholds: Sequence[float]) -> str:
    """`dropped above 0.178`; empty where the number is only shown."""
    side = drop_side(rule)
    if not thresholds or not side:
        return ""
    values = " or ".join(number(rule, threshold) for threshold in thresholds)
    return f"dropped from {values} on" if side == "from" else f"dropped {side} {values}"


# --- map: views by what is worn

MAP = (640, 440)  # width and height
MAP_MARGIN = 12


@dataclass(frozen=True)
class Dot:
    """A view on the map: its place in [-1, 1], and what is shown where somebody points at it."""

    place: Sequence[float]  # x, y
    title: str
    picture: str | None


def scatter(dots: Mapping[str, Sequence[Dot]], colours: Mapping[str, str]) -> Row:
    """Dots in the groups that `colours` names, so that a legend can hide a group."""
    width, height = MAP
    x_radius, y_radius = width / 2 - MAP_MARGIN, height / 2 - MAP_MARGIN
    groups = []
    for name, colour in colours.items():
        placed = [
            {
                "x": round(MAP_MARGIN + x_radius * (1 + dot.place[0]), 1),
                "y": round(MAP_MARGIN + y_radius * (1 + dot.place[1]), 1),
                "picture": dot.picture,
                "title": dot.title,
            }
            for dot in dots.get(name, [])
        ]
        groups.append({"id": name, "colour": colour, "dots": placed})
    return {"width": width, "height": height, "groups": groups}


# --- curve: a score over the steps, with its interval

CURVE = (220, 92)  # width and height


@dataclass(frozen=True)
class Point:
    """A score from 0 to 1 at a step, with its interval if it has one."""

    step: int
    value: float
    low: float | None
    high: float | None
    label: str
    chosen: bool


def curve(points: Sequence[Point]) -> Row | None:
    """The line through the points, the band of their intervals, and a dot for each; None without points."""
    if not points:
        return None
    width, height = CURVE
    last = max(point.step for point in points) or 1

    def at(step: int, value: float) -> str:
        return f"{round(step / last * width, 1)},{round(height * (1 - value), 1)}"

    upper = [at(point.step, point.high) for point in points if point.high is not None]
    lower = [at(point.step, point.low) for point in points if point.low is not None]
    dots = [
        {"at": at(point.step, point.value).split(","), "label": point.label, "chosen": point.chosen} for point in points
    ]
    return {
        "width": width,
        "height": height,
        "line": " ".join(at(point.step, point.value) for point in points),
        "band": " ".join([*upper, *reversed(lower)]),
        "dots": dots,
        "last": last,
    }


# --- loss over the steps of training

LOSS = (640, 200)  # width and height
LOSS_POINTS = 320  # at most; each is the mean over an equal stretch of steps


def loss_line(steps: Sequence[int], losses: Sequence[float], checkpoints: Sequence[Row]) -> Row:
    """The loss as means over equal stretches of steps, and a mark at each checkpoint {step, label, chosen}."""
    width, height = LOSS
    size = math.ceil(len(steps) / LOSS_POINTS)
    stretches = [slice(start, start + size) for start in range(0, len(steps), size)]
    points = [(mean(steps[stretch]), mean(losses[stretch])) for stretch in stretches]
    top, last = max(loss for _, loss in points) or 1.0, steps[-1]

    def across(step: float) -> float:
        return round(step / last * width, 1)

    return {
        "width": width,
        "height": height,
        "path": " ".join(f"{across(step)},{round(height * (1 - loss / top), 1)}" for step, loss in points),
        "marks": [{**checkpoint, "x": across(checkpoint["step"])} for checkpoint in checkpoints],
        "steps": last,
        "mean_over": size,
        "first": f"{points[0][1]:.4f}",
        "last": f"{points[-1][1]:.4f}",
        "top": f"{top:.3g}",
    }


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
