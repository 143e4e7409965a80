"""Which views wear the same: distances between views by their clothes alone, groups by density, how steady a group is.

A view is what it wears: tags of clothes, rare ones weighing more, a coloured piece also counting as the plain one; and
what the tagger's embedding tells beyond all other tags, so that identity, pose, framing and background have no say.

Single tags are often missing or wrong, so views are compared by their neighbourhoods: each is drawn to the mean of its
nearest neighbours, a few times over (mean shift, Fukunaga & Hostetler 1975), until the dense places stand apart, and
these are told from each other by average linkage. Their number is not preset. A view then goes to the outfit it is
nearest to, or to none. Figures and what was tried instead: docs/outfits.md.
"""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

NEIGHBOURS = 8
SHIFTS = 3
LINKAGE = 0.65  # average distance of neighbourhoods up to which two groups are one outfit
LEAST_ALIKE = 0.15  # mean cosine with an outfit's views below which a view is left unassigned …
LEAST_SHARE = 0.35  # … and the share that this is of what the outfit's own views have
ROUNDS = 3  # of sending every view to its nearest outfit
DECIMALS = 4  # that decide: threads change the last bits of a product
BLOCK = 1024  # rows of a similarity table made at once
MAP_LEAST = 4  # views that a map needs


def similarities(directions: "np.ndarray") -> "np.ndarray":
    """Cosines [n, n] as float32, by so many decimals as decide."""
    import numpy as np

    table = np.empty((len(directions), len(directions)), np.float32)
    for start in range(0, len(directions), BLOCK):
        table[start : start + BLOCK] = (directions[start : start + BLOCK] @ directions.T).round(DECIMALS)
    return table


# --- groups


def group(alike: "np.ndarray", least: int) -> "np.ndarray":
    """Group number of every view, -1 for none, from cosines [n, n]; numbers say nothing by themselves.

    A view that is not even like itself shows no clothes and belongs to none.
    """
    import numpy as np

    labels = np.full(len(alike), -1)
    shown = np.flatnonzero(alike.diagonal() > 0)
    if len(shown) < 2:
        return labels
    among = alike if len(shown) == len(alike) else alike[np.ix_(shown, shown)]
    found = dense_places(among)
    for _ in range(ROUNDS):
        found = to_the_nearest(among, found, least)
    labels[shown] = without_small(found, least)
    return labels


def dense_places(alike: "np.ndarray") -> "np.ndarray":
    """Group number of every view by average linkage of their neighbourhoods."""
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage

    means = neighbourhoods(alike)
    between = (means @ (means @ alike).T).astype(np.float32, copy=False)
    lengths = np.sqrt(np.maximum(between.diagonal(), 1e-9)).astype(np.float32)
    between /= lengths[:, None]
    between /= lengths[None, :]
    upper = np.concatenate([between[index, index + 1 :] for index in range(len(between))])
    distances = (1 - upper.astype(np.float64)).round(DECIMALS).clip(0, 2)
    return fcluster(linkage(distances, "average"), LINKAGE, "distance")


def neighbourhoods(alike: "np.ndarray") -> "csr_matrix":
    """[n, n], rows sum to 1: of which views a view's place is the mean, once it was drawn to its neighbours."""
    import numpy as np
    from scipy.sparse import csr_matrix

    number, most = len(alike), min(NEIGHBOURS, len(alike))
    means = csr_matrix((np.ones(number, np.float32), (np.arange(number), np.arange(number))), (number, number))
    for _ in range(SHIFTS):
        nearest = np.concatenate(
            [most_alike((means[start : start + BLOCK] @ alike), most) for start in range(0, number, BLOCK)]
        )
        rows = np.repeat(np.arange(number), most)
        means = csr_matrix((np.full(len(rows), 1 / most, np.float32), (rows, nearest.ravel())), (number, number))
    return means


