"""Clustered: the outfits she wears, found from clothing alone; each with name, trigger, signature and prompts.

`wardrobe` finds the groups, `outfit_names` names them. Here is decided which are trained, how often each view is seen,
so that a rare outfit is learned and a common one does not drown it, what each caption is, and what previews ask.
"""

import os
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.tables import CLUSTERED, VIEW_COLUMNS, read_table, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.rules import ALTERNATE_TAGS
from charaloom.demo.scores.cyberharem import by_optics
from charaloom.outfits.features import anchors_of, directions
from charaloom.outfits.grouping import group, members_of, similarities, stabilities
from charaloom.outfits.names import Outfit, in_order, name_all, official_name, outfit_trigger, signature
from charaloom.outfits.prompts import prompts
from charaloom.outfits.repeats import balance, decide, epoch
from charaloom.tagging.captions import as_words, caption
from charaloom.tagging.lint import Lint

if TYPE_CHECKING:
    import numpy as np

Params = dict[str, Any]

RESAMPLE_SHARE = 0.8
RESAMPLE_MOST = 1000  # views of one resample, so that stability costs the same for large characters
SIGNATURE_IN_CAPTIONS = 0.5  # share of an outfit's captions that also spell its signature out
REPRESENTATIVES = 4
LINT_TOLD = 5  # findings of a kind that the log names


def cluster_outfits(
    character: str,
    params: Params,
    measured: PathLike,
    tagged: PathLike,
    tagged_manifest: PathLike,
    core: PathLike,
    hub: PathLike,
    table: PathLike,
    outfits: PathLike,
    manifest: PathLike,
) -> None:
    """Write the outfit and caption of every kept view (schema CLUSTERED) and outfits.json.

    Outfits with fewer than `minimum_support` views or less than `minimum_stability` (mean Jaccard index with the groups
    that resamples find) are named but not trained: their views are captioned plainly.
    """
    origin = lineage("clustered", character, params, {"tagged": os.fspath(tagged_manifest)})
    views = sorted(read_table(tagged), key=lambda row: row["view"])
    found, alike = find_outfits(character, params, views, measured)
    for outfit in found:
        decide(outfit, views, params)
    balance(found, params)
    trigger = params.get("trigger") or f"{character}_charaloom"
    rows = captioned(character, trigger, views, found, params)
    lint = Lint(hub)
    told = described(character, trigger, views, found, alike, read_json(core)["core"])
    told["prompts"] = prompts(character, trigger, views, found, told["core"], lint.vocabulary.counts)
    told["lint"] = lint.findings(told, rows)
    report(character, told["lint"])
    write_table(table, rows, CLUSTERED, "view", origin)
    write_json(outfits, told)
    counts = {
        "views": len(rows),
        "outfits": len(found),
        "trained": sum(outfit.trained for outfit in found),
        "unassigned": told["unassigned"],
        "lint": len(told["lint"]),
    }
    write_manifest(manifest, origin, {"table": table, "outfits": outfits}, counts)


def find_outfits(
    character: str, params: Params, views: list[Row], measured: PathLike
) -> tuple[list[Outfit], "np.ndarray"]:
    """The outfits, largest first, and how alike the views' clothes are: cosines [n, n]."""
    alike = similarities(directions(views, measured))
    labels = by_optics(views) if params["method"] == "optics" else group(alike, smallest(params))
    groups = members_of(labels)
    seed = derive_seed(params["seed"], character, "resampling")
    steady = stabilities(alike, groups, smallest(params), params["resamples"], RESAMPLE_SHARE, RESAMPLE_MOST, seed)
    anchors = anchors_of(views)
    found = [
        Outfit(members, share, signature(views, members), official_name(anchors, members))
        for members, share in zip(groups, steady, strict=True)
    ]
    name_all(found)
    return found, alike


