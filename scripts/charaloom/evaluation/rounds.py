"""Rounds of successive halving."""

from collections.abc import Iterable, Sized
from math import ceil

from charaloom.artifacts.types import Row
from charaloom.evaluation.scores import numbers, of


def schedule(checkpoints: int, params: Row) -> list[tuple[int, float]]:
    """Rounds as (checkpoints that draw, share of the prompts that each has drawn after it); the last one is alone.

    Each round draws twice the prompts of the one before, and the share `keep` of its checkpoints stays.
    """
    found, share = [], min(params["first"], 1.0)
    while checkpoints > 1:
        found.append((checkpoints, share))
        checkpoints, share = staying(checkpoints, params), min(2 * share, 1.0)
    return [*found, (1, 1.0)]


def staying(checkpoints: int, params: Row) -> int:
    """How many of a round's checkpoints go on: at least one, at least one fewer."""
    return max(1, min(ceil(params["keep"] * checkpoints), checkpoints - 1))


def survivors(rows: list[Row], params: Row, threshold: float) -> list[str]:
    """The checkpoints that go on, the best first. `rows`: all pictures that those of this round have drawn so far."""
    names = sorted({row["checkpoint"] for row in rows})
    found = {name: numbers(of(rows, checkpoint=name), params, threshold) for name in names}
    return sorted(names, key=lambda name: rank(found[name]))[: staying(len(names), params)]


def played(standard: list[Row], params: Row, threshold: float) -> list[Row]:
    """The rounds again, from the scores: who drew how many pictures, with which score, and who stayed."""
    told, last = [], max(row["round"] for row in standard)
    alive = sorted({row["checkpoint"] for row in standard})
    for number in range(1, last + 1):
        rows = [row for row in standard if row["checkpoint"] in alive and row["round"] <= number]
        found = sorted((numbers(of(rows, checkpoint=name), params, threshold) for name in alive), key=rank)
        alive = survivors(rows, params, threshold) if len(alive) > 1 else alive
        told.append({"round": number, "checkpoints": found, "left": alive})
    return told


def rank(found: Row) -> tuple[float, float, int]:
    """Sort key, the best first: highest score, then lowest median distance, then fewest steps; as written."""
    score, distance = found["score"], found["median_distance"]
    return -(score if score is not None else -1.0), float("inf") if distance is None else distance, found["step"]


def segments(prompts: int, shares: Iterable[float]) -> list[slice]:
    """What each round adds to the prompts, as slices; rounds that add nothing are left out, the first never is."""
    found, start = [], 0
    for share in shares:
        end = part_of(range(prompts), share)
        if end > start:
            found.append(slice(start, end))
            start = end
    return found


def part_of(prompts: Sized, share: float) -> int:
    """How many prompts a share of them is, at least one."""
    return min(max(ceil(share * len(prompts)), 1), len(prompts))
