"""Stage `clustered`: the outfits of a character, found from clothing alone, and the caption of every view.

`grouping` finds the groups, `names` names them, `repeats` decides which are trained and how often, `prompts` writes
what previews ask for. This module writes captions and what pages and cards say of an outfit.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import lineage, write_facet, write_manifest
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.tables import CLUSTERED, VIEW_COLUMNS, read_table, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Clustered
from charaloom.outfits.features import anchors_of, directions
from charaloom.outfits.grouping import NEIGHBOURS, group, members_of, similarities, stabilities
from charaloom.outfits.names import Outfit, in_order, name_all, official_name, outfit_trigger, signature, written
from charaloom.outfits.prompts import prompts
from charaloom.outfits.repeats import balance, decide, epoch, folder_repeats, seen
from charaloom.outfits.variants import told_apart, worn_by
from charaloom.tagging.captions import as_words, caption
from charaloom.tagging.lint import Lint
from charaloom.tagging.merging import MINE, OWN
from charaloom.tagging.vocabulary import ALTERNATE_TAGS, is_clothing

if TYPE_CHECKING:
    import numpy as np

# Takes tagged views, cosines of their clothes [n, n] and the least size of a group; gives each view's group (-1: none).
Grouping = Callable[[list[Row], "np.ndarray", int], "np.ndarray"]

RESAMPLE_SHARE = 0.8  # of the views, set by hand
RESAMPLE_MOST = 1000  # views of one resample, so that stability costs the same for large characters
SIGNATURE_IN_CAPTIONS = 0.5  # share of an outfit's captions that also spell its signature out, set by hand
REPRESENTATIVES = 4  # views
WRITTEN_SHARE = 0.5  # of the views whose clothes the user wrote, from which these are believed, set by hand
FINDINGS_LOGGED = 5  # of each kind


@dataclass(frozen=True, kw_only=True)
class ClusterInputs:
    """The files that the stage reads."""

    measured: PathLike
    tagged: PathLike
    core: PathLike
    hub: PathLike  # hub cache with the vocabulary and the tokenizer
    upstream: Sequence[PathLike]


def by_clothes(views: list[Row], alike: "np.ndarray", least: int) -> "np.ndarray":
    """The product's grouping: dense places among the views' clothes, and in them what differs by colour or piece."""
    return told_apart(list(map(worn_by, views)), group(alike, least, neighbours(views, least)), alike, least)


def neighbours(views: list[Row], least: int) -> int:
    """How many views are averaged before groups are told apart.

    The tagger's tags need it, for they are often missing or wrong; where the user wrote the clothes, no more than make
    a group, so that the smallest outfits stand.
    """
    written = sum(any(tag["origin"] == OWN and is_clothing(tag["name"]) for tag in view["tags"]) for view in views)
    return min(least, NEIGHBOURS) if written >= WRITTEN_SHARE * len(views) else NEIGHBOURS


def cluster_outfits(
    character: str,
    params: Clustered,
    inputs: ClusterInputs,
    table: PathLike,
    outfits: PathLike,
    prompts_facet: PathLike,
    manifest: PathLike,
    grouping: Grouping = by_clothes,
) -> None:
    """Write the outfit and caption of every kept view (schema CLUSTERED), outfits.json and the facet of its prompts.

    Outfits with fewer than `minimum_support` views or less than `minimum_stability` (mean Jaccard index with the groups
    that resamples find) are named but not trained: their views are captioned plainly.
    """
    origin = lineage("clustered", character, params.plain(), inputs.upstream)
    views = sorted(read_table(inputs.tagged), key=lambda row: row["view"])
    groups, alike = find_outfits(character, params, views, inputs.measured, grouping)
    for outfit in groups:
        decide(outfit, views, params)
    own_repeats = folder_repeats(views, params)
    balance(groups, own_repeats, params)
    rows = captioned(character, params, views, groups, own_repeats)
    lint = Lint(inputs.hub)
    core = read_json(inputs.core)["core"]
    content = described(character, params.trigger, views, groups, alike, core, own_repeats)
    content["prompts"] = prompts(character, params.trigger, views, groups, content["core"], lint.vocabulary.counts)
    content["lint"] = [*lint.of_own_words(views), *lint.findings(content, rows)]
    log_findings(character, content["lint"])
    write_table(table, rows, CLUSTERED, "view")
    write_json(outfits, content)
    write_facet(prompts_facet, content["prompts"])
    counts = {
        "views": len(rows),
        "outfits": len(groups),
        "trained": sum(outfit.trained for outfit in groups),
        "unassigned": content["unassigned"],
        "lint": len(content["lint"]),
    }
    write_manifest(manifest, origin, {"table": table, "outfits": outfits}, counts)


def find_outfits(
    character: str, params: Clustered, views: list[Row], measured: PathLike, grouping: Grouping
) -> tuple[list[Outfit], "np.ndarray"]:
    """The outfits, largest first, and how alike the views' clothes are: cosines [n, n]."""
    alike = similarities(directions(views, measured))
    least = least_size(params)
    groups = members_of(grouping(views, alike, least))
    seed = derive_seed(params.seed, character, "resampling")
    regroup = regrouping(views, alike, least)
    steady = stabilities(len(views), groups, regroup, params.resamples, RESAMPLE_SHARE, RESAMPLE_MOST, seed)
    anchors = anchors_of(views)
    outfits = [
        Outfit(
            members,
            stability,
            signature(views, members),
            official_name(anchors, members),
            written=written(views, members),
        )
        for members, stability in zip(groups, steady, strict=True)
    ]
    name_all(outfits)
    return outfits, alike