def smallest(params: Params) -> int:
    """Views a group has at least: half of what training asks, so that outfits that lack a few pictures are seen."""
    return max(3, params["minimum_support"] // 2)


def report(character: str, findings: list[Row]) -> None:
    """Tell the log what is wrong with captions, a few of each kind."""
    told = Counter[str]()
    for finding in findings:
        told[finding["kind"]] += 1
        if told[finding["kind"]] <= LINT_TOLD:
            print(f"{character}: {finding['what']} ({finding['where']}): {finding['advice']}", file=sys.stderr)
    for kind, count in sorted(told.items()):
        if count > LINT_TOLD:
            print(f"{character}: {kind}: {count - LINT_TOLD} more, all in outfits.json under `lint`", file=sys.stderr)


# --- captions and prompts


def captioned(character: str, trigger: str, views: list[Row], outfits: list[Outfit], params: Params) -> list[Row]:
    """Rows of the table. Half of an outfit's captions leave its signature to the trigger, half spell it out: the
    trigger alone dresses her, and the words still change single pieces."""
    worn = {index: outfit for outfit in outfits for index in outfit.members}
    rows = []
    for index, view in enumerate(views):
        outfit = worn.get(index)
        tags = [tag["name"] for tag in view["tags"]]
        if outfit and outfit.trained:
            seed = derive_seed(params["seed"], character, f"signature/{view['view']}")
            spelled = random.Random(seed).random() < SIGNATURE_IN_CAPTIONS
            folded = set() if spelled else {row["tag"] for row in outfit.signature}
            text = caption(trigger, outfit_trigger(character, outfit), [tag for tag in tags if tag not in folded])
        else:
            text = caption(trigger, None, tags)
        rows.append(
            {
                **{name: view[name] for name, _ in VIEW_COLUMNS},
                "split": view["split"],
                "outfit": outfit.identifier if outfit else None,
                "stability": outfit.stability if outfit else None,
                "repeats": outfit.repeats if outfit else 1,
                "caption": text,
            }
        )
    return rows


def described(
    character: str,
    trigger: str,
    views: list[Row],
    outfits: list[Outfit],
    alike: "np.ndarray",
    core: list[str],
) -> Row:
    """outfits.json, the trained outfits first."""
    ordered = in_order(outfits)
    seen = epoch(views, outfits)
    rows = [
        {
            "id": outfit.identifier,
            "trigger": outfit_trigger(character, outfit),
            "name": as_words(outfit.identifier),
            "official": outfit.official,
            "alternate": alternate(views, outfit),
            "signature": outfit.signature,
            "support": len(outfit.members),
            "stability": outfit.stability,
            "trained": outfit.trained,
            "why_not": outfit.why_not,
            "pictures": len(outfit.training),
            "repeats": outfit.repeats,
            "share": round(len(outfit.training) * outfit.repeats / seen, 4) if seen else 0.0,
            "representatives": representatives(views, outfit, alike),
        }
        for outfit in ordered
    ]
    return {
        "trigger": trigger,
        "core": core,
        "outfits": rows,
        "unassigned": len(views) - sum(len(outfit.members) for outfit in outfits),
    }


def alternate(views: list[Row], outfit: Outfit) -> float:
    """Share of an outfit's views that boards or the tagger call a costume that is not her usual one."""
    told = sum(any(tag["name"] in ALTERNATE_TAGS for tag in views[index]["tags"]) for index in outfit.members)
    return round(told / len(outfit.members), 4)


def representatives(views: list[Row], outfit: Outfit, alike: "np.ndarray") -> list[str]:
    """The training views that are most like all others of the outfit, of different pictures."""
    inner = alike[outfit.members][:, outfit.members].mean(axis=1, dtype=float).round(4)
    order = sorted(zip((-inner).tolist(), outfit.members, strict=True))
    shown: dict[str, str] = {}
    for _, index in order:
        view = views[index]
        if view["split"] == "train" and len(shown) < REPRESENTATIVES:
            shown.setdefault(view["picture"], view["view"])
    return list(shown.values())
