"""Filtered: which views train, and for every other one the rule, score and threshold that dropped it.

A pure function of tables. The rules apply in the order of the config, each to all views, so the order of the rows
changes nothing. A candidate is a picture of at most one person, or a person cut from a picture of several.
"""

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter

from charaloom.artifacts.manifest import lineage, write_facet, write_manifest
from charaloom.artifacts.tables import FILTERED, VIEW_COLUMNS, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Filtered
from charaloom.curation.duplicates import drop_duplicates
from charaloom.curation.held_out import hold_out, likely_outfits
from charaloom.curation.identity import drop_other_persons, drop_others, dropped_by
from charaloom.curation.rules import FINAL, MINOR, OBLIGATORY, OF_IDENTITY, RULES, UNSHOWN, apply_rule
from charaloom.curation.views import ALL, IDENTITY, View, read_vectors, read_views
from charaloom.errors import CharaloomError
from charaloom.tagging.tagged import REFUSAL
from charaloom.vision.ccip import CcipMetric


def filter_views(
    character: str,
    params: Filtered,
    raw: PathLike,
    measured: PathLike,
    hub: PathLike,
    upstream: Iterable[PathLike],
    table: PathLike,
    decisions: PathLike,
    manifest: PathLike,
) -> None:
    """Write a verdict for every measured view (schema FILTERED). `hub` holds the CCIP metric model; no picture is read.

    `upstream`: the manifests of what is read. `decisions` is the facet of the verdicts without scores and thresholds.

    Where too few views show the character, or two persons may be meant, the refusal stands in `decisions` and
    `manifest`: the curation page shows it with what was dropped, and the next stage fails with it.
    """
    origin = lineage("filtered", character, params.plain(), upstream)
    views = read_views(raw, measured, params)
    candidates = [view for view in views if view.is_candidate]
    clusters: list[Row] = []
    refusal: dict[str, str] = {}
    judged = views
    rules = rules_of(params)
    for name in rules:
        if name == "duplicate":
            drop_duplicates(candidates, measured, params)
        elif name == "identity":
            drop = drop_other_persons if params.trust == IDENTITY else drop_others
            vectors, metric = read_vectors(measured, "ccip"), CcipMetric(hub)
            try:
                clusters = drop(character, candidates, vectors, metric, params, measured)
            except CharaloomError as problem:
                refusal = {REFUSAL: str(problem)}
        else:
            apply_rule(RULES[name], judged, params)
            if name in FINAL:
                judged = [view for view in judged if not view.reasons or view.reasons[-1].rule != name]
    kept = [view for view in candidates if not view.reasons]
    if not kept and not refusal:
        why = f"{character}: no view is left of {len(candidates)} candidates. {dropped_by(candidates)}."
        refusal = {REFUSAL: f"{why} Add pictures or relax the rule that dropped most."}
    hold_out(character, kept, likely_outfits(kept, measured), params)
    rows = [verdict(view) for view in views]
    write_table(table, rows, FILTERED, "view")
    decided = [decision(row) for row in sorted(rows, key=itemgetter("view"))]
    write_facet(decisions, [rules, decided], rules=rules, **refusal)
    dropping_rules = Counter(view.reasons[0].rule for view in views if view.reasons)
    counts = {
        "views": len(views),
        "candidates": len(candidates),
        "kept": len(kept),
        "held_out": sum(view.split == "held_out" for view in kept),
        "variants": sum(view.has_variant for view in kept),
        "dropped": dict(sorted(dropping_rules.items())),
        "identity_clusters": clusters,
    }
    write_manifest(manifest, origin, {"table": table}, counts, rules=rules, **refusal)


def rules_of(params: Filtered) -> list[str]:
    """The rules that apply: those of the config, without the ones that the user's trust makes needless, and behind the
    ratings what the policy says of a character who is not known to be an adult."""
    needless = OF_IDENTITY if params.trust == IDENTITY else ()
    names = [name for name in params.rules if name not in needless and (params.trust != ALL or name in OBLIGATORY)]
    if params.blocked and MINOR not in names:
        names.insert(1 + max((names.index(name) for name in OBLIGATORY if name in names), default=-1), MINOR)
    return names


def verdict(view: View) -> Row:
    """The row of a view: its first reason decides, all are listed."""
    first = view.reasons[0] if view.reasons else None
    return {
        **{name: view.row[name] for name, _ in VIEW_COLUMNS},
        "verdict": "drop" if first else "keep",
        "rule": first.rule if first else None,
        "score": first.score if first else None,
        "threshold": first.threshold if first else None,
        "reasons": [reason.row() for reason in view.reasons],
        "scores": [score.row() for score in view.scores],
        "duplicate_group": view.duplicate_group,
        "identity_cluster": view.cluster,
        "identity_distance": view.distance,
        "split": view.split,
    }


DECIDED = ("verdict", "rule", "duplicate_group", "identity_distance", "split")


def decision(row: Row) -> list[object]:
    """What later stages read of a verdict: not by which numbers, so that a threshold that moves nothing ends here."""
    shown = not UNSHOWN & {reason["rule"] for reason in row["reasons"]}
    return [*(row[name] for name, _ in VIEW_COLUMNS), *(row[name] for name in DECIDED), shown]