def most_alike(rows: "np.ndarray", most: int) -> "np.ndarray":
    """Columns of the largest numbers of each row, the first of equal ones, in ascending order."""
    import numpy as np

    # Number and column in one integer: no tie is left to the way numpy partitions, and the column comes back with it.
    width = rows.shape[1]
    keys = np.rint(rows * -(10**DECIMALS)).astype(np.int64) * width + np.arange(width)
    return np.sort(np.partition(keys, most - 1, axis=1)[:, :most] % width, axis=1)


def to_the_nearest(alike: "np.ndarray", found: "np.ndarray", least: int) -> "np.ndarray":
    """Send every view to the group whose other views it is most like on average, or to none (-1)."""
    import numpy as np

    kept = [number for number, size in sorted(Counter(found[found >= 0].tolist()).items()) if size >= least]
    if not kept:
        return np.full(len(found), -1)
    like = np.array([mean_without_itself(alike, found == number) for number in kept]).round(DECIMALS)
    asked = [LEAST_SHARE * np.median(own[found == number]) for own, number in zip(like, kept, strict=True)]
    best = like.argmax(axis=0)
    enough = like.max(axis=0) >= np.maximum(np.array(asked).round(DECIMALS)[best], LEAST_ALIKE)
    return np.where(enough, np.array(kept)[best], -1)


def mean_without_itself(alike: "np.ndarray", members: "np.ndarray") -> "np.ndarray":
    """How much every view is like the members on average; a member like the others."""
    import numpy as np

    total = alike[:, members].sum(axis=1, dtype=np.float64) - np.where(members, alike.diagonal(), 0)
    return total / np.maximum(members.sum() - members, 1)


def without_small(found: "np.ndarray", least: int) -> "np.ndarray":
    import numpy as np

    sizes = Counter(found.tolist())
    return np.array([number if sizes[number] >= least else -1 for number in found.tolist()])


def members_of(labels: "np.ndarray") -> list[list[int]]:
    """Members of every group, the largest first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels.tolist()):
        if label >= 0:
            groups[label].append(index)
    return sorted(groups.values(), key=lambda members: (-len(members), members))


# --- how steady a group is


def stabilities(
    alike: "np.ndarray", groups: list[list[int]], least: int, resamples: int, share: float, most: int, seed: int
) -> list[float]:
    """For every group the mean Jaccard index with its best match among the groups of seeded resamples, each of a
    `share` of the views and of `most` at most."""
    import numpy as np

    rng = np.random.default_rng(seed)
    size = min(max(round(share * len(alike)), 1), most)
    scores: list[list[float]] = [[] for _ in groups]
    for _ in range(resamples):
        chosen = np.sort(rng.choice(len(alike), size, replace=False))
        labels = group(alike[np.ix_(chosen, chosen)], least)
        found = [labels == number for number in sorted(set(labels.tolist()) - {-1})]
        for members, own in zip(groups, scores, strict=True):
            inside = np.isin(chosen, members)
            own.append(max((jaccard(inside, other) for other in found), default=0.0))
    return [round(float(np.mean(own)), DECIMALS) if own else 1.0 for own in scores]


def jaccard(one: "np.ndarray", other: "np.ndarray") -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


# --- a map of all views


def plane(alike: "np.ndarray", seed: int) -> "np.ndarray":
    """Places [n, 2] of the views within -1..1, alike ones side by side (t-SNE on distances, van der Maaten & Hinton
    2008); one thread, since its sums decide."""
    import numpy as np
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(alike) < MAP_LEAST:
        return np.zeros((len(alike), 2))
    distances = (1 - alike).clip(0, 2)
    np.fill_diagonal(distances, 0)
    perplexity = min(30.0, (len(alike) - 1) / 3)
    with threadpool_limits(1):
        places = TSNE(2, perplexity=perplexity, metric="precomputed", init="random", random_state=seed).fit_transform(
            distances
        )
    centred = places - places.mean(axis=0)
    return (centred / max(float(np.abs(centred).max()), 1e-9)).round(3)
