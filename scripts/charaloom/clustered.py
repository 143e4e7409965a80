"""Clustered: the outfits she wears, found from clothing tags alone; each with name, trigger, signature and prompts.

Views are compared by what is worn: tags of clothes, rare ones weighing more, a coloured piece also counting as the
plain one. Pose, framing, background and identity have no say. Groups come from average linkage on the cosine distances,
their number is not preset; a view then goes to the outfit it is nearest to on average, or to none. HDBSCAN on the same
distances calls most views noise, because single tags are often missing: figures in docs/curation.md.
"""

import os
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charaloom.captions import as_words, caption
from charaloom.files import read_json, write_json
from charaloom.manifest import lineage, write_manifest
from charaloom.seeds import derive_seed
from charaloom.tables import CLUSTERED, VIEW_COLUMNS, read_table, write_table
from charaloom.vocabulary import has_colour, is_clothing, is_count, is_garment, is_headwear

if TYPE_CHECKING:
    import numpy as np

PathLike = str | os.PathLike[str]
Row = dict[str, Any]
Params = dict[str, Any]

LINKAGE = 0.88  # average cosine distance up to which two groups are one outfit
NEAR = 0.9  # average distance to an outfit above which a view is left unassigned
ROUNDS = 3  # of sending every view to its nearest outfit
RESAMPLE_SHARE = 0.8
RESAMPLE_MOST = 1000  # views of one resample, so that stability costs the same for large characters
SIGNATURE_SHARE = 0.35  # of an outfit's views that show a signature tag at least
SIGNATURE_EXCESS = 0.2  # by which its share exceeds the one in the other views at least
SIGNATURE_MOST = 8
NAMING_SHARE = 0.5  # of the best signature score that a tag must have to name the outfit
SIGNATURE_IN_CAPTIONS = 0.5  # share of an outfit's captions that also spell its signature out
PROMPT_SIGNATURE = 4  # signature tags that a prompt spells out
REPRESENTATIVES = 4

# What the previews ask of every outfit: two framings, then scenes; boards' own words.
SCENES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("portrait", ("portrait", "looking_at_viewer", "smile", "simple_background")),
    ("full_body", ("full_body", "standing", "looking_at_viewer", "white_background")),
    ("meadow", ("cowboy_shot", "outdoors", "day", "grass", "sky")),
    ("night", ("upper_body", "outdoors", "night", "starry_sky")),
    ("city", ("full_body", "outdoors", "city", "building")),
    ("room", ("cowboy_shot", "indoors", "window", "open_mouth")),
)


@dataclass
class Outfit:
    """A group of views (by index) that wear the same."""

    members: list[int]
    stability: float
    signature: list[Row]
    identifier: str = ""
    trained: bool = False


