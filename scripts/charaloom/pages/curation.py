"""Curation page: every verdict of the filters with its picture, so that a person can judge the rules.

The funnel in the order of the rules, a contact sheet of the kept views and one for each rule, those nearest to its
threshold first, and a histogram of every number that a rule looked at. It is written minutes after the filters ran.
"""

from collections.abc import Iterable, Mapping
from itertools import chain

from charaloom.artifacts.files import read_json, write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Curation
from charaloom.curation.rules import UNSHOWN
from charaloom.pages.charts import histogram, is_whole
from charaloom.pages.funnel import funnel, raw_counts
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Source, Thumbnails, cut_thumbnails, read_sources, tile
from charaloom.pages.verdicts import (
    Score,
    active_rules,
    borderline,
    doubtful,
    dropped_by,
    may_be_shown,
    numbers,
    scores_by_rule,
)
from charaloom.tagging.tagged import REFUSAL

SHEET = 120  # pictures of a contact sheet at most; the rest is counted
NEAR = 12  # kept views shown beside a rule because they are nearest to its threshold


def build_curation(
    character: str,
    params: Curation,
    raw: PathLike,
    files: PathLike,
    measured: PathLike,
    filtered: PathLike,
    filtered_manifest: PathLike,
    upstream: Iterable[PathLike],
    page: PathLike,
    manifest: PathLike,
) -> None:
    """Write `curation.html` of one character. `files` is `raw.files.json`: what became of a folder's files."""
    facts = lineage("curation", character, params.plain(), upstream)
    thumbnails = Thumbnails()
    content = page_content(raw, measured, filtered, filtered_manifest, thumbnails)
    content |= {"character": character, "version": facts.version, "files": unread_files(read_json(files))}
    decided = read_json(filtered_manifest)
    content |= {"variants": decided["counts"].get("variants", 0), "refusal": decided.get(REFUSAL)}
    write_text(page, render_page("curation.html.j2", content))
    dropped = {section["rule"]: section["count"] for section in content["rules"]}
    counts = {"kept": content["kept"]["count"], "dropped": dropped, "thumbnails": thumbnails.made}
    write_manifest(manifest, facts, {"page": page}, counts)


def page_content(
    raw: PathLike, measured: PathLike, filtered: PathLike, filtered_manifest: PathLike, thumbnails: Thumbnails
) -> Row:
    """What the template shows; each picture shown is read from `raw` once."""
    rows = read_table(filtered)
    rules = active_rules(filtered_manifest, rows)
    dropped = dropped_by(rows, rules)
    scores = scores_by_rule(rows)
    kept = doubtful(rows)
    sheets = {rule: borderline(filter(may_be_shown, views))[:SHEET] for rule, views in dropped.items()}
    near = {rule: nearly_dropped(of_rule) for rule, of_rule in scores.items()}
    best = best_copies(rows, sheets.get("duplicate", []))
    strips = [[score.row for score in of_rule] for of_rule in near.values()]
    pictures = cut_thumbnails(raw, chain(kept[:SHEET], *sheets.values(), *strips, best.values()), thumbnails)
    sources = read_sources(raw)
    bars = funnel(rows, rules)
    return {
        "raw": raw_counts(raw),
        "funnel": bars,
        "held_out_count": sum(row["split"] == "held_out" for row in kept),
        "kept": sheet(kept, kept[:SHEET], pictures, sources),
        "rules": [
            {
                **bar,
                **sheet(dropped[bar["rule"]], sheets[bar["rule"]], pictures, sources, best),
                "number": place,
                "seen": bool(bar["count"] or scores.get(bar["rule"])),  # else the funnel says all there is
                "unshown": bar["rule"] in UNSHOWN,
                "near": [near_tile(score, pictures, sources) for score in near.get(bar["rule"], [])],
                "chart": histogram(bar["rule"], scores.get(bar["rule"], [])),
                "problems": problems(dropped["problem"], measured, sources) if bar["rule"] == "problem" else None,
            }
            for place, bar in enumerate(bars["bars"], 1)
        ],
    }


# --- files of a folder


def unread_files(files: Row) -> Row | None:
    """The files of a folder that were not used, and what was left out of captions, by name; None where all were."""
    if not (files["unused"] or files["remarks"]):
        return None
    lists = {
        kind: {
            "lines": [{"name": name, "why": why} for name, why in files[kind][:SHEET]],
            "more": len(files[kind][SHEET:]),
            "count": len(files[kind]),
        }
        for kind in ("unused", "remarks")
    }
    return {"pictures": files["pictures"], "captions": files["captions"], **lists}


# --- contact sheets


def sheet(
    views: list[Row],
    shown: list[Row],
    pictures: Mapping[str, str],
    sources: Mapping[str, Source],
    best_of: Mapping[str, Row] | None = None,
) -> Row:
    """A contact sheet of the `shown` among `views`; how many more there are, and how many may not be shown.

    `best_of` gives for a copy the view that stands beside it.
    """
    showable = sum(map(may_be_shown, views))
    tiles = []
    for row in shown:
        best = (best_of or {}).get(row["view"])
        beside = tile(best, pictures, sources.get(best["picture"])) if best else None
        tiles.append({**tile(row, pictures, sources.get(row["picture"])), "beside": beside})
    return {"count": len(views), "tiles": tiles, "more": showable - len(shown), "hidden": len(views) - showable}


def best_copies(rows: list[Row], copies: list[Row]) -> dict[str, Row]:
    """For every copy the best of its group, which is shown beside it."""
    by_view = {row["view"]: row for row in rows}
    groups = {row["view"]: row["duplicate_group"] for row in copies}
    return {view: by_view[best] for view, best in groups.items() if best in by_view and best != view}


def nearly_dropped(scores: list[Score]) -> list[Score]:
    """Kept views nearest to a rule's threshold; none where its numbers are a few whole ones."""
    if is_whole([score.value for score in scores]):
        return []
    kept = [score for score in scores if score.row["verdict"] == "keep" and score.threshold is not None]
    return sorted(kept, key=lambda score: (abs(score.value - score.entry["threshold"]), score.row["view"]))[:NEAR]


def near_tile(score: Score, pictures: Mapping[str, str], sources: Mapping[str, Source]) -> Row:
    """A kept view with the number that the rule looked at."""
    return {**tile(score.row, pictures, sources.get(score.row["picture"])), "numbers": numbers(score.entry)}


def problems(views: list[Row], measured: PathLike, sources: Mapping[str, Source]) -> Row:
    """Files that could not be read or measured, and why; a post above the allowed rating is named, not linked."""
    problem_of = {row["view"]: row["problem"] for row in read_table(measured, ["view", "problem"])}
    lines = []
    for row in views:
        source = sources.get(row["picture"], Source())
        why = source.problem or problem_of.get(row["view"]) or "unknown"
        page = None if why.startswith("rating") else source.page
        lines.append({"name": ", ".join(source.posts) or row["picture"], "page": page, "why": why})
    lines.sort(key=lambda line: (line["why"], line["name"]))
    return {"lines": lines[:SHEET], "more": len(lines[SHEET:])}
