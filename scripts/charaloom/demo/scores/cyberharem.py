"""What CyberHarem does, rebuilt from its description to compare with; only `charaloom score` runs it.

Its code is not read (AGPL); its steps and numbers are those of its documentation and of waifuc's.
"""

from typing import TYPE_CHECKING

from charaloom.artifacts.types import Row

if TYPE_CHECKING:
    import numpy as np


# Numbers of its documentation and of waifuc's.
SAMPLES = 5  # min_samples of OPTICS, for outfits and for identity
FIRST = 15  # candidates before the first clustering
STEP = 5  # candidates between clusterings, and accepted ones between new looks at the rejected
CLUSTER_SHARE = 0.6  # of what is no noise, that the largest cluster has to have
CONSISTENT = 0.3  # share of the cluster that a member has to be the same person as
ACCEPT = 0.5  # share of the accepted that a new candidate has to be the same person as


def by_optics(views: list[Row]) -> "np.ndarray":
    """Its outfits: OPTICS on the one-hot vectors of all tags that are not core tags, cosine distance, xi 0.01."""
    import warnings

    import numpy as np
    from sklearn.cluster import OPTICS

    names = sorted({tag["name"] for view in views for tag in view["tags"]})
    column = {name: index for index, name in enumerate(names)}
    table = np.zeros((len(views), len(names)))
    for index, view in enumerate(views):
        table[index, [column[tag["name"]] for tag in view["tags"]]] = 1
    if len(views) < SAMPLES:
        return np.full(len(views), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal views: it divides by a reachability of 0
        return OPTICS(metric="cosine", min_samples=SAMPLES, xi=0.01).fit_predict(table)


def streamed(distances: "np.ndarray", threshold: float) -> list[int]:
    """Its identity filter: which candidates it accepts, in the order in which they come.

    `distances` [n, n] by CCIP, in the order of arrival. It waits for 15 candidates, clusters them, takes the largest
    cluster as the character if it holds 60 % of them, and from then on accepts whoever is the same person as half of
    those it accepted so far. Who comes first decides.
    """
    same = distances <= threshold
    accepted: list[int] = []
    waiting: list[int] = []
    for index in range(len(distances)):
        if accepted and same[index, accepted].mean() >= ACCEPT:
            accepted.append(index)
        else:
            waiting.append(index)
        if not accepted and len(waiting) >= FIRST and (len(waiting) - FIRST) % STEP == 0:
            accepted = first_cluster(distances, same, waiting)
            waiting = [candidate for candidate in waiting if candidate not in accepted]
        elif accepted and len(accepted) % STEP == 0:
            again = [candidate for candidate in waiting if same[candidate, accepted].mean() >= ACCEPT]
            accepted += again
            waiting = [candidate for candidate in waiting if candidate not in again]
    return sorted(accepted)


def first_cluster(distances: "np.ndarray", same: "np.ndarray", waiting: list[int]) -> list[int]:
    """The largest cluster of the first candidates, without members that are like few of it; none where it is small."""
    import warnings

    import numpy as np
    from sklearn.cluster import OPTICS

    among = distances[np.ix_(waiting, waiting)].clip(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        labels = OPTICS(max_eps=0.5, min_samples=SAMPLES, metric="precomputed").fit_predict(among)
    sizes = {label: int((labels == label).sum()) for label in set(labels.tolist()) - {-1}}
    if not sizes:
        return []
    best = min(sizes, key=lambda label: (-sizes[label], label))
    if sizes[best] < CLUSTER_SHARE * sum(sizes.values()):
        return []
    members = [index for index, label in zip(waiting, labels.tolist(), strict=True) if label == best]
    return [index for index in members if same[index, members].mean() >= CONSISTENT]