def regrouping(views: list[Row], alike: "np.ndarray", least: int) -> "Callable[[np.ndarray], np.ndarray]":
    """Groups views of some indices as `by_clothes` does."""
    import numpy as np

    worn, nearest = list(map(worn_by, views)), neighbours(views, least)
    # Of a group of the least size, a resample has so many.
    fewest = max(int(RESAMPLE_SHARE * least), 2) if nearest < NEIGHBOURS else least

    def regroup(chosen: "np.ndarray") -> "np.ndarray":
        among = alike[np.ix_(chosen, chosen)]
        return told_apart([worn[index] for index in chosen], group(among, fewest, nearest), among, fewest)

    return regroup


def least_size(params: Clustered) -> int:
    """Views a group has at least: half of what training needs, so that outfits that lack a few pictures are shown."""
    return max(3, params.minimum_support // 2)


def log_findings(character: str, findings: list[Row]) -> None:
    """Log what is wrong with captions, the first few findings of each kind."""
    counts = Counter[str]()
    for finding in findings:
        counts[finding["kind"]] += 1
        if counts[finding["kind"]] <= FINDINGS_LOGGED:
            print(f"{character}: {finding['what']} ({finding['where']}): {finding['advice']}", file=sys.stderr)
    for kind, count in sorted(counts.items()):
        if count > FINDINGS_LOGGED:
            print(f"{character}: {kind}: {count - FINDINGS_LOGGED} more, see `lint` in outfits.json", file=sys.stderr)


# --- captions


def captioned(
    character: str, params: Clustered, views: list[Row], outfits: list[Outfit], own_repeats: list[int]
) -> list[Row]:
    """Rows of the table. Half of an outfit's captions leave its signature to the trigger, half spell it out: the
    trigger alone dresses the character, and the words still change single pieces."""
    worn = {index: outfit for outfit in outfits for index in outfit.members}
    return [
        {
            **{name: view[name] for name, _ in VIEW_COLUMNS},
            "split": view["split"],
            "outfit": outfit.identifier if outfit else None,
            "stability": outfit.stability if outfit else None,
            "repeats": (outfit.repeats if outfit else 1) * own_repeats[index],
            "caption": caption_of(character, params, view, outfit),
        }
        for index, view, outfit in ((index, view, worn.get(index)) for index, view in enumerate(views))
    ]


def caption_of(character: str, params: Clustered, view: Row, outfit: Outfit | None) -> str:
    tags = [tag["name"] for tag in view["tags"]]
    own = {tag["name"] for tag in view["tags"] if tag["origin"] == OWN}
    if not (outfit and outfit.trained):
        return caption(params.trigger, None, tags, own)
    if own and params.captions == MINE:
        return caption(params.trigger, outfit_trigger(character, outfit), tags, own)
    seed = derive_seed(params.seed, character, f"signature/{view['view']}")
    if random.Random(seed).random() >= SIGNATURE_IN_CAPTIONS:
        left_out = {row["tag"] for row in outfit.signature}
        tags = [tag for tag in tags if tag not in left_out]
    return caption(params.trigger, outfit_trigger(character, outfit), tags, own)


# --- outfits.json


def described(
    character: str,
    trigger: str,
    views: list[Row],
    outfits: list[Outfit],
    alike: "np.ndarray",
    core: list[str],
    own_repeats: list[int],
) -> Row:
    """outfits.json without prompts and lint, the trained outfits first."""
    shown = epoch(views, outfits, own_repeats)
    return {
        "trigger": trigger,
        "core": core,
        "outfits": [
            outfit_entry(character, outfit, views, alike, seen(outfit, own_repeats) / shown if shown else 0.0)
            for outfit in in_order(outfits)
        ],
        "unassigned": len(views) - sum(len(outfit.members) for outfit in outfits),
    }


def outfit_entry(character: str, outfit: Outfit, views: list[Row], alike: "np.ndarray", share: float) -> Row:
    """What outfits.json says of an outfit; `share` is its part of the training pictures of one epoch."""
    return {
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
        "share": round(share, 4),
        "representatives": representatives(views, outfit, alike),
    }


def alternate(views: list[Row], outfit: Outfit) -> float:
    """Share of an outfit's views that boards or the tagger call an alternate costume."""
    count = sum(any(tag["name"] in ALTERNATE_TAGS for tag in views[index]["tags"]) for index in outfit.members)
    return round(count / len(outfit.members), 4)


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
