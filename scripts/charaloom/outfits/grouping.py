"""Which views wear the same: groups by the density of their `features`, how stable a group is, a map of all views.

Single tags are often missing or wrong, so views are compared by their neighbourhoods: mean shift (Fukunaga & Hostetler
1975) moves each to the mean of its nearest neighbours, a few times over, until the dense places stand apart; average
linkage separates these. Their number is not preset. A view then goes to the outfit it is nearest to, or to none.
Figures and what was tried instead: docs/outfits.md.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

# Set by hand; docs/outfits.md has what they reach on simulated boards and demo worlds.
NEIGHBOURS = 8  # views that a shift averages
SHIFTS = 3
LINKAGE = 0.65  # average distance of neighbourhoods up to which two groups are one outfit
LEAST_ALIKE = 0.15  # mean cosine with an outfit's views below which a view is left unassigned …
LEAST_SHARE = 0.35  # … and the share that this is of what the outfit's own views have
ROUNDS = 3  # of sending every view to its nearest outfit
DECIMALS = 4  # of cosines and distances: the number of threads changes the last bits of a product
BLOCK = 1024  # rows of a table of cosines made at once
MAP_LEAST = 4  # views that a map needs


def similarities(directions: "np.ndarray") -> "np.ndarray":
    """Cosines [n, n] as float32, rounded to DECIMALS, from directions [n, d]."""
    import numpy as np

    table = np.empty((len(directions), len(directions)), np.float32)
    for start in range(0, len(directions), BLOCK):
        table[start : start + BLOCK] = (directions[start : start + BLOCK] @ directions.T).round(DECIMALS)
    return table


# --- groups


def group(alike: "np.ndarray", least: int, neighbours: int = NEIGHBOURS) -> "np.ndarray":
    """Group number of every view, -1 for none, from cosines [n, n]; groups have `least` views or more. A shift averages
    `neighbours` views: with more than a group has, it is drawn into another.

    A view without clothes has cosine 0 with itself and belongs to none.
    """
    import numpy as np

    labels = np.full(len(alike), -1)
    shown = np.flatnonzero(alike.diagonal() > 0)
    if len(shown) < 2:
        return labels
    among = alike if len(shown) == len(alike) else alike[np.ix_(shown, shown)]
    numbers = dense_places(among, neighbours)
    for _ in range(ROUNDS):
        numbers = to_the_nearest(among, numbers, least)
    labels[shown] = without_small(numbers, least)
    return labels


def dense_places(alike: "np.ndarray", neighbours: int) -> "np.ndarray":
    """Group number of every view by average linkage of their neighbourhoods."""
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage

    means = neighbourhoods(alike, neighbours)
    between = (means @ (means @ alike).T).astype(np.float32, copy=False)
    lengths = np.sqrt(np.maximum(between.diagonal(), 1e-9)).astype(np.float32)
    between /= lengths[:, None]
    between /= lengths[None, :]
    upper = np.concatenate([between[index, index + 1 :] for index in range(len(between))])
    distances = (1 - upper.astype(np.float64)).round(DECIMALS).clip(0, 2)
    return fcluster(linkage(distances, "average"), LINKAGE, "distance")


def neighbourhoods(alike: "np.ndarray", neighbours: int) -> "csr_matrix":
    """[n, n], rows sum to 1: of which views a view's place is the mean after the shifts."""
    import numpy as np
    from scipy.sparse import csr_matrix

    number, most = len(alike), min(neighbours, len(alike))
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


def to_the_nearest(alike: "np.ndarray", labels: "np.ndarray", least: int) -> "np.ndarray":
    """Send every view to the group whose other views it is most like on average, or to none (-1)."""
    import numpy as np

    kept = [number for number, size in sorted(Counter(labels[labels >= 0].tolist()).items()) if size >= least]
    if not kept:
        return np.full(len(labels), -1)
    like = np.array([mean_without_itself(alike, labels == number) for number in kept]).round(DECIMALS)
    bounds = [LEAST_SHARE * np.median(row[labels == number]) for row, number in zip(like, kept, strict=True)]
    best = like.argmax(axis=0)
    enough = like.max(axis=0) >= np.maximum(np.array(bounds).round(DECIMALS)[best], LEAST_ALIKE)
    return np.where(enough, np.array(kept)[best], -1)


def mean_without_itself(alike: "np.ndarray", members: "np.ndarray") -> "np.ndarray":
    """Mean cosine [n] of every view with the members, itself left out."""
    import numpy as np

    total = alike[:, members].sum(axis=1, dtype=np.float64) - np.where(members, alike.diagonal(), 0)
    return total / np.maximum(members.sum() - members, 1)


def without_small(labels: "np.ndarray", least: int) -> "np.ndarray":
    import numpy as np

    sizes = Counter(labels.tolist())
    return np.array([number if sizes[number] >= least else -1 for number in labels.tolist()])


def members_of(labels: "np.ndarray") -> list[list[int]]:
    """Members of every group, the largest first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels.tolist()):
        if label >= 0:
            groups[label].append(index)
    return sorted(groups.values(), key=lambda members: (-len(members), members))


# --- how stable a group is


def stabilities(
    views: int,
    groups: list[list[int]],
    regroup: "Callable[[np.ndarray], np.ndarray]",
    resamples: int,
    share: float,
    most: int,
    seed: int,
) -> list[float]:
    """For every group of so many `views` the mean Jaccard index with its best match among the groups of seeded
    resamples, each of a `share` of the views and of `most` at most. `regroup` groups the views of these indices."""
    import numpy as np

    rng = np.random.default_rng(seed)
    size = min(max(round(share * views), 1), most)
    scores: list[list[float]] = [[] for _ in groups]
    for _ in range(resamples):
        chosen = np.sort(rng.choice(views, size, replace=False))
        labels = regroup(chosen)
        candidates = [labels == number for number in sorted(set(labels.tolist()) - {-1})]
        for members, indices in zip(groups, scores, strict=True):
            inside = np.isin(chosen, members)
            indices.append(max((jaccard(inside, candidate) for candidate in candidates), default=0.0))
    return [round(float(np.mean(indices)), DECIMALS) if indices else 1.0 for indices in scores]


def jaccard(first: "np.ndarray", second: "np.ndarray") -> float:
    """Jaccard index of two sets, as masks [n]."""
    return float((first & second).sum() / max((first | second).sum(), 1))


# --- a map of all views


def plane(alike: "np.ndarray", seed: int) -> "np.ndarray":
    """Places [n, 2] of the views within -1..1, alike ones side by side (t-SNE on distances, van der Maaten & Hinton
    2008); in one thread, since the number of threads changes its sums."""
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
