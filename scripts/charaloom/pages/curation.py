"""Curation: one page that shows every verdict of the filters, so that a person can judge the rules by their pictures.

The funnel in the order of the rules, a contact sheet of what was kept and one for each rule, the nearest to its
threshold first, and a histogram of every number that a rule looked at. It is there minutes after the filters ran.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from math import log, sqrt

from charaloom.artifacts.files import write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.rules import RULES
from charaloom.pages.funnel import funnel, raw_counts
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Source, Thumbnails, cut_thumbnails, read_sources, tile
from charaloom.pages.verdicts import (
    UNSHOWN,
    active_rules,
    borderline,
    doubtful,
    dropped_by,
    may_be_shown,
    number,
    numbers,
)

SHEET = 120  # pictures of a contact sheet at most; the rest is counted
NEAR = 12  # kept views shown beside a rule because they nearly fell under it
CHART = (560, 96)  # width and height of a histogram
BINS = 40
WHOLE_BINS = 12  # up to so many whole numbers have a bar each
LOGARITHMIC = 30.0  # largest by smallest number from which the axis is logarithmic


@dataclass(frozen=True)
class Score:
    """A number that a rule looked at: of which view, whether it dropped it, and the row that tells it."""

    row: Row
    entry: Row
    value: float
    fired: bool

    @property
    def threshold(self) -> float | None:
        return self.entry["threshold"]


def build_curation(
    character: str,
    params: Row,
    raw: PathLike,
    measured: PathLike,
    filtered: PathLike,
    filtered_manifest: PathLike,
    page: PathLike,
    manifest: PathLike,
) -> None:
    """Write `curation.html` of one character."""
    facts = lineage("curation", character, params, {"filtered": os.fspath(filtered_manifest)})
    thumbnails = Thumbnails()
    content = page_content(raw, measured, filtered, filtered_manifest, thumbnails)
    write_text(page, render_page("curation.html.j2", {"character": character, "version": facts["digest"], **content}))
    dropped = {section["rule"]: section["count"] for section in content["rules"]}
    counts = {"kept": content["kept"]["count"], "dropped": dropped, "thumbnails": thumbnails.made}
    write_manifest(manifest, facts, {"page": page}, counts)


def page_content(
    raw: PathLike, measured: PathLike, filtered: PathLike, filtered_manifest: PathLike, thumbnails: Thumbnails
) -> Row:
    """What the page tells; the pictures of `raw` are read once, one after another."""
    rows = read_table(filtered)
    rules = active_rules(filtered_manifest, rows)
    dropped = dropped_by(rows, rules)
    scored = scores_by_rule(rows)
    kept = doubtful(rows)
    sheets = {rule: borderline(filter(may_be_shown, found))[:SHEET] for rule, found in dropped.items()}
    near = {rule: nearly_dropped(found) for rule, found in scored.items()}
    bests = best_copies(rows, sheets.get("duplicate", []))
    strips = [[score.row for score in scores] for scores in near.values()]
    shown = chain(kept[:SHEET], *sheets.values(), *strips, bests.values())
    pictures = cut_thumbnails(raw, shown, thumbnails)
    sources = read_sources(raw)
    told = funnel(rows, rules)
    return {
        "raw": raw_counts(raw),
        "funnel": told,
        "held_out_count": sum(row["split"] == "held_out" for row in kept),
        "kept": sheet(kept, kept[:SHEET], pictures, sources),
        "rules": [
            {
                **bar,
                **sheet(dropped[bar["rule"]], sheets[bar["rule"]], pictures, sources, bests),
                "number": place,
                "seen": bool(bar["count"] or scored.get(bar["rule"])),  # else the funnel says all there is
                "unshown": bar["rule"] in UNSHOWN,
                "near": [near_tile(score, pictures, sources) for score in near.get(bar["rule"], [])],
                "chart": chart(bar["rule"], scored.get(bar["rule"], [])),
                "problems": problems(dropped["problem"], measured, sources) if bar["rule"] == "problem" else None,
            }
            for place, bar in enumerate(told["bars"], 1)
        ],
    }


# --- contact sheets


def sheet(
    found: list[Row],
    shown: list[Row],
    pictures: dict[str, str],
    sources: dict[str, Source],
    bests: dict[str, Row] | None = None,
) -> Row:
    """A contact sheet: what is shown of what was found, how many more there are, how many may not be shown."""
    showable = sum(map(may_be_shown, found))
    tiles = []
    for row in shown:
        best = (bests or {}).get(row["view"])
        beside = tile(best, pictures, sources.get(best["picture"])) if best else None
        tiles.append({**tile(row, pictures, sources.get(row["picture"])), "beside": beside})
    return {"count": len(found), "tiles": tiles, "more": showable - len(shown), "hidden": len(found) - showable}


def best_copies(rows: list[Row], copies: list[Row]) -> dict[str, Row]:
    """For every copy the best of its group, to be shown beside it."""
    by_view = {row["view"]: row for row in rows}
    groups = {row["view"]: row["duplicate_group"] for row in copies}
    return {view: by_view[best] for view, best in groups.items() if best in by_view and best != view}


def near_tile(score: Score, pictures: dict[str, str], sources: dict[str, Source]) -> Row:
    """A kept view with the number that a rule looked at."""
    return {**tile(score.row, pictures, sources.get(score.row["picture"])), "numbers": numbers(score.entry)}


def problems(found: list[Row], measured: PathLike, sources: dict[str, Source]) -> Row:
    """Files that could not be read or measured, and why; a post above the allowed rating is named, not linked."""
    of_view = {row["view"]: row["problem"] for row in read_table(measured, ["view", "problem"])}
    lines = []
    for row in found:
        source = sources.get(row["picture"], Source())
        why = source.problem or of_view.get(row["view"]) or "unknown"
        page = None if why.startswith("rating") else source.page
        lines.append({"name": ", ".join(source.posts) or row["picture"], "page": page, "why": why})
    lines.sort(key=lambda line: (line["why"], line["name"]))
    return {"lines": lines[:SHEET], "more": len(lines[SHEET:])}


# --- numbers


def scores_by_rule(rows: Iterable[Row]) -> dict[str, list[Score]]:
    """Everything that the rules measured of the candidates, by rule."""
    found: dict[str, list[Score]] = defaultdict(list)
    for row in rows:
        fired = {reason["rule"] for reason in row["reasons"] or []}
        for entry in row.get("scores") or []:
            if entry["score"] is not None:
                found[entry["rule"]].append(Score(row, entry, entry["score"], entry["rule"] in fired))
    return dict(found)


def nearly_dropped(scores: list[Score]) -> list[Score]:
    """Kept views with the least to spare under a rule; none where its numbers are a few whole ones."""
    if is_whole([score.value for score in scores]):
        return []
    known = [score for score in scores if score.row["verdict"] == "keep" and score.threshold is not None]
    return sorted(known, key=lambda score: (abs(score.value - score.entry["threshold"]), score.row["view"]))[:NEAR]


def is_whole(values: list[float]) -> bool:
    """A few whole numbers, such as people or heads: each has a bar of its own."""
    return all(value == int(value) for value in values) and max(values) - min(values) < WHOLE_BINS


@dataclass(frozen=True)
class Axis:
    """Where a number stands on a histogram: 0 left, 1 right."""

    low: float
    high: float
    bins: int = BINS
    logarithmic: bool = False
    whole: bool = False  # a bar for each whole number

    def place(self, value: float) -> float:
        if self.logarithmic:
            return log(value / self.low) / log(self.high / self.low)
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


def axis_of(rule: str, values: list[float], thresholds: list[float]) -> Axis:
    """An axis that holds every number, and a little of the side where views are dropped."""
    every = [*values, *thresholds]
    whole = is_whole(every)
    every += [beyond(rule, threshold, whole) for threshold in thresholds]
    low, high = min(every), max(every)
    if whole:  # a number stands in the middle of its bar
        return Axis(low - 0.5, high + 0.5, int(high - low) + 1, whole=True)
    if low == high:
        return Axis(low - 0.5, high + 0.5)
    return Axis(low, high, logarithmic=low > 0 and high / low >= LOGARITHMIC)


def beyond(rule: str, threshold: float, whole: bool) -> float:
    """A number past a threshold."""
    side = {"below": -1, "above": 1, "from": 1}.get(drops(rule), 0)
    return threshold + side if whole else threshold * (1 + 0.1 * side)


def chart(rule: str, scores: list[Score]) -> Row | None:
    """A histogram of a rule's numbers over all candidates, with its thresholds; None where it has no numbers."""
    if not scores:
        return None
    values = [score.value for score in scores]
    thresholds = sorted({score.threshold for score in scores if score.threshold is not None})
    axis = axis_of(rule, values, thresholds)
    edges = [edge(rule, threshold, axis) for threshold in thresholds]
    return {
        "width": CHART[0],
        "height": CHART[1],
        "bars": bars(rule, scores, axis),
        "lines": [{"x": at, "label": number(rule, value)} for at, value in zip(edges, thresholds, strict=True)],
        "tint": tint(rule, edges),
        "dropped": told_side(rule, thresholds),
        "ends": [number(rule, value) for value in axis.ends],
        "logarithmic": axis.logarithmic,
        "views": len(scores),
        "fired": sum(score.fired for score in scores),
    }


