"""Filtered: which views train, and for every other one the rule, score and threshold that dropped it.

A pure function of tables. Rules that look at one view come first, in the order of RULES; then duplicates, among all
candidates at once; then identity, among what is left, at once. Nothing depends on the order of the rows.

A candidate is a picture of one person, or a person cut from a picture of several.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from charaloom.ccip import differences
from charaloom.errors import CharaloomError
from charaloom.manifest import lineage, write_manifest
from charaloom.models import picture_models
from charaloom.seeds import derive_seed
from charaloom.tables import FILTERED, VIEW_COLUMNS, read_table, write_table

if TYPE_CHECKING:
    import numpy as np

PathLike = str | os.PathLike[str]
Row = dict[str, Any]
Params = dict[str, Any]
Vectors = dict[str, "np.ndarray"]

RATINGS = ("general", "sensitive", "questionable", "explicit")
ALLOWED_RATINGS = ("general",)  # where the params name none
CLASS_SHARE = 0.5  # of the class model's score that the allowed classes have at least
AI_TAGS = frozenset({"ai-generated", "ai_generated", "ai-assisted", "ai-created"})
COSPLAY = "cosplay"
COSPLAY_ENDING = "_(cosplay)"
HEAD_INSIDE = 0.5  # share of a head's area that must lie in a view for it to count there
HASH_BITS = 64
HASH_TILE = 2048
CLUSTER_SAMPLE = 1000  # views that are clustered at most; all the others are judged by their distance
REFERENCE_SAMPLE = 200  # views of her cluster that every view is compared with at most
HELD_OUT_MINIMUM = 4
THREADS = 1  # of the metric model: part of the code, so that no scheduler decides bits
MEASURED_COLUMNS = (
    *(name for name, _ in VIEW_COLUMNS),
    *("problem", "width", "height", "confidence", "sharpness", "phash", "classes", "monochrome", "rating", "ai"),
    *("generated", "persons", "heads", "faces"),
)


@dataclass
class Reason:
    """A rule that drops a view; score and threshold are None where there is nothing to measure."""

    rule: str
    score: float | None = None
    threshold: float | None = None

    def row(self) -> Row:
        return {"rule": self.rule, "score": self.score, "threshold": self.threshold}


@dataclass
class View:
    """A measured row with what the rules want to know of its picture."""

    row: Row
    picture: Row
    posts: list[Row]
    size: int
    persons: list[Row]
    heads: int = 0  # in this view
    reasons: list[Reason] = field(default_factory=list)
    duplicate_group: str | None = None
    cluster: int = -1
    distance: float | None = None
    split: str | None = None

    @property
    def name(self) -> str:
        return self.row["view"]

    @property
    def is_candidate(self) -> bool:
        """A picture of at most one person, or a person in a picture of several, that could be measured."""
        if self.row["kind"] == "picture":
            return self.row["problem"] is None and len(self.persons) < 2
        return len(self.persons) > 1 and any(self.row is person for person in self.persons)

    @property
    def person_view(self) -> str | None:
        """The person view that shows the same person as this candidate."""
        if self.row["kind"] == "person":
            return self.name
        return self.persons[0]["view"] if self.persons else None

    def tags(self, category: str) -> set[str]:
        return {tag for post in self.posts for tag in post[f"tags_{category}"] or []}


# --- rules about one view


def problem(view: View, params: Params) -> Reason | None:
    return Reason("problem") if view.row["problem"] is not None else None


def not_a_candidate(view: View, params: Params) -> Reason | None:
    """Heads and half bodies never train by themselves; neither do an unsure person and the one of a picture of one."""
    return Reason("not_a_candidate") if view.row["kind"] != "picture" and not view.is_candidate else None


def nobody(view: View, params: Params) -> Reason | None:
    """No person, head or face was detected."""
    seen = len(view.persons) + view.picture["heads"] + view.picture["faces"]
    return Reason("nobody", 0.0, 1.0) if view.row["kind"] == "picture" and not seen else None


def several_people(view: View, params: Params) -> Reason | None:
    """More than one person in the picture, or more than one head in the view."""
    people = max(len(view.persons), view.heads) if view.row["kind"] == "picture" else view.heads
    return Reason("several_people", float(people), 1.0) if people > 1 else None


def rating(view: View, params: Params) -> Reason | None:
    """The strictest rating among its posts is above what is allowed (general 0 … explicit 3)."""
    allowed = max(RATINGS.index(name) for name in params.get("ratings", ALLOWED_RATINGS))
    given = max((RATINGS.index(post["rating"]) for post in view.posts if post["rating"] in RATINGS), default=0)
    return Reason("rating", float(given), float(allowed)) if given > allowed else None


def rating_model(view: View, params: Params) -> Reason | None:
    scores = named(view.picture["rating"])
    return at_least("rating_model", scores.get("r15", 0.0) + scores.get("r18", 0.0), params["rating_model"])


def classes(view: View, params: Params) -> Reason | None:
    """The allowed classes together have less than half of the class model's score."""
    if not params["classes"]:
        return None
    scores = named(view.picture["classes"])
    return below("classes", sum(scores.get(name, 0.0) for name in params["classes"]), CLASS_SHARE)