def cluster_outfits(
    character: str,
    params: Params,
    measured: PathLike,
    tagged: PathLike,
    tagged_manifest: PathLike,
    core: PathLike,
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
    worn = [clothes(view) for view in views]
    distances, dressed = distances_between(worn)
    labels = group(distances, dressed, smallest(params))
    groups = members_of(labels)
    seed = derive_seed(params["seed"], character, "resampling")
    steady = stabilities(distances, dressed, groups, params, seed)
    found = [Outfit(members, share, signature(views, members)) for members, share in zip(groups, steady, strict=True)]
    name_all(found)
    for outfit in found:
        supported = len(outfit.members) >= params["minimum_support"]
        outfit.trained = supported and outfit.stability >= params["minimum_stability"] and bool(outfit.signature)
    trigger = params.get("trigger") or f"{character}_charaloom"
    rows = captioned(character, trigger, views, found, params)
    write_table(table, rows, CLUSTERED, "view", origin)
    write_json(outfits, described(character, trigger, views, found, distances, read_json(core)["core"]))
    counts = {
        "views": len(rows),
        "outfits": len(found),
        "trained": sum(outfit.trained for outfit in found),
        "unassigned": len(rows) - sum(len(outfit.members) for outfit in found),
    }
    write_manifest(manifest, origin, {"table": table, "outfits": outfits}, counts)


def smallest(params: Params) -> int:
    """Views a group has at least: half of what training asks, so that outfits that lack a few pictures are seen."""
    return max(3, params["minimum_support"] // 2)


# --- what is worn


def clothes(view: Row) -> dict[str, float]:
    """Scores of what a view wears; `red_kimono` is also a `kimono`."""
    scores: dict[str, float] = {}
    for tag in view["tags"]:
        name = tag["name"]
        if is_clothing(name):
            plain = [name.split("_", 1)[1]] if has_colour(name) else []
            for piece in (name, *plain):
                scores[piece] = max(scores.get(piece, 0.0), tag["score"])
    return scores


def distances_between(worn: list[dict[str, float]]) -> tuple["np.ndarray", "np.ndarray"]:
    """(cosine distances [n, n], which views show any clothes [n]). A tag's weight is the log of its rarity."""
    import numpy as np

    told = Counter(tag for tags in worn for tag in tags)
    names = sorted(tag for tag, count in told.items() if count > 1)
    column = {name: index for index, name in enumerate(names)}
    features = np.zeros((len(worn), len(names)))
    for index, tags in enumerate(worn):
        for name, score in tags.items():
            if name in column:
                features[index, column[name]] = score * np.log1p(len(worn) / told[name])
    lengths = np.linalg.norm(features, axis=1)
    directions = features / np.maximum(lengths, 1e-12)[:, None]
    distances = (1 - directions @ directions.T).round(6).clip(0, 1)
    np.fill_diagonal(distances, 0)
    return distances, lengths > 0


def group(distances: "np.ndarray", dressed: "np.ndarray", least: int) -> "np.ndarray":
    """Group number of every view, -1 for none; numbers say nothing by themselves."""
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    labels = np.full(len(distances), -1)
    shown = np.flatnonzero(dressed)
    if len(shown) < 2:
        return labels
    among = distances[np.ix_(shown, shown)]
    found = fcluster(linkage(squareform(among, checks=False), "average"), LINKAGE, "distance")
    for _ in range(ROUNDS):
        sizes = Counter(found[found >= 0].tolist())
        kept = sorted(number for number, size in sizes.items() if size >= least)
        if not kept:
            return labels
        apart = np.array([among[:, found == number].mean(axis=1) for number in kept]).round(6)
        found = np.where(apart.min(axis=0) <= NEAR, np.array(kept)[apart.argmin(axis=0)], -1)
    sizes = Counter(found.tolist())
    labels[shown] = [number if sizes[number] >= least else -1 for number in found.tolist()]
    return labels


def members_of(labels: "np.ndarray") -> list[list[int]]:
    """Members of every group, the largest first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels.tolist()):
        if label >= 0:
            groups[label].append(index)
    return sorted(groups.values(), key=lambda members: (-len(members), members))


def stabilities(
    distances: "np.ndarray", dressed: "np.ndarray", groups: list[list[int]], params: Params, seed: int
) -> list[float]:
    """For every group the mean Jaccard index with its best match among the groups of seeded resamples."""
    import numpy as np

    rng = np.random.default_rng(seed)
    size = min(max(round(RESAMPLE_SHARE * len(distances)), 1), RESAMPLE_MOST)
    scores: list[list[float]] = [[] for _ in groups]
    for _ in range(params["resamples"]):
        chosen = np.sort(rng.choice(len(distances), size, replace=False))
        labels = group(distances[np.ix_(chosen, chosen)], dressed[chosen], smallest(params))
        found = [labels == number for number in sorted(set(labels.tolist()) - {-1})]
        for members, own in zip(groups, scores, strict=True):
            inside = np.isin(chosen, members)
            own.append(max((jaccard(inside, other) for other in found), default=0.0))
    return [round(float(np.mean(own)), 4) if own else 1.0 for own in scores]


def jaccard(one: "np.ndarray", other: "np.ndarray") -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


# --- names


def signature(views: list[Row], members: list[int]) -> list[Row]:
    """Clothing tags that tell this outfit from the other views: score is its share here less the share elsewhere."""
    inside = set(members)
    here, elsewhere = Counter[str](), Counter[str]()
    for index, view in enumerate(views):
        worn = {tag["name"] for tag in view["tags"] if is_clothing(tag["name"])}
        (here if index in inside else elsewhere).update(worn)
    others = max(len(views) - len(members), 1)
    rows: list[Row] = []
    for tag, count in here.items():
        share = count / len(members)
        score = round(share - elsewhere[tag] / others, 4)
        if share >= SIGNATURE_SHARE and score >= SIGNATURE_EXCESS:
            rows.append({"tag": tag, "score": score})
    return sorted(rows, key=lambda row: (-row["score"], row["tag"]))[:SIGNATURE_MOST]


def name_all(outfits: list[Outfit]) -> None:
    """Give every outfit an identifier from its signature: a coloured garment where it has one, the best tag else.

    An identifier depends on what the outfit is, not on its size or number, so that it survives more pictures; where two
    outfits would share one, both add their next tag.
    """
    candidates = [naming_tags(outfit.signature) for outfit in outfits]
    first = Counter(tags[0] for tags in candidates if tags)
    taken: set[str] = set()
    for outfit, tags in zip(outfits, candidates, strict=True):
        name = tags[0] if tags else "plain"
        if first[name] > 1 and len(tags) > 1:
            name = f"{name}_{tags[1]}"
        base, number = name, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        outfit.identifier = name


def naming_tags(signature: list[Row]) -> list[str]:
    """Signature tags, the ones that name an outfit best first: a coloured garment, a garment, anything else, a hat.

    A tag that scores less than half of the best one names nothing: it is somebody's second piece. Scores count in
    coarse steps, so that a few more pictures rarely change the order.
    """
    best = max((row["score"] for row in signature), default=0.0)

    def rank(row: Row) -> tuple[bool, int, float, str]:
        tag = row["tag"]
        kind = 3 if is_headwear(tag) else 2 - is_garment(tag) - (is_garment(tag) and has_colour(tag))
        return row["score"] < NAMING_SHARE * best, kind, -round(row["score"], 1), tag

    return [plain_name(row["tag"]) for row in sorted(signature, key=rank)]


def plain_name(tag: str) -> str:
    """A tag as an identifier: letters, digits and underscores."""
    return "".join(letter if letter.isalnum() else "_" for letter in tag).strip("_")


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
    distances: "np.ndarray",
    core: list[str],
) -> Row:
    """outfits.json, the trained outfits first."""
    count = count_tag(views)
    ordered = sorted(outfits, key=lambda outfit: (not outfit.trained, -len(outfit.members), outfit.identifier))
    rows = [
        {
            "id": outfit.identifier,
            "trigger": outfit_trigger(character, outfit),
            "name": as_words(outfit.identifier),
            "signature": outfit.signature,
            "support": len(outfit.members),
            "stability": outfit.stability,
            "trained": outfit.trained,
            "representatives": representatives(views, outfit, distances),
        }
        for outfit in ordered
    ]
    asked: list[Outfit | None] = [outfit for outfit in ordered if outfit.trained]
    return {
        "trigger": trigger,
        "core": core,
        "outfits": rows,
        "unassigned": len(views) - sum(len(outfit.members) for outfit in outfits),
        "prompts": [
            {
                "id": f"{outfit.identifier if outfit else 'plain'}-{scene}",
                "outfit": outfit.identifier if outfit else None,
                "text": prompt(character, trigger, outfit, [*count, *tags]),
            }
            for outfit in asked or [None]
            for scene, tags in SCENES
        ],
    }


def prompt(character: str, trigger: str, outfit: Outfit | None, scene: list[str]) -> str:
    """What previews and cards ask for: trigger, outfit trigger and the head of its signature, scene."""
    counts = [tag for tag in scene if is_count(tag)]
    worn = [row["tag"] for row in outfit.signature[:PROMPT_SIGNATURE]] if outfit else []
    rest = [tag for tag in scene if tag not in counts]
    return caption(trigger, outfit_trigger(character, outfit) if outfit else None, [*counts, *worn, *rest])


def count_tag(views: list[Row]) -> list[str]:
    """`1girl`, `1boy` or `1other`, whichever the views are tagged with most, and `solo`."""
    told = Counter(tag["name"] for view in views for tag in view["tags"] if tag["name"] in ("1girl", "1boy", "1other"))
    most = min(told, key=lambda name: (-told[name], name), default=None)
    return [most, "solo"] if most else []


def representatives(views: list[Row], outfit: Outfit, distances: "np.ndarray") -> list[str]:
    """The training views that are most like all others of the outfit, of different pictures."""
    inner = distances[outfit.members][:, outfit.members].mean(axis=1).round(6)
    order = sorted(zip(inner.tolist(), outfit.members, strict=True))
    shown: dict[str, str] = {}
    for _, index in order:
        view = views[index]
        if view["split"] == "train" and len(shown) < REPRESENTATIVES:
            shown.setdefault(view["picture"], view["view"])
    return list(shown.values())
