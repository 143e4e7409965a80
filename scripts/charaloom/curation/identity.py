"""Identity: which of all candidates are her, decided over all of them at once by CCIP distance.

What survived the other rules is clustered; hers is the cluster that reference pictures or the boards' tags support
most. Every candidate is then judged by its median distance to that cluster, which has taken in whoever is near it.
Where another cluster is supported nearly as well, nobody guesses: the run stops and shows both.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING

from charaloom.artifacts.types import Row
from charaloom.curation.rules import RULES, note
from charaloom.curation.views import Params, Vectors, View, decided
from charaloom.errors import CharaloomError
from charaloom.tagging.vocabulary import COSPLAY_ENDING
from charaloom.vision.ccip import CcipMetric

if TYPE_CHECKING:
    import numpy as np

CLUSTER_SAMPLE = 1000  # views that are clustered at most; all the others are judged by their distance
REFERENCE_SAMPLE = 200  # views of her cluster that every view is compared with at most
AS_MUCH = 0.8  # share of her cluster's support at which a second person's is a question for the user
CLUSTERS_TOLD = 20


def drop_others(
    character: str, candidates: list[View], vectors: Vectors, metric: CcipMetric, params: Params
) -> list[Row]:
    """Give every candidate its distance to the character and drop the ones that are somebody else.

    Returns the clusters found, hers first. Raises CharaloomError where fewer than `identity_minimum` views are hers,
    and where it cannot be told which of two persons she is.
    """
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
    supports = anchored(left, params) or support(left, params.get("tag"), character)
    sample = shuffled(left)[:CLUSTER_SAMPLE]
    sampled = matrix(sample, vectors)
    clusters = clustered(sample, metric.differences(sampled, sampled), supports, threshold)
    for number, members in enumerate(clusters):
        for view in members:
            view.cluster = number
    known = [view for view in candidates if view.name in vectors]
    measure_distances(known, left, clusters[0], vectors, metric, threshold)
    check_that_it_is_her(character, clusters, supports, threshold)
    for view in known:
        if view.distance is not None and view.distance <= threshold and not view.reasons:
            view.cluster = 0
        note(view, RULES["identity"], view.distance or 0.0, threshold)
    found = [{"views": len(group), "support": supported(group, supports)} for group in clusters]
    kept = sum(not view.reasons for view in known)
    if kept < least:
        raise CharaloomError(
            f"{character}: {kept} views are hers by CCIP (distance at most {threshold}), {least} are needed "
            f"(filtered.identity_minimum). Of {len(left)} views that passed the other rules the clusters hold "
            f"{[group['views'] for group in found[:5]]} views, supported by tags "
            f"{[group['support'] for group in found[:5]]}. Add pictures of her alone, or check her tag."
        )
    return found[:CLUSTERS_TOLD]


def measure_distances(
    known: list[View], left: list[View], hers: list[View], vectors: Vectors, metric: CcipMetric, threshold: float
) -> None:
    """Median distance of every view to her cluster, which takes in whoever is near it once."""
    import numpy as np

    everybody = matrix(known, vectors)
    for _ in range(2):
        references = matrix(shuffled(hers)[:REFERENCE_SAMPLE], vectors)
        for view, distance in zip(known, np.median(metric.differences(everybody, references), axis=1), strict=True):
            view.distance = decided(distance)
        hers = [view for view in left if view.distance is not None and view.distance <= threshold] or hers


def check_that_it_is_her(
    character: str, clusters: list[list[View]], supports: dict[str, float], threshold: float
) -> None:
    """Stop where a cluster that is somebody else has nearly as much support as hers; tell of smaller ones."""
    hers = supported(clusters[0], supports)
    strangers = [
        group
        for group in clusters[1:]
        if sum(view.distance is not None and view.distance > threshold for view in group) > len(group) / 2
    ]
    for group in strangers[:3]:
        own = supported(group, supports)
        if hers and own >= AS_MUCH * hers and len(group) > 1:
            raise CharaloomError(
                f"{character}: two persons have her tag about equally often: {len(clusters[0])} views (support {hers}, "
                f"for example picture {example(clusters[0])}) and {len(group)} views (support {own}, for example "
                f"{example(group)}). Name pictures of her in `filtered.references` of her own config file "
                f"(config/characters/{character}.yaml), by SHA-256 or <site>:<post id>."
            )
        if hers and own >= hers / 4:
            print(
                f"{character}: another person has her tag, too: {len(group)} views, for example {example(group)}",
                file=sys.stderr,
            )


def example(group: list[View]) -> str:
    return min(view.row["picture"] for view in group)


def blame(candidates: list[View]) -> str:
    rules = Counter(view.reasons[0].rule for view in candidates if view.reasons).most_common(4)
    return "Dropped by " + ", ".join(f"{rule} {count}" for rule, count in rules) if rules else "There are no more"


def shuffled(views: Iterable[View]) -> list[View]:
    """An order that has nothing to do with where a view came from: by a digest of its name."""
    return sorted(views, key=lambda view: sha256(view.name.encode()).hexdigest())


def matrix(views: list[View], vectors: Vectors) -> "np.ndarray":
    import numpy as np

    return np.stack([vectors[view.name] for view in views])


# --- how far it is known that a view is her


def anchored(views: list[View], params: Params) -> dict[str, float] | None:
    """1 for the pictures that the config names as her, by SHA-256 or `<site>:<post id>`; None where it names none."""
    wanted = set(params.get("references") or [])
    found = {view.name: float(not wanted.isdisjoint(names_of(view))) for view in views}
    return found if any(found.values()) else None


def names_of(view: View) -> list[str]:
    return [view.row["picture"], *(f"{post['site']}:{post['post_id']}" for post in view.posts)]


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
    sample: list[View], distances: "np.ndarray", supports: dict[str, float], threshold: float
) -> list[list[View]]:
    """Groups of one person each, from the distances [n, n] of a sample, the best supported first.

    By average linkage: a chain of likenesses joins nobody.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = distances.round(4).astype(float)
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
