"""Scores: what is counted of the pictures of one checkpoint on one base, each score with its 95 % interval."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from math import sqrt
from statistics import mean, median, stdev
from typing import Any

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.types import Row
from charaloom.config.params import SelectionRule
from charaloom.outfits.prompts import CLOTHES, PLAIN

Score = dict[str, Any]  # value, low, high, n: of n things; None where there is nothing to count
UNCOUNTED: Score = {"value": None, "low": None, "high": None, "n": 0}
LEVEL = 0.95  # of every interval
MEANING = {  # each score in one phrase
    "recognised": "share of previews that CCIP recognises as the character: median distance to held-out pictures"
    " within its threshold",
    "likeness": "closeness to the character: 1 at distance 0, one half at CCIP's threshold, 0 at twice that",
    "outfit": "share of previews that show the outfit that the prompt asks for",
    "following": "share of the prompt's tags that the tagger sees",
    "core": "share of the character's core tags that the tagger sees where the prompt holds the trigger",
    "sound": "share of previews without a fault: nobody, several people, anatomy, text, blur",
    "fresh": "share of previews that do not repeat a training picture",
    "bleeding": "share of previews that show an outfit of the character that the prompt does not ask for",
    "leaking": "share of the character's core tags that the tagger sees where the prompt lacks the trigger",
    "diversity": "distance between pictures of one prompt: one less the cosine of their tagger embeddings",
}


def matching(rows: Iterable[Row], **columns: Any) -> list[Row]:
    """The rows with these values in these columns."""
    return [row for row in rows if all(row[name] == value for name, value in columns.items())]


def numbers(rows: list[Row], rule: SelectionRule, threshold: float) -> Row:
    """Everything that is counted of some pictures of one checkpoint on one base; `threshold`: CCIP's distance.

    A picture withheld for its rating counts as not recognised, not the outfit and not following, so that no checkpoint
    gains by pictures that are not kept.
    """
    named = [row for row in rows if row["kind"] != PLAIN]
    distances = [row["identity_distance"] for row in named if row["identity_distance"] is not None]
    scores = scores_of(rows, threshold)
    weights = {name: weight for name, weight in rule.scores.items() if weight and scores[name]["n"]}
    total = sum(weight * scores[name]["value"] for name, weight in weights.items())
    return {
        "checkpoint": rows[0]["checkpoint"] if rows else None,
        "step": max((row["step"] for row in rows), default=0),
        "weight": rows[0]["weight"] if rows else None,
        "pictures": len(rows),
        "withheld": sum(not row["kept"] for row in rows),
        "asked": len(named),
        "recognised": sum(bool(row["recognised"]) for row in named),
        "median_distance": rounded(median(distances)) if distances else None,
        "score": rounded(total / sum(weights.values())) if weights else None,
        "scores": scores,
    }


def scores_of(rows: list[Row], threshold: float) -> dict[str, Score]:
    """Every score of MEANING."""
    named = [row for row in rows if row["kind"] != PLAIN]
    dressed = [row for row in named if row["outfit"]]
    tagged = [row for row in named if row["asked"]]
    plain = [row for row in rows if row["kind"] == PLAIN and row["core_seen"] is not None]
    core = [row["core_seen"] for row in named if row["core_seen"] is not None]
    return {
        "recognised": share(bool(row["recognised"]) for row in named),
        "likeness": average([closeness(row["identity_distance"], threshold) for row in named]),
        "outfit": share(row["outfit_drawn"] == row["outfit"] for row in dressed),
        "following": average([len(row["seen"]) / len(row["asked"]) for row in tagged]),
        "core": average(core),
        "sound": share(row["kept"] and not row["faults"] for row in rows),
        "fresh": share(not row["memorised"] for row in rows),
        "bleeding": share(bled(row) for row in named if row["outfit"] or row["kind"] == CLOTHES),
        "leaking": average([row["core_seen"] for row in plain]),
        "diversity": average(spreads(rows)),
    }


def closeness(distance: float | None, threshold: float) -> float:
    """1 at distance 0, one half at the threshold, 0 from twice that on and for what was withheld."""
    return 0.0 if distance is None else max(0.0, 1 - distance / (2 * threshold))


def bled(row: Row) -> bool:
    """Whether the picture shows an outfit of the character that its prompt does not ask for."""
    return row["outfit_drawn"] is not None and row["outfit_drawn"] != row["outfit"]


def spreads(rows: list[Row]) -> list[float]:
    """For each prompt with several pictures the mean of one less the cosine of their tagger embeddings."""
    by_prompt: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        if row["embedding_vector"] is not None:
            by_prompt[row["prompt_id"]].append(row["embedding_vector"])
    return [
        mean(1 - cosine(*pair) for pair in combinations(vectors, 2))
        for _, vectors in sorted(by_prompt.items())
        if len(vectors) > 1
    ]


def cosine(left: list[float], right: list[float]) -> float:
    import numpy as np

    a, b = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def share(answers: Iterable[bool]) -> Score:
    """The share of true answers, with its Wilson interval."""
    counted = list(answers)
    if not counted:
        return dict(UNCOUNTED)
    low, high = wilson(sum(counted), len(counted))
    return {"value": rounded(sum(counted) / len(counted)), "low": low, "high": high, "n": len(counted)}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval without continuity correction (Newcombe 1998, method 3)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return rounded(interval.low), rounded(interval.high)


def average(values: list[float]) -> Score:
    """A mean with its interval by Student's t, cut to 0 and 1; a single value leaves the whole range."""
    if not values:
        return dict(UNCOUNTED)
    low, high = 0.0, 1.0
    if len(values) > 1:
        from scipy.stats import t

        reach = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
        low, high = max(mean(values) - reach, 0.0), min(mean(values) + reach, 1.0)
    return {"value": rounded(mean(values)), "low": rounded(low), "high": rounded(high), "n": len(values)}