def monochrome(view: View, params: Params) -> Reason | None:
    return at_least("monochrome", view.picture["monochrome"], params["monochrome"])


def ai_tag(view: View, params: Params) -> Reason | None:
    """Its board says that a program drew it."""
    told = (view.tags("meta") | view.tags("general")) & AI_TAGS
    return Reason("ai_tag", 1.0, 1.0) if told and params["ai"] is not None else None


def ai_parameters(view: View, params: Params) -> Reason | None:
    """The file itself holds the parameters of a generator."""
    return Reason("ai_parameters", 1.0, 1.0) if view.picture["generated"] and params["ai"] is not None else None


def ai(view: View, params: Params) -> Reason | None:
    return at_least("ai", view.picture["ai"], params["ai"])


def short_side(view: View, params: Params) -> Reason | None:
    return below("short_side", min(view.row["width"], view.row["height"]), params["short_side"])


def area(view: View, params: Params) -> Reason | None:
    return below("area", view.row["width"] * view.row["height"], params["area"])


def cosplay(view: View, params: Params) -> Reason | None:
    """Somebody wears somebody else's clothes: she another's, or another hers; tags cannot tell which person of it."""
    tags = view.tags("general") | view.tags("character") | view.tags("meta")
    told = [tag for tag in tags if tag == COSPLAY or tag.endswith(COSPLAY_ENDING)]
    return Reason("cosplay", float(len(told)), 1.0) if told and params["cosplay"] else None


RULES: tuple[Callable[[View, Params], Reason | None], ...] = (
    problem,
    not_a_candidate,
    nobody,
    several_people,
    rating,
    rating_model,
    classes,
    monochrome,
    ai_tag,
    ai_parameters,
    ai,
    short_side,
    area,
    cosplay,
)
FINAL = ("problem", "not_a_candidate")  # nothing else is asked of these views


def at_least(rule: str, score: float | None, threshold: float | None) -> Reason | None:
    if score is None or threshold is None or decided(score) < threshold:
        return None
    return Reason(rule, decided(score), float(threshold))


def below(rule: str, score: float | None, threshold: float | None) -> Reason | None:
    if score is None or threshold is None or decided(score) >= threshold:
        return None
    return Reason(rule, decided(score), float(threshold))


def decided(score: float) -> float:
    """Scores are compared with four decimals: further ones differ between processors."""
    return round(float(score), 4)


def named(scores: list[Row] | None) -> dict[str, float]:
    return {pair["name"]: pair["score"] for pair in scores or []}


def judged(view: View, params: Params) -> list[Reason]:
    reasons = []
    for rule in RULES:
        reason = rule(view, params)
        if reason:
            reasons.append(reason)
            if reason.rule in FINAL:
                break
    return reasons


