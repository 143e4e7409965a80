"""Duplicates: the same drawing re-encoded, resized, cropped or posted elsewhere; the best of each group stays.

Pictures that may be one drawing are proposed cheaply, by their perceptual hashes and tagger embeddings, and proved by
laying the one over the other: stored grey thumbnails, the smaller frame searched in the larger at every place and
scale. The score is their correlation where they fit best, times one less the difference of the part that differs most:
two drawings of one pose and outfit share hash, tags and outline, but not every part.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from charaloom.artifacts.types import PathLike
from charaloom.curation.rules import RULES, note
from charaloom.curation.views import Params, Vectors, View, decided, read_vectors
from charaloom.images.boxes import shared
from charaloom.images.overlay import NEIGHBOURS, Fit, fitted, in_pixels, read_thumbnails

if TYPE_CHECKING:
    import numpy as np

HASH_BITS = 64
TILE = 512  # rows compared at once: memory is one tile of all pairs
SAME_PERSON = 0.5  # intersection over union of two persons' boxes, laid over each other
WORN = frozenset(
    {"upscaled", "resized", "jpeg_artifacts", "scan_artifacts", "duplicate", "md5_mismatch", "cropped", "lowres"}
)  # what boards say of copies


def drop_duplicates(candidates: list[View], measured: PathLike, params: Params) -> None:
    """Give every candidate its duplicate group, and a reason to all but the best of each."""
    for view in candidates:
        view.duplicate_group = view.name
    threshold = params["duplicate"]
    by_picture: dict[str, list[View]] = defaultdict(list)
    for view in candidates:
        by_picture[view.row["picture"]].append(view)
    if threshold is None or len(by_picture) < 2:
        return
    wholes = {name: views[0].picture for name, views in sorted(by_picture.items())}
    edges: dict[tuple[str, str], float] = {}
    for one, other, fit in same_drawings(wholes, measured, params):
        for a, b in twins(by_picture[one], by_picture[other], fit):
            edges[a.name, b.name] = fit.score
    scores: dict[str, float] = defaultdict(float)
    for names, score in edges.items():
        for name in names:
            scores[name] = max(scores[name], score)
    for group in components(candidates, edges):
        best = min(group, key=quality)
        for view in group:
            view.duplicate_group = best.name
            if view is not best:
                note(view, RULES["duplicate"], scores[view.name], threshold)


def quality(view: View) -> tuple[bool, int, int, int, float, str]:
    """Sorts the best of a group first: usable, unworn, large, least compressed, sharp; the name where all is equal."""
    row = view.row
    worn = len(view.tags("meta") & WORN)
    return bool(view.reasons), worn, -row["width"] * row["height"], -view.size, -row["sharpness"], view.name


def twins(ones: list[View], others: list[View], fit: Fit) -> Iterator[tuple[View, View]]:
    """Candidates of two pictures of one drawing that show the same: the whole pictures, or the same person in them."""
    for one in ones:
        for other in others:
            whole = one.row["kind"] == other.row["kind"] == "picture"
            if whole or shared(one.box, fit.moved(other.box)) >= SAME_PERSON:
                yield one, other


def components(candidates: list[View], edges: Iterable[tuple[str, str]]) -> list[list[View]]:
    """Groups of at least two candidates that are joined by edges of their names."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    place = {view.name: index for index, view in enumerate(candidates)}
    pairs = np.array([(place[a], place[b]) for a, b in edges], dtype=int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(candidates), len(candidates)))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[View]] = defaultdict(list)
    for view, label in zip(candidates, labels.tolist(), strict=True):
        groups[label].append(view)
    return [group for group in groups.values() if len(group) > 1]


# --- which pictures may be one drawing


def same_drawings(wholes: dict[str, dict], measured: PathLike, params: Params) -> Iterator[tuple[str, str, Fit]]:
    """Pairs of pictures that are one drawing, with the fit of the second on the first."""
    names = [name for name, row in wholes.items() if row["phash"]]
    thumbnails = read_thumbnails(measured, {wholes[name]["view"]: name for name in names})
    for one, other in sorted(proposed(names, wholes, read_vectors(measured, "tag_embedding", ["picture"]), params)):
        if one in thumbnails and other in thumbnails:
            fit = fitted(thumbnails[one], thumbnails[other])
            if fit.score >= params["duplicate"]:
                yield one, other, in_pixels(fit, wholes[one], wholes[other], thumbnails[one], thumbnails[other])


def proposed(names: list[str], wholes: dict[str, dict], vectors: Vectors, params: Params) -> set[tuple[str, str]]:
    """Pairs of names that are near by hash or by embedding, each with its nearest few at most."""
    import numpy as np

    pairs: set[tuple[str, str]] = set()
    bits = np.unpackbits(
        np.array([bytearray.fromhex(wholes[name]["phash"]) for name in names], dtype=np.uint8).reshape(-1, 8), axis=1
    )
    signs = bits.astype(np.float32) * 2 - 1
    least = 1 - 2 * params["duplicate_distance"] / HASH_BITS
    pairs |= named_pairs(names, nearest(signs / np.sqrt(HASH_BITS), least))
    known = [name for name in names if wholes[name]["view"] in vectors]
    if known:
        matrix = np.stack([vectors[wholes[name]["view"]] for name in known])
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        pairs |= named_pairs(known, nearest(matrix, params["duplicate_similarity"]))
    return pairs


def named_pairs(names: list[str], pairs: Iterable[tuple[int, int]]) -> set[tuple[str, str]]:
    return {(min(names[a], names[b]), max(names[a], names[b])) for a, b in pairs}


def nearest(matrix: "np.ndarray", least: float) -> Iterator[tuple[int, int]]:
    """Index pairs of rows (of length one) whose cosine is at least `least`, for each row its nearest NEIGHBOURS."""
    import numpy as np

    for top in range(0, len(matrix), TILE):
        cosine = matrix[top : top + TILE] @ matrix.T
        own = np.arange(len(cosine))
        cosine[own, top + own] = -2
        # Four decimals decide, as everywhere: further ones differ between processors.
        rows, columns = np.nonzero(cosine >= least - 1e-3)
        found = cosine[rows, columns].astype(float).round(4)
        rows, columns, found = (each[found >= decided(least)] for each in (rows, columns, found))
        order = np.lexsort((columns, -found, rows))
        rows, columns = rows[order], columns[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)  # among the neighbours of its row
        near = place < NEIGHBOURS
        yield from zip((top + rows[near]).tolist(), columns[near].tolist(), strict=True)
