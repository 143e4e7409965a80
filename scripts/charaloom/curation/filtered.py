"""Filtered: which views train, and for every other one the rule, score and threshold that dropped it.

A pure function of tables. The rules are asked in the order of the config, each over all views at once, so nothing
depends on the order of the rows. A candidate is a picture of one person, or a person cut from a picture of several.
"""

import os
from collections import Counter, defaultdict
from hashlib import sha256

from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.tables import FILTERED, VIEW_COLUMNS, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.duplicates import drop_duplicates
from charaloom.curation.identity import drop_others
from charaloom.curation.rules import FINAL, RULES, judge
from charaloom.curation.views import Params, View, read_vectors, read_views, tag_scores, tags_seen
from charaloom.tagging.vocabulary import has_colour, is_garment
from charaloom.vision.ccip import CcipMetric

HELD_OUT_MINIMUM = 4
WORN_SCORE = 0.35  # of the tagger's garment that stands for an outfit when pictures are put aside


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


# --- held out


def outfits_at_a_glance(kept: list[View], measured: PathLike) -> dict[str, str]:
    """What each kept view seems to be worn, before outfits are known: a variant tag, else the surest garment."""
    garments = [tag for tag in tags_seen(measured) if is_garment(tag)]
    seen = tag_scores(measured, garments)
    return {view.name: variant(view) or garment(seen.get(view.name, {})) for view in kept}


def variant(view: View) -> str:
    """`hana_(kimono)_(series)` beside `hana_(series)`: the character tag with most parts, where it has several."""
    tags = sorted(view.tags("character"), key=lambda tag: (-tag.count("_("), tag))
    return tags[0] if tags and tags[0].count("_(") > 1 else ""


def garment(scores: dict[str, float]) -> str:
    """The surest garment with a colour, else the surest garment."""
    worn = [tag for tag, score in scores.items() if score >= WORN_SCORE]
    return min(worn, key=lambda tag: (not has_colour(tag), -scores[tag], tag), default="")


def hold_out(character: str, kept: list[View], outfits: dict[str, str], params: Params) -> None:
    """Put a seeded share of the kept views aside, whole pictures at a time, from every outfit alike.

    Duplicates are dropped already, so no twin of a training view is among them.
    """
    wanted = min(max(HELD_OUT_MINIMUM, round(params["held_out"] * len(kept))), len(kept) // 2)
    by_picture: dict[str, list[View]] = defaultdict(list)
    for view in kept:
        by_picture[view.row["picture"]].append(view)
    held = 0
    for name in taking_turns(character, by_picture, outfits, params["seed"]):
        aside = held < wanted
        held += len(by_picture[name]) * aside
        for view in by_picture[name]:
            view.split = "held_out" if aside else "train"


def taking_turns(
    character: str, by_picture: dict[str, list[View]], outfits: dict[str, str], config_seed: int
) -> list[str]:
    """Pictures in a seeded order in which every outfit comes as often as it is worn, from the first few on."""
    seed = derive_seed(config_seed, character, "held_out")
    by_outfit: dict[str, list[str]] = defaultdict(list)
    for name, views in by_picture.items():
        by_outfit[outfits.get(views[0].name, "")].append(name)
    places = []
    for outfit, names in by_outfit.items():
        order = sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode()).hexdigest())
        # The k-th of n stands at (k + 1/2) / n of the whole: outfits mix in proportion.
        places += [((index + 0.5) / len(order), outfit, name) for index, name in enumerate(order)]
    return [name for _, _, name in sorted(places)]