# --- the stage


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
    boards; see `support` for the default). A threshold that is null switches its rule off.
    Raises CharaloomError where fewer than `identity_minimum` views are hers.
    """
    origin = lineage("filtered", character, params, {"measured": os.fspath(measured_manifest)})
    views = read_views(raw, measured, params)
    for view in views:
        view.reasons = judged(view, params)
    candidates = [view for view in views if view.is_candidate]
    drop_duplicates(candidates, read_vectors(measured, "tag_embedding"), views, params)
    with picture_models(hub, THREADS):
        clusters = drop_others(character, candidates, read_vectors(measured, "ccip"), params)
    kept = [view for view in candidates if not view.reasons]
    hold_out(character, kept, params)
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


def read_views(raw: PathLike, measured: PathLike, params: Params) -> list[View]:
    """All measured views in the order of their names, each with its picture's row, posts and persons."""
    pictures = {row["picture"]: row for row in read_table(raw, ["picture", "size", "posts"])}
    by_picture: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(measured, MEASURED_COLUMNS):
        by_picture[row["picture"]].append(row)
    views = []
    for name, rows in by_picture.items():
        whole = next(row for row in rows if row["kind"] == "picture")
        persons = [row for row in rows if row["kind"] == "person" and sure(row, params)]
        heads = [row for row in rows if row["kind"] == "head"]
        posts, size = pictures[name]["posts"] or [], pictures[name]["size"] or 0
        for row in rows:
            inner = sum(inside(head, row) for head in heads)
            views.append(View(row, whole, posts, size, persons, inner))
    return sorted(views, key=lambda view: view.name)


def sure(person: Row, params: Params) -> bool:
    least = params["person_confidence"]
    return least is None or decided(person["confidence"]) >= least


def inside(head: Row, view: Row) -> bool:
    width = min(head["x1"], view["x1"]) - max(head["x0"], view["x0"])
    height = min(head["y1"], view["y1"]) - max(head["y0"], view["y0"])
    return max(width, 0) * max(height, 0) >= HEAD_INSIDE * head["width"] * head["height"]


def read_vectors(measured: PathLike, column: str) -> Vectors:
    """Vectors of a column by view, as rows of one float32 matrix; views without one are left out."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(measured, columns=["view", column])
    table = table.filter(table.column(column).is_valid())
    if not table.num_rows:
        return {}
    flat = table.column(column).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix = flat.reshape(table.num_rows, -1).astype(np.float32)
    return dict(zip(table.column("view").to_pylist(), matrix, strict=True))


def verdict(view: View) -> Row:
    first = view.reasons[0] if view.reasons else None
    return {
        **{name: view.row[name] for name, _ in VIEW_COLUMNS},
        "verdict": "drop" if first else "keep",
        "rule": first.rule if first else None,
        "score": first.score if first else None,
        "threshold": first.threshold if first else None,
        "reasons": [reason.row() for reason in view.reasons],
        "duplicate_group": view.duplicate_group,
        "identity_cluster": view.cluster,
        "identity_distance": view.distance,
        "split": view.split,
    }


# --- duplicates


def drop_duplicates(candidates: list[View], embeddings: Vectors, views: list[View], params: Params) -> None:
    """Give every candidate its duplicate group, and a reason to all but the best of each.

    Two candidates are the same drawing where the hashes of their pictures, or of their persons (a crop or another frame
    around her), differ in at most `duplicate_distance` bits and their tagger embeddings are alike by
    `duplicate_similarity`: the hash alone merges two drawings of one pose.
    """
    for view in candidates:
        view.duplicate_group = view.name
    if params["duplicate_distance"] is None or len(candidates) < 2:
        return
    hashes = {view.name: view.row["phash"] for view in views if view.row["phash"]}
    groups = components(len(candidates), list(same_drawing(candidates, hashes, embeddings, params)))
    for members in groups:
        twins = [candidates[index] for index in members]
        best = min(twins, key=quality)
        for twin in twins:
            twin.duplicate_group = best.name
            if twin is not best:
                apart = bits_apart(twin, best, hashes)
                twin.reasons.append(Reason("duplicate", apart, float(params["duplicate_distance"])))


def quality(view: View) -> tuple[bool, int, int, float, str]:
    """Sorts the best of a group first: usable, large, least compressed, sharp, and the name where all is equal."""
    row = view.row
    return bool(view.reasons), -row["width"] * row["height"], -view.size, -row["sharpness"], view.name


def same_drawing(
    candidates: list[View], hashes: dict[str, str], embeddings: Vectors, params: Params
) -> Iterable[tuple[int, int]]:
    """Pairs of candidates (by index) that are one drawing, by their own view or by the person in it."""
    for shown in (lambda view: view.name if view.row["kind"] == "picture" else None, lambda view: view.person_view):
        known = [(index, name) for index, view in enumerate(candidates) if (name := shown(view)) in hashes]
        near = near_pairs([hashes[name] for _, name in known], params["duplicate_distance"])
        for one, other in near:
            if alike(embeddings.get(known[one][1]), embeddings.get(known[other][1]), params["duplicate_similarity"]):
                yield known[one][0], known[other][0]


def near_pairs(hashes: list[str], most: int) -> Iterable[tuple[int, int]]:
    """Index pairs of hashes that differ in at most `most` bits: a product of ±1 matrices, tile by tile."""
    import numpy as np

    if not hashes:
        return
    bits = np.unpackbits(np.array([list(bytes.fromhex(text)) for text in hashes], dtype=np.uint8), axis=1)
    signs = bits.astype(np.float32) * 2 - 1
    for top in range(0, len(signs), HASH_TILE):
        for left in range(top, len(signs), HASH_TILE):
            apart = (HASH_BITS - signs[top : top + HASH_TILE] @ signs[left : left + HASH_TILE].T) / 2
            ones, others = np.nonzero(apart <= most)
            for one, other in zip((ones + top).tolist(), (others + left).tolist(), strict=True):
                if one < other:
                    yield one, other


def alike(one: "np.ndarray | None", other: "np.ndarray | None", least: float | None) -> bool:
    """Whether two embeddings point the same way; without a threshold or an embedding the hash decides alone."""
    import numpy as np

    if one is None or other is None or least is None:
        return True
    cosine = float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)
    return decided(cosine) >= least


def components(size: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Connected components with more than one member."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    ones, others = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs)), (ones, others)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels.tolist()):
        groups[label].append(index)
    return [members for members in groups.values() if len(members) > 1]


def bits_apart(one: View, other: View, hashes: dict[str, str]) -> float:
    """The smaller of the bits by which two candidates' own hashes and those of their persons differ."""
    pairs = [(one.name, other.name), (one.person_view, other.person_view)]
    known = [(hashes[a], hashes[b]) for a, b in pairs if a in hashes and b in hashes]
    return float(min((int(a, 16) ^ int(b, 16)).bit_count() for a, b in known))


