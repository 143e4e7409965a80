"""Identity: which candidates show the character, decided over all of them at once by CCIP distance and traits.

The views that passed the rules before are clustered; the character's cluster is the one that reference pictures or the
boards' tags support most. Every candidate is then judged by its median distance to that cluster, after the cluster took
in the views near it, and by what `evidence` adds. Where another cluster has nearly as much support, the run stops and
shows both.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Filtered
from charaloom.curation.evidence import judged_with_traits
from charaloom.curation.rules import RULES, record_score
from charaloom.curation.views import Vectors, View
from charaloom.errors import CharaloomError
from charaloom.images.files import normalised
from charaloom.tagging.vocabulary import COSPLAY_ENDING
from charaloom.vision.ccip import CcipMetric

if TYPE_CHECKING:
    import numpy as np

# All set by hand.
CLUSTER_SAMPLE = 1000  # views that are clustered at most; the others are judged by their distance alone
REFERENCE_SAMPLE = 200  # views of the character's cluster that every view is compared with at most
RIVAL_SUPPORT = 0.8  # share of the character's support from which another cluster stops the run
NOTED_SUPPORT = 0.25  # share of the character's support from which the log names another cluster
CLUSTERS_LISTED = 20  # in the manifest


def drop_others(
    character: str,
    candidates: list[View],
    vectors: Vectors,
    metric: CcipMetric,
    params: Filtered,
    measured: PathLike,
) -> list[Row]:
    """Set the distance of every candidate to the character, and drop the candidates that show somebody else.

    Returns the clusters, the character's first. Raises CharaloomError where fewer than `params.identity_minimum` views
    show the character, and where another cluster has nearly as much support.
    """
    threshold, minimum = params.identity, params.identity_minimum
    if threshold is None:
        return []
    passed = [view for view in candidates if not view.reasons and view.name in vectors]
    if len(passed) < max(minimum, 2):
        raise CharaloomError(
            f"{character}: only {len(passed)} views of {len(candidates)} candidates passed the rules before identity, "
            f"{minimum} are needed (filtered.identity_minimum). {dropped_by(candidates)}. Add pictures or relax the "
            f"rule that dropped most."
        )
    referenced = reference_support(passed, params.references)
    supports = referenced or tag_support(passed, params.tag, character)
    sample = shuffled(passed)[:CLUSTER_SAMPLE]
    embeddings = matrix(sample, vectors)
    clusters = clustered(sample, metric.differences(embeddings, embeddings), supports, threshold)
    for number, members in enumerate(clusters):
        for view in members:
            view.cluster = number
    embedded = [view for view in candidates if view.name in vectors]
    measure_distances(embedded, passed, clusters[0], vectors, metric, threshold)
    check_rivals(character, clusters, supports, threshold)
    named = any(view.tags("character") for view in embedded)
    believed = tag_support(embedded, params.tag, character) if named else None
    scores = judged_with_traits(embedded, believed, measured, threshold).tolist()
    for view, score in zip(embedded, scores, strict=True):
        # Nothing but CCIP speaks against a picture that the user named.
        judged = min(score, view.distance or 0.0) if (referenced or {}).get(view.name) else score
        if judged <= threshold and not view.reasons:
            view.cluster = 0
        record_score(view, RULES["identity"], judged, threshold)
    listed = [{"views": len(group), "support": supported(group, supports)} for group in clusters]
    kept = sum(not view.reasons for view in embedded)
    if kept < minimum:
        raise CharaloomError(
            f"{character}: {kept} views show the character by CCIP (distance at most {threshold}) and traits, "
            f"{minimum} are needed (filtered.identity_minimum). Of {len(passed)} views that passed the other rules the "
            f"clusters hold "
            f"{[group['views'] for group in listed[:5]]} views, supported by tags "
            f"{[group['support'] for group in listed[:5]]}. Add pictures of the character alone, or check their tag."
        )
    return listed[:CLUSTERS_LISTED]


def drop_other_persons(
    character: str,
    candidates: list[View],
    vectors: Vectors,
    metric: CcipMetric,
    params: Filtered,
    measured: PathLike,
) -> list[Row]:
    """Where every picture shows the character, judge only the persons cut from pictures of several: by their distance
    to the pictures of one person. Without such a picture, as `drop_others`."""
    threshold = params.identity
    embedded = [view for view in candidates if view.name in vectors]
    trusted = [view for view in embedded if view.row["kind"] == "picture" and not view.reasons]
    if threshold is None:
        return []
    if not trusted:
        return drop_others(character, candidates, vectors, metric, params, measured)
    measure_distances(embedded, trusted, trusted, vectors, metric, threshold)
    for view in embedded:
        of_several = view.row["kind"] == "person"
        record_score(view, RULES["identity"], view.distance or 0.0, threshold if of_several else None)
        if not view.reasons:
            view.cluster = 0
    return [{"views": len(trusted), "support": float(len(trusted))}]


def measure_distances(
    views: list[View], passed: list[View], cluster: list[View], vectors: Vectors, metric: CcipMetric, threshold: float
) -> None:
    """Set the median distance of every view to the character's cluster.

    It is measured twice: to `cluster`, then to all `passed` views that are near it.
    """
    import numpy as np

    embeddings = matrix(views, vectors)
    for _ in range(2):
        references = matrix(shuffled(cluster)[:REFERENCE_SAMPLE], vectors)
        medians = np.median(metric.differences(embeddings, references), axis=1)
        for view, distance in zip(views, medians, strict=True):
            view.distance = rounded(distance)
        cluster = [view for view in passed if view.distance is not None and view.distance <= threshold] or cluster


def check_rivals(character: str, clusters: list[list[View]], supports: dict[str, float], threshold: float) -> None:
    """Raise CharaloomError where somebody else's cluster has nearly as much support as the character's."""
    support = supported(clusters[0], supports)
    rivals = [
        group
        for group in clusters[1:]
        if sum(view.distance is not None and view.distance > threshold for view in group) > len(group) / 2
    ]
    for group in rivals[:3]:
        rival_support = supported(group, supports)
        if support and rival_support >= RIVAL_SUPPORT * support and len(group) > 1:
            raise CharaloomError(
                f"{character}: two persons have the character's tag about equally often: {len(clusters[0])} views "
                f"(support {support}, for example picture {example(clusters[0])}) and {len(group)} views (support "
                f"{rival_support}, for example {example(group)}). Name pictures of the character in "
                f"`filtered.references` of their own config file (characters/{character}.yaml beside the roster), by "
                f"SHA-256 or <site>:<post id>, or a folder of such pictures."
            )
        if support and rival_support >= NOTED_SUPPORT * support:
            print(
                f"{character}: another person has the character's tag, too: {len(group)} views, for example "
                f"{example(group)}",
                file=sys.stderr,
            )


def example(group: list[View]) -> str:
    return min(view.row["picture"] for view in group)


def dropped_by(candidates: list[View]) -> str:
    """The rules that dropped most candidates, for an error message."""
    rules = Counter(view.reasons[0].rule for view in candidates if view.reasons).most_common(4)
    return "Dropped by " + ", ".join(f"{rule} {count}" for rule, count in rules) if rules else "There are no more"


def shuffled(views: Iterable[View]) -> list[View]:
    """The views by a digest of their names: an order that has nothing to do with their source."""
    return sorted(views, key=lambda view: sha256(view.name.encode()).hexdigest())


def matrix(views: list[View], vectors: Vectors) -> "np.ndarray":
    import numpy as np

    return np.stack([vectors[view.name] for view in views])


# --- support: how surely a view shows the character, 0 to 1


def reference_support(views: list[View], references: Iterable[str]) -> dict[str, float] | None:
    """1 for the views of reference pictures (SHA-256 or `<site>:<post id>`), else 0; None where no view is of one."""
    wanted = set(map(normalised, references))
    supports = {view.name: float(not wanted.isdisjoint(ids_of(view))) for view in views}
    missing = sorted(wanted.difference(*map(ids_of, views)))
    if missing:
        print(
            f"filtered.references: {len(missing)} of {len(wanted)} are no picture that passed the rules before "
            f"`identity`, first {missing[0]}: curation.html says which rule dropped it",
            file=sys.stderr,
        )
    return supports if any(supports.values()) else None


def ids_of(view: View) -> list[str]:
    """By what the config may name the picture of a view."""
    return [view.row["picture"], *(normalised(f"{post['site']}:{post['post_id']}") for post in view.posts)]


def tag_support(views: list[View], tag: str | None, character: str) -> dict[str, float]:
    """1 where the boards' tags name the character alone, less among others, 0 where they do not name them.

    The character's tag is `tag`, else the most frequent one that is `character` or a variant of it, else the most
    frequent of all. Without any character tag (a folder of pictures) every view counts 1: the largest cluster wins.
    """
    tagged = {view.name: {tag for tag in view.tags("character") if not tag.endswith(COSPLAY_ENDING)} for view in views}
    frequencies = Counter(name for names in tagged.values() for name in names)
    if not frequencies:
        return dict.fromkeys(tagged, 1.0)
    variants = [name for name in frequencies if name.split("_(")[0] == character] or list(frequencies)
    own_tag = tag or min(variants, key=lambda name: (-frequencies[name], name))
    persons = {view.name: max(len(view.persons), 1) for view in views}
    # Tags describe the whole picture: each person cut from it has only a share of the support.
    return {
        view: 1.0 / max(people(names, own_tag), persons[view]) if own_tag in names else 0.0
        for view, names in tagged.items()
    }


def people(names: set[str], own_tag: str) -> int:
    """How many persons the character tags name; `hana_(kimono)` is `hana` in other clothes."""
    stem = own_tag.split("_(")[0]
    return 1 + sum(name != own_tag and name.split("_(")[0] != stem for name in names)


def clustered(
    sample: list[View], distances: "np.ndarray", supports: dict[str, float], threshold: float
) -> list[list[View]]:
    """Groups of one person each, from the distances [n, n] of a sample, most support first.

    By average linkage: a chain of similar views does not join two persons.
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
