"""Verdicts in words: what a rule means, the numbers behind a drop, which views a page lists first."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from charaloom.artifacts.files import read_json
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.rules import RATINGS, RULES, UNSHOWN
from charaloom.tagging.captions import as_words

SPARE_PARTS = "not_a_candidate"  # heads, half bodies: measured, but never meant to train
SHORT_NAME = 8  # digits of a SHA-256 that a person reads


# --- rules


def active_rules(decided: PathLike, rows: Iterable[Row]) -> list[str]:
    """The rules of the config, in their order; after them those that only the table names.

    `decided` is the manifest of `filtered`, or its facet `decisions`: both name the rules.
    """
    rules = read_json(decided)["rules"]
    return [*rules, *sorted({row["rule"] for row in rows if row["rule"]} - set(rules))]


def explain(rule: str) -> str:
    """What a rule means to a person."""
    return RULES[rule].words if rule in RULES else as_words(rule)


def drop_side(rule: str) -> str:
    """`below`, `above` or `from`: on which side of its threshold a rule drops; empty where it has none."""
    return RULES[rule].drops if rule in RULES else ""


# --- a view's verdict and its numbers


def number(rule: str, value: float) -> str:
    """A score or threshold with as many digits as decide; a rating by its name."""
    if rule == "rating":
        return RATINGS[int(value)]
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def numbers(reason: Row) -> str | None:
    """`score / threshold` of a row that names its rule; None where nothing was measured."""
    rule, score, threshold = reason["rule"], reason["score"], reason["threshold"]
    if score is None:
        return None
    if threshold is None:
        return number(rule, score)
    return f"{number(rule, score)} / {number(rule, threshold)}"


def reason_words(reason: Row) -> str:
    measured = numbers(reason)
    return f"{reason['rule']} {measured}" if measured else reason["rule"]


def verdict_words(row: Row) -> str | None:
    """The numbers behind a verdict; of a kept view those of its identity."""
    if row["verdict"] != "keep":
        return numbers(row)
    identity = next((score for score in row.get("scores") or [] if score["rule"] == "identity"), None)
    if identity:
        return numbers(identity)
    distance = row["identity_distance"]
    return None if distance is None else f"distance {distance:.3f}"


def other_reasons(row: Row) -> list[Row]:
    """What would have dropped a view besides its verdict."""
    return [reason for reason in row["reasons"] or [] if reason["rule"] != row["rule"]]


def short_name(view: str) -> str:
    """A view's id with only the first digits of the picture's SHA-256."""
    picture, _, part = view.partition("/")
    return view if ":" in picture else f"{picture[:SHORT_NAME]}/{part}"


@dataclass(frozen=True)
class Score:
    """A number that a rule looked at: of which view, in which entry of its `scores`, and whether the rule fired."""

    row: Row
    entry: Row
    value: float
    fired: bool

    @property
    def threshold(self) -> float | None:
        return self.entry["threshold"]


def scores_by_rule(rows: Iterable[Row]) -> dict[str, list[Score]]:
    """Every number that the rules measured of the candidates, by rule."""
    scores: dict[str, list[Score]] = defaultdict(list)
    for row in rows:
        fired = {reason["rule"] for reason in row["reasons"] or []}
        for entry in row.get("scores") or []:
            if entry["score"] is not None:
                scores[entry["rule"]].append(Score(row, entry, entry["score"], entry["rule"] in fired))
    return dict(scores)


# --- which views are shown, and in which order


def dropped_by(rows: Iterable[Row], rules: list[str]) -> dict[str, list[Row]]:
    """Dropped views by the rule that dropped them first, in the order of the rules, without spare parts."""
    groups: dict[str, list[Row]] = {rule: [] for rule in rules if rule != SPARE_PARTS}
    for row in rows:
        if row["verdict"] != "keep" and row["rule"] != SPARE_PARTS:
            groups[row["rule"]].append(row)
    return groups


def borderline(rows: Iterable[Row]) -> list[Row]:
    """Dropped views, those nearest to the threshold first: they are worth a second look."""

    def distance(row: Row) -> float:
        if row["score"] is None or row["threshold"] is None:
            return math.inf
        return abs(row["score"] - row["threshold"])

    return sorted(rows, key=lambda row: (distance(row), row["view"]))


def doubtful(rows: Iterable[Row]) -> list[Row]:
    """Kept views, those farthest from the character's cluster first."""

    def certainty(row: Row) -> float:
        distance = row["identity_distance"]
        return -distance if distance is not None else -math.inf

    return sorted((row for row in rows if row["verdict"] == "keep"), key=lambda row: (certainty(row), row["view"]))


def may_be_shown(row: Row) -> bool:
    """Nothing above the allowed rating is shown, whichever rule dropped it first."""
    return row["rule"] != "problem" and not UNSHOWN & {reason["rule"] for reason in row["reasons"] or []}
