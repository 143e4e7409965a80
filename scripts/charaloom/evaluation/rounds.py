"""Rounds of successive halving (Jamieson & Talwalkar 2016): which checkpoints render how many prompts, which stay."""

from collections.abc import Iterable, Sized
from math import ceil

from charaloom.artifacts.types import Row
from charaloom.config.params import SelectionRule
from charaloom.evaluation.scores import matching, numbers


def schedule(checkpoints: int, rule: SelectionRule) -> list[tuple[int, float]]:
    """Rounds as (number of checkpoints, share of the prompts that each has rendered by its end); the last is alone.

    Each round doubles the prompts of the one before, and the share `keep` of its checkpoints stays.
    """
    rounds, share = [], min(rule.first, 1.0)
    while checkpoints > 1:
        rounds.append((checkpoints, share))
        checkpoints, share = staying(checkpoints, rule), min(2 * share, 1.0)
    return [*rounds, (1, 1.0)]


def staying(checkpoints: int, rule: SelectionRule) -> int:
    """How many of a round's checkpoints go on: at least one, at least one fewer."""
    return max(1, min(ceil(rule.keep * checkpoints), checkpoints - 1))


def survivors(rows: list[Row], rule: SelectionRule, threshold: float) -> list[str]:
    """The checkpoints that go on, the best first. `rows`: all pictures so far of those that are in this round."""
    names = sorted({row["checkpoint"] for row in rows})
    counted = {name: numbers(matching(rows, checkpoint=name), rule, threshold) for name in names}
    return sorted(names, key=lambda name: rank(counted[name]))[: staying(len(names), rule)]


def replayed(standard: list[Row], rule: SelectionRule, threshold: float) -> list[Row]:
    """The rounds as they went, from the scores: per round the numbers of its checkpoints and who was left."""
    rounds, last = [], max(row["round"] for row in standard)
    alive = sorted({row["checkpoint"] for row in standard})
    for number in range(1, last + 1):
        rows = [row for row in standard if row["checkpoint"] in alive and row["round"] <= number]
        ranked = sorted((numbers(matching(rows, checkpoint=name), rule, threshold) for name in alive), key=rank)
        alive = survivors(rows, rule, threshold) if len(alive) > 1 else alive
        rounds.append({"round": number, "checkpoints": ranked, "left": alive})
    return rounds


def rank(counted: Row) -> tuple[float, float, int]:
    """Sort key of `numbers`, the best first: highest score, then lowest median distance, then fewest steps."""
    score, distance = counted["score"], counted["median_distance"]
    return -(score if score is not None else -1.0), float("inf") if distance is None else distance, counted["step"]


def segments(prompts: int, shares: Iterable[float]) -> list[slice]:
    """What each round adds to the prompts, as slices; rounds that add nothing are left out, the first never is."""
    parts, start = [], 0
    for share in shares:
        end = part_of(range(prompts), share)
        if end > start:
            parts.append(slice(start, end))
            start = end
    return parts


def part_of(prompts: Sized, share: float) -> int:
    """How many prompts a share of them is, at least one."""
    return min(max(ceil(share * len(prompts)), 1), len(prompts))
