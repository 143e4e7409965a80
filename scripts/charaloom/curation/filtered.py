"""Filtered: which views train, and for every other one the rule, score and threshold that dropped it.

A pure function of tables. The rules are asked in the order of the config, each over all views at once, so nothing
depends on the order of the rows. A candidate is a picture of one person, or a person cut from a picture of several.
"""

import os
from collections import Counter

from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import FILTERED, VIEW_COLUMNS, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.duplicates import drop_duplicates
from charaloom.curation.held_out import hold_out, outfits_at_a_glance
from charaloom.curation.identity import drop_others
from charaloom.curation.rules import FINAL, RULES, judge
from charaloom.curation.views import Params, View, read_vectors, read_views
from charaloom.vision.ccip import CcipMetric


def filter_views(
    character: str,
    params: Params,
    raw: PathLike,
    measured: PathLike,
    measured_manifest: PathLike,
    table: PathLike,
    manifest: PathLike,
    hub: PathLike,
) -> None:
    """Write a verdict for every measured view (schema FILTERED). `hub` holds the CCIP metric model; no picture is read.

    Besides its config section `params` may hold `ratings` (allowed ones, default general) and `tag` (her tag on the
    boards; see `identity.support` for the default).
    Raises CharaloomError where fewer than `identity_minimum` views are hers.
    """
    origin = lineage("filtered", character, params, {"measured": os.fspath(measured_manifest)})
    views = read_views(raw, measured, params)
    candidates = [view for view in views if view.is_candidate]
    clusters: list[Row] = []
    asked = views
    for name in params["rules"]:
        if name == "duplicate":
            drop_duplicates(candidates, measured, params)
        elif name == "identity":
            clusters = drop_others(character, candidates, read_vectors(measured, "ccip"), CcipMetric(hub), params)
        else:
            judge(asked, RULES[name], params)
            if name in FINAL:
                asked = [view for view in asked if not view.reasons or view.reasons[-1].rule != name]
    kept = [view for view in candidates if not view.reasons]
    hold_out(character, kept, outfits_at_a_glance(kept, measured), params)
    write_table(table, [verdict(view) for view in views], FILTERED, "view", origin)
    rules = Counter(view.reasons[0].rule for view in views if view.reasons)
    counts = {
        "views": len(views),
        "candidates": len(candidates),
        "kept": len(kept),
        "held_out": sum(view.split == "held_out" for view in kept),
        "dropped": dict(sorted(rules.items())),
        "identity_clusters": clusters,
    }
    write_manifest(manifest, origin, {"table": table}, counts)


def verdict(view: View) -> Row:
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