# --- identity


def drop_others(character: str, candidates: list[View], vectors: Vectors, params: Params) -> list[Row]:
    """Give every candidate its distance to the character and drop the ones that are somebody else.

    What survived the other rules is clustered; hers is the cluster that the boards' tags support most. Every candidate
    is then judged by its median distance to that cluster, which has taken in whoever is near it. Returns the clusters
    found, hers first.
    """
    import numpy as np

    threshold = params["identity"]
    if threshold is None:
        return []
    left = [view for view in candidates if not view.reasons and view.name in vectors]
    least = params["identity_minimum"]
    if len(left) < max(least, 2):
        raise CharaloomError(
            f"{character}: only {len(left)} views of {len(candidates)} candidates passed the rules before identity, "
            f"{least} are needed (filtered.identity_minimum). {blame(candidates)}. Add pictures or relax the rule that "
            f"dropped most."
        )
    sample = shuffled(left)[:CLUSTER_SAMPLE]
    supports = support(left, params.get("tag"), character)
    clusters = clustered(sample, matrix(sample, vectors), supports, threshold)
    for number, members in enumerate(clusters):
        for view in members:
            view.cluster = number
    known = [view for view in candidates if view.name in vectors]
    everybody = matrix(known, vectors)
    hers = clusters[0]
    for _ in range(2):
        references = matrix(shuffled(hers)[:REFERENCE_SAMPLE], vectors)
        for view, distance in zip(known, np.median(differences(everybody, references), axis=1), strict=True):
            view.distance = decided(distance)
        hers = [view for view in left if view.distance <= threshold] or hers
    for view in known:
        if view.distance <= threshold:
            view.cluster = 0 if not view.reasons else view.cluster
        else:
            view.reasons.append(Reason("identity", view.distance, float(threshold)))
    found = [{"views": len(group), "support": supported(group, supports)} for group in clusters]
    kept = sum(not view.reasons for view in known)
    if kept < least:
        raise CharaloomError(
            f"{character}: {kept} views are hers by CCIP (distance at most {threshold}), {least} are needed "
            f"(filtered.identity_minimum). Of {len(left)} views that passed the other rules the clusters hold "
            f"{[group['views'] for group in found[:5]]} views, supported by tags "
            f"{[group['support'] for group in found[:5]]}. Add pictures of her alone, or check her tag."
        )
    return found[:20]


