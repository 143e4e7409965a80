"""Verdicts in words: what a rule means, the numbers behind a drop, which views a page names first."""

import math
from collections.abc import Iterable

from charaloom.artifacts.manifest import read_manifest
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.rules import RATINGS, RULES
from charaloom.tagging.captions import as_words

SPARE_PARTS = "not_a_candidate"  # heads, half bodies: measured, but never meant to train
UNSHOWN = frozenset({"rating", "rating_model"})
SHORT_NAME = 8  # digits of a SHA-256 that a person reads


# --- verdicts in words


def active_rules(filtered_manifest: PathLike, rows: Iterable[Row]) -> list[str]:
    """The rules that were asked, in their order; after them those that only the table knows."""
    asked = read_manifest(filtered_manifest)["lineage"]["params"].get("rules") or list(RULES)
    return [*asked, *sorted({row["rule"] for row in rows if row["rule"]} - set(asked))]


def explain(rule: str) -> str:
    """What a rule means to a person."""
    return RULES[rule].words if rule in RULES else as_words(rule)


def number(rule: str, value: float) -> str:
    """A score or threshold in as many digits as decide; a rating by its name."""
    if rule == "rating":
        return RATINGS[int(value)]
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def numbers(reason: Row) -> str | None:
    """`score / threshold` of a row that names its rule; None where nothing was measured."""
    rule, score, threshold = reason["rule"], reason["score"], reason["threshold"]
    if score is None or threshold is None:
        return None if score is None else number(rule, score)
    return f"{number(rule, score)} / {number(rule, threshold)}"


def reason_words(reason: Row) -> str:
    told = numbers(reason)
    return f"{reason['rule']} {told}" if told else reason["rule"]


def verdict_words(row: Row) -> str | None:
    """The numbers behind a verdict; of a kept view those of its identity."""
    if row["verdict"] != "keep":
        return numbers(row)
    found = [score for score in row.get("scores") or [] if score["rule"] == "identity"]
    distance = row["identity_distance"]
    if found:
        return numbers(found[0])
    return None if distance is None else f"distance {distance:.3f}"


def other_reasons(row: Row) -> list[Row]:
    """What would have dropped a view besides its verdict."""
    return [reason for reason in row["reasons"] or [] if reason["rule"] != row["rule"]]


def short_name(view: str) -> str:
    """A view's id with as much of the picture's SHA-256 as tells pictures apart."""
    picture, _, part = view.partition("/")
    return view if ":" in picture else f"{picture[:SHORT_NAME]}/{part}"


# --- what is shown, and in which order


def dropped_by(rows: Iterable[Row], rules: list[str]) -> dict[str, list[Row]]:
    """Dropped views by the rule that dropped them first, in the order of the rules; spare parts are left out."""
    groups: dict[str, list[Row]] = {rule: [] for rule in rules if rule != SPARE_PARTS}
    for row in rows:
        if row["verdict"] != "keep" and row["rule"] != SPARE_PARTS:
            groups[row["rule"]].append(row)
    return groups


def borderline(rows: Iterable[Row]) -> list[Row]:
    """Nearest to the threshold first: the ones worth a second look."""

    def distance(row: Row) -> float:
        known = row["score"] is not None and row["threshold"] is not None
        return abs(row["score"] - row["threshold"]) if known else math.inf

    return sorted(rows, key=lambda row: (distance(row), row["view"]))


def doubtful(rows: Iterable[Row]) -> list[Row]:
    """Kept views, those farthest from her cluster first."""

    def certainty(row: Row) -> float:
        distance = row["identity_distance"]
        return -distance if distance is not None else -math.inf

    return sorted((row for row in rows if row["verdict"] == "keep"), key=lambda row: (certainty(row), row["view"]))


def may_be_shown(row: Row) -> bool:
    """Nothing above the allowed rating is shown, whichever rule came first."""
    return row["rule"] != "problem" and not UNSHOWN & {reason["rule"] for reason in row["reasons"] or []}