def bars(rule: str, scores: list[Score], axis: Axis) -> list[Row]:
    """What passed, and on top of it what a rule dropped. Heights are square roots: one view is seen beside hundreds."""
    counts = [[0, 0] for _ in range(axis.bins)]
    for score in scores:
        counts[axis.bin(score.value)][score.fired] += 1
    most = max(map(sum, counts))
    drawn = []
    for at, (passed, fired) in enumerate(counts):
        if passed + fired:
            height = CHART[1] * sqrt((passed + fired) / most)
            upper = height * fired / (passed + fired)
            drawn.append(
                {
                    "x": round(CHART[0] * at / axis.bins, 1),
                    "width": round(CHART[0] / axis.bins - 1, 1),
                    "top": round(CHART[1] - height, 1),
                    "fired_height": round(upper, 1),
                    "passed_top": round(CHART[1] - height + upper, 1),
                    "passed_height": round(height - upper, 1),
                    "title": f"{bin_words(rule, at, axis)}: {passed} passed, {fired} dropped",
                }
            )
    return drawn


def bin_words(rule: str, at: int, axis: Axis) -> str:
    if axis.whole:
        return number(rule, axis.value((at + 0.5) / axis.bins))
    return f"{number(rule, axis.value(at / axis.bins))} to {number(rule, axis.value((at + 1) / axis.bins))}"


def edge(rule: str, threshold: float, axis: Axis) -> float:
    """Where a threshold is drawn: among whole numbers between the last that stays and the first that goes."""
    half = 0.5 * axis.whole * (1 if drops(rule) == "above" else -1)
    return round(CHART[0] * axis.place(threshold + half), 1)


def tint(rule: str, edges: list[float]) -> Row | None:
    """The side where every view is dropped, whichever threshold its kind has."""
    if not edges or not drops(rule):
        return None
    if drops(rule) == "below":
        return {"x": 0, "width": min(edges)}
    return {"x": max(edges), "width": round(CHART[0] - max(edges), 1)}


def told_side(rule: str, thresholds: list[float]) -> str:
    """`dropped above 0.178`; empty where the number is only shown."""
    if not thresholds or not drops(rule):
        return ""
    told = " or ".join(number(rule, threshold) for threshold in thresholds)
    return f"dropped {drops(rule)} {told}{' on' * (drops(rule) == 'from')}"


def drops(rule: str) -> str:
    return RULES[rule].drops if rule in RULES else ""
