"""Clustered: the outfits she wears, found from clothing alone; each with name, trigger, signature and prompts.

`wardrobe` finds the groups, `outfit_names` names them. Here is decided which are trained, how often each view is seen,
so that a rare outfit is learned and a common one does not drown it, what each caption is, and what previews ask.
"""

import os
import random
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.tables import CLUSTERED, VIEW_COLUMNS, read_table, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.views import read_vectors
from charaloom.demo.scores.cyberharem import by_optics
from charaloom.outfits.grouping import clothes, features, group, members_of, similarities, stabilities
from charaloom.outfits.names import Outfit, name_all, official_name, signature
from charaloom.tagging.captions import as_words, caption
from charaloom.tagging.lint import Lint
from charaloom.tagging.vocabulary import ALTERNATE_TAGS, is_clothing

if TYPE_CHECKING:
    import numpy as np

Params = dict[str, Any]

RESAMPLE_SHARE = 0.8
RESAMPLE_MOST = 1000  # views of one resample, so that stability costs the same for large characters
SIGNATURE_IN_CAPTIONS = 0.5  # share of an outfit's captions that also spell its signature out
PROMPT_SIGNATURE = 4  # signature tags that a prompt spells out
REPRESENTATIVES = 4
LINT_TOLD = 5  # findings of a kind that the log names

# What the previews ask of every outfit: framings, poses, places, faces; boards' own words, clothed and harmless. A
# scene is what its first tag says: where the tagger does not know that one, nobody could tell whether it was drawn,
# and it is left out, as single tags are.
SCENES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("portrait", ("portrait", "looking_at_viewer", "smile", "simple_background")),
    ("full_body", ("full_body", "standing", "looking_at_viewer", "white_background")),
    ("meadow", ("grass", "cowboy_shot", "outdoors", "day", "sky")),
    ("profile", ("profile", "from_side", "upper_body", "simple_background")),
    ("sitting", ("sitting", "full_body", "chair", "indoors")),
    ("night", ("night", "upper_body", "outdoors", "starry_sky")),
    ("open_mouth", ("open_mouth", "upper_body", "looking_at_viewer", "simple_background")),
    ("city", ("city", "full_body", "outdoors", "building")),
    ("frown", ("frown", "portrait", "looking_at_viewer", "simple_background")),
    ("room", ("indoors", "cowboy_shot", "window")),
    ("closed_eyes", ("closed_eyes", "upper_body", "smile", "simple_background")),
)
# What they ask besides, once for a character: what the trigger alone draws, what her core tags add, clothes that are
# not hers, and the same scene without her name, in which nothing of her should appear.
POSTURE = ("upper_body", "looking_at_viewer", "simple_background")
OTHER_CLOTHES: tuple[tuple[str, ...], ...] = (
    ("kimono", "sash", "wide_sleeves"),
    ("serafuku", "sailor_collar", "pleated_skirt"),
    ("suit", "necktie"),
    ("hoodie", "hood"),
    ("sweater", "turtleneck"),
    ("maid", "apron"),
    ("dress", "long_dress"),
)
CLOTHES_ASKED = 2


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


def directions(views: list[Row], measured: PathLike) -> "np.ndarray":
    """What the views wear, as `wardrobe.features` sees it: [n, d]."""
    others = [{tag["name"]: tag["score"] for tag in view["tags"] if not is_clothing(tag["name"])} for view in views]
    for view, tags in zip(views, others, strict=True):
        tags.update((tag["name"], 1.0) for tag in view["dropped"] if not is_clothing(tag["name"]))
    return features([clothes(view) for view in views], anchors_of(views), others, embeddings_of(views, measured))


def anchors_of(views: list[Row]) -> list[set[str]]:
    return [set(view["variants"]) for view in views]


def embeddings_of(views: list[Row], measured: PathLike) -> "np.ndarray":
    """The tagger's embeddings [n, e] of these views; e is 0 where any was measured without one."""
    import numpy as np

    vectors = read_vectors(measured, "tag_embedding")
    found = [vectors[view["view"]] for view in views if view["view"] in vectors]
    return np.array(found, dtype=np.float64) if len(found) == len(views) else np.zeros((len(views), 0))