def blame(candidates: list[View]) -> str:
    rules = Counter(view.reasons[0].rule for view in candidates if view.reasons).most_common(4)
    return "Dropped by " + ", ".join(f"{rule} {count}" for rule, count in rules) if rules else "There are no more"


def shuffled(views: list[View]) -> list[View]:
    """An order that has nothing to do with where a view came from: by a digest of its name."""
    return sorted(views, key=lambda view: sha256(view.name.encode()).hexdigest())


def matrix(views: list[View], vectors: Vectors) -> "np.ndarray":
    import numpy as np

    return np.stack([vectors[view.name] for view in views])


def support(views: list[View], tag: str | None, character: str) -> dict[str, float]:
    """How far the boards' tags say that a view is her: 1 where she is the only one tagged, less among others.

    Her tag is `tag`, else the most frequent one that is `character` or a variant of it, else the most frequent of all.
    Without any character tag (a folder of pictures) every view counts the same, and the largest cluster is hers.
    """
    tagged = {view.name: {tag for tag in view.tags("character") if not tag.endswith(COSPLAY_ENDING)} for view in views}
    told = Counter(name for names in tagged.values() for name in names)
    if not told:
        return dict.fromkeys(tagged, 1.0)
    named_so = [name for name in told if name.split("_(")[0] == character] or list(told)
    hers = tag or min(named_so, key=lambda name: (-told[name], name))
    persons = {view.name: max(len(view.persons), 1) for view in views}
    # Tags speak of the whole picture: each person cut from it has only a share of what they say.
    return {
        name: 1.0 / max(people(names, hers), persons[name]) if hers in names else 0.0 for name, names in tagged.items()
    }


def people(names: set[str], hers: str) -> int:
    """How many persons character tags name; `hana_(kimono)` is `hana` in other clothes."""
    stem = hers.split("_(")[0]
    return 1 + sum(name != hers and name.split("_(")[0] != stem for name in names)


def clustered(
    sample: list[View], vectors: "np.ndarray", supports: dict[str, float], threshold: float
) -> list[list[View]]:
    """Groups of one person each by average linkage (a chain of likenesses joins nobody), the best supported first."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = differences(vectors, vectors).round(4).astype(float)
    distances = (distances + distances.T) / 2
    distances[range(len(sample)), range(len(sample))] = 0
    labels = fcluster(linkage(squareform(distances, checks=False), "average"), threshold, "distance")
    groups: dict[int, list[View]] = defaultdict(list)
    for view, label in zip(sample, labels.tolist(), strict=True):
        groups[label].append(view)
    first = {label: min(view.name for view in group) for label, group in groups.items()}
    order = sorted(groups, key=lambda label: (-supported(groups[label], supports), -len(groups[label]), first[label]))
    return [groups[label] for label in order]


def supported(group: list[View], supports: dict[str, float]) -> float:
    return round(sum(supports[view.name] for view in group), 2)


# --- held out


def hold_out(character: str, kept: list[View], params: Params) -> None:
    """Put a seeded share of the kept views aside, whole pictures at a time; duplicates are dropped already, so no twin
    of a training view is among them."""
    wanted = min(max(HELD_OUT_MINIMUM, round(params["held_out"] * len(kept))), len(kept) // 2)
    seed = derive_seed(params["seed"], character, "held_out")
    by_picture: dict[str, list[View]] = defaultdict(list)
    for view in kept:
        by_picture[view.row["picture"]].append(view)
    order = sorted(by_picture, key=lambda name: sha256(f"{seed}/{name}".encode()).hexdigest())
    held = 0
    for name in order:
        aside = held < wanted
        held += len(by_picture[name]) * aside
        for view in by_picture[name]:
            view.split = "held_out" if aside else "train"
