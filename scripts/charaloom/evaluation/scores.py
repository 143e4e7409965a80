"""Numbers."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from math import sqrt
from statistics import mean, median, stdev
from typing import Any

from charaloom.artifacts.types import Row
from charaloom.evaluation.prompts import CLOTHES, PLAIN

Score = dict[str, Any]  # value, low, high, n: of n things; None where there is nothing to count
MEANING = {  # what each score says, in one sentence
    "recognised": "share of previews that CCIP takes for her: median distance to held-out pictures within threshold",
    "likeness": "how near they are to her: 1 at distance 0, one half at CCIP's threshold, 0 at twice that",
    "outfit": "share of previews that show the outfit that was asked for",
    "following": "share of the asked tags that the tagger sees",
    "core": "share of her core tags that the tagger sees where her trigger was given",
    "sound": "share of previews in which no fault is seen: nobody there, several people, anatomy, text, blur",
    "fresh": "share of previews that do not repeat a training picture",
    "bleeding": "share of previews that show one of her outfits that was not asked for",
    "leaking": "share of her core tags that are seen though her trigger was not given",
    "diversity": "how far apart pictures of one prompt are: one less the cosine of their tagger embeddings",
}


def of(rows: Iterable[Row], **facts: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in facts.items())]


def numbers(rows: list[Row], params: Row, threshold: float) -> Row:
    """Everything that is counted of some pictures of one checkpoint on one base.

    A picture withheld for its rating counts as not recognised, not the outfit and not following, so that no checkpoint
    gains by drawing what is not kept.
    """
    hers = [row for row in rows if row["kind"] != PLAIN]
    distances = [row["identity_distance"] for row in hers if row["identity_distance"] is not None]
    scores = scores_of(rows, threshold)
    weights = {name: weight for name, weight in params["scores"].items() if weight and scores[name]["n"]}
    total = sum(weight * scores[name]["value"] for name, weight in weights.items())
    return {
        "checkpoint": rows[0]["checkpoint"] if rows else None,
        "step": max((row["step"] for row in rows), default=0),
        "weight": rows[0]["weight"] if rows else None,
        "pictures": len(rows),
        "withheld": sum(not row["kept"] for row in rows),
        "asked": len(hers),
        "recognised": sum(bool(row["recognised"]) for row in hers),
        "median_distance": rounded(median(distances)) if distances else None,
        "score": rounded(total / sum(weights.values())) if weights else None,
        "scores": scores,
    }


def scores_of(rows: list[Row], threshold: float) -> dict[str, Score]:
    """Every score of MEANING with its 95 % interval."""
    hers = [row for row in rows if row["kind"] != PLAIN]
    dressed = [row for row in hers if row["outfit"]]
    told = [row for row in hers if row["asked"]]
    plain = [row for row in rows if row["kind"] == PLAIN and row["core_seen"] is not None]
    seen = [row["core_seen"] for row in hers if row["core_seen"] is not None]
    return {
        "recognised": share(bool(row["recognised"]) for row in hers),
        "likeness": average([closeness(row["identity_distance"], threshold) for row in hers]),
        "outfit": share(row["outfit_drawn"] == row["outfit"] for row in dressed),
        "following": average([len(row["seen"]) / len(row["asked"]) for row in told]),
        "core": average(seen),
        "sound": share(row["kept"] and not row["faults"] for row in rows),
        "fresh": share(not row["memorised"] for row in rows),
        "bleeding": share(bled(row) for row in hers if row["outfit"] or row["kind"] == CLOTHES),
        "leaking": average([row["core_seen"] for row in plain]),
        "diversity": average(spreads(rows)),
    }


def closeness(distance: float | None, threshold: float) -> float:
    """1 at distance 0, one half at the threshold, 0 at twice that and for what was withheld."""
    return 0.0 if distance is None else max(0.0, 1 - distance / (2 * threshold))


def bled(row: Row) -> bool:
    """Whether one of her outfits is drawn that was not asked for."""
    return row["outfit_drawn"] is not None and row["outfit_drawn"] != row["outfit"]


def spreads(rows: list[Row]) -> list[float]:
    """For each prompt with several pictures the mean of one less the cosine of their tagger embeddings."""
    together: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        if row["embedding_vector"] is not None:
            together[row["prompt_id"]].append(row["embedding_vector"])
    return [
        mean(1 - cosine(one, other) for one, other in combinations(vectors, 2))
        for _, vectors in sorted(together.items())
        if len(vectors) > 1
    ]


def cosine(one: list[float], other: list[float]) -> float:
    import numpy as np

    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def share(answers: Iterable[bool]) -> Score:
    """A share with its 95 % Wilson interval."""
    found = list(answers)
    if not found:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(sum(found), len(found))
    return {"value": rounded(sum(found) / len(found)), "low": low, "high": high, "n": len(found)}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return rounded(interval.low), rounded(interval.high)


def average(values: list[float]) -> Score:
    """A mean with its 95 % interval by Student's t, cut to 0 and 1; of one value nothing is known beside it."""
    if not values:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = 0.0, 1.0
    if len(values) > 1:
        from scipy.stats import t

        reach = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
        low, high = max(mean(values) - reach, 0.0), min(mean(values) + reach, 1.0)
    return {"value": rounded(mean(values)), "low": rounded(low), "high": rounded(high), "n": len(values)}


def rounded(value: float) -> float:
    """Four decimals: what is written is what was compared."""
    return round(float(value), 4)