def smallest(params: Params) -> int:
    """Views a group has at least: half of what training asks, so that outfits that lack a few pictures are seen."""
    return max(3, params["minimum_support"] // 2)


# --- which are trained, and how often their views are seen


def decide(outfit: Outfit, views: list[Row], params: Params) -> None:
    """Whether an outfit is trained; if not, why not, in words."""
    missing = params["minimum_support"] - len(outfit.members)
    outfit.training = [index for index in outfit.members if views[index]["split"] == "train"]
    if missing > 0:
        outfit.why_not = f"{missing} more {'picture' if missing == 1 else 'pictures'} needed"
    elif outfit.stability < params["minimum_stability"]:
        outfit.why_not = f"stability {outfit.stability:.2f} is below {params['minimum_stability']}"
    elif not (outfit.signature or outfit.official):
        outfit.why_not = "no tag tells it from the others"
    elif not outfit.training:
        outfit.why_not = "all its pictures are held out"
    outfit.trained = outfit.why_not is None


def balance(outfits: list[Outfit], params: Params) -> None:
    """Repeats of trained outfits' views: `balance` 0 leaves every view once, 1 has all outfits seen equally often."""
    trained = [outfit for outfit in outfits if outfit.trained]
    most = max((len(outfit.training) for outfit in trained), default=0)
    for outfit in trained:
        wanted = round((most / len(outfit.training)) ** params["balance"])
        outfit.repeats = min(max(wanted, 1), params["repeats_most"])


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


def outfit_trigger(character: str, outfit: Outfit) -> str:
    return f"{character}_{outfit.identifier}"


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


def in_order(outfits: list[Outfit]) -> list[Outfit]:
    """The trained outfits first, the larger before the smaller."""
    return sorted(outfits, key=lambda outfit: (not outfit.trained, -len(outfit.members), outfit.identifier))


def prompts(
    character: str, trigger: str, views: list[Row], outfits: list[Outfit], core: list[str], known: Collection[str]
) -> list[Row]:
    """What previews and cards ask for: {id, kind, outfit, text, asked}; `asked` are the tags that should be seen.

    `known` are the tags that the tagger knows. Kinds: `outfit` (trigger, the outfit's trigger, the head of its
    signature, a scene), `core` (trigger and core tags), `trigger` (the trigger alone), `clothes` (clothes she never
    wore), `plain` (the same scene without any trigger).
    """
    count = count_tag(views)

    def one(
        name: str,
        kind: str,
        hers: Iterable[str],
        scene: Iterable[str],
        outfit: Outfit | None = None,
        called: bool = True,
    ) -> Row:
        said = list(dict.fromkeys([*hers, *(tag for tag in scene if tag in known)]))
        worn = outfit_trigger(character, outfit) if outfit else None
        text = caption(trigger if called else "", worn, [*count, *said])
        return {
            "id": f"{outfit.identifier}-{name}" if outfit else name,
            "kind": kind,
            "outfit": outfit.identifier if outfit else None,
            "text": text,
            "asked": [tag for tag in said if tag in known],
        }

    scenes = [(name, tags) for name, tags in SCENES if tags[0] in known]
    asked: list[Outfit | None] = [outfit for outfit in in_order(outfits) if outfit.trained]
    rows = [
        one(name if outfit else f"any-{name}", "outfit", head_of(outfit), tags, outfit)
        for outfit in asked or [None]
        for name, tags in scenes
    ]
    rows += [one("core_tags", "core", core, POSTURE), one("trigger_only", "trigger", [], [])]
    rows += [one(tags[0], "clothes", [], [*tags, *POSTURE]) for tags in other_clothes(outfits, known)]
    return [*rows, one("without_trigger", "plain", [], POSTURE, called=False)]


def head_of(outfit: Outfit | None) -> list[str]:
    """The signature tags that a prompt spells out."""
    return [row["tag"] for row in outfit.signature[:PROMPT_SIGNATURE]] if outfit else []


def other_clothes(outfits: list[Outfit], known: Collection[str]) -> list[tuple[str, ...]]:
    """The first few clothes of OTHER_CLOTHES that are nothing like what she wears."""
    hers = {word for outfit in outfits for row in outfit.signature for word in row["tag"].split("_")}
    strange = [tags for tags in OTHER_CLOTHES if tags[0] in known and not any(set(t.split("_")) & hers for t in tags)]
    return strange[:CLOTHES_ASKED]


def count_tag(views: list[Row]) -> list[str]:
    """`1girl`, `1boy` or `1other`, whichever the views are tagged with most, and `solo`."""
    told = Counter(tag["name"] for view in views for tag in view["tags"] if tag["name"] in ("1girl", "1boy", "1other"))
    most = min(told, key=lambda name: (-told[name], name), default=None)
    return [most, "solo"] if most else []


def epoch(views: list[Row], outfits: list[Outfit]) -> int:
    """How many training pictures one pass over the dataset shows, repeats counted."""
    extra = sum(len(outfit.training) * (outfit.repeats - 1) for outfit in outfits)
    return sum(view["split"] == "train" for view in views) + extra


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
