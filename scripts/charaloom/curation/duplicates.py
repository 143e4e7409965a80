"""Duplicates: the same drawing re-encoded, resized, cropped or posted elsewhere; the best of each group is kept. A
drawing whose face alone is another is a variant, which `filtered.variants` keeps.

Perceptual hashes and tagger embeddings propose pairs of pictures cheaply. An overlay of their grey thumbnails decides:
the smaller frame is searched in the larger one at every place and scale. The score is the correlation of the best fit
times one less the mean difference of the part that differs most: two drawings of one pose and outfit share hash, tags
and outline, but not every part.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Filtered
from charaloom.curation.rules import RULES, record_score
from charaloom.curation.views import HEAD_INSIDE, Vectors, View, read_vectors
from charaloom.images.boxes import area, box_of, overlap, shared
from charaloom.images.faces import Head, faces_differ
from charaloom.images.overlay import NEIGHBOURS, Fit, fitted, in_pixels, read_thumbnails

if TYPE_CHECKING:
    import numpy as np

HASH_BITS = 64
TILE = 512  # rows of the matrix of all pairs that are in memory at once, set by hand
SAME_HEAD = 0.4  # the same of two heads' boxes, set by hand
SAME_PERSON = 0.5  # intersection over union of two persons' boxes in the overlay, set by hand
COPY_TAGS = frozenset(  # meta tags of boards that mark a worse copy
    {"upscaled", "resized", "jpeg_artifacts", "scan_artifacts", "duplicate", "md5_mismatch", "cropped", "lowres"}
)


def drop_duplicates(candidates: list[View], measured: PathLike, params: Filtered) -> None:
    """Set the duplicate group of every candidate, and drop all but the best of each group."""
    for view in candidates:
        view.duplicate_group = view.name
    threshold = params.duplicate
    by_picture: dict[str, list[View]] = defaultdict(list)
    for view in candidates:
        by_picture[view.row["picture"]].append(view)
    if threshold is None or len(by_picture) < 2:
        return
    pictures = {name: views[0].picture for name, views in sorted(by_picture.items())}
    names = [name for name, row in pictures.items() if row["phash"]]
    thumbnails = read_thumbnails(measured, {pictures[name]["view"]: name for name in names})
    faces = Faces(read_heads(measured) if params.variants else {}, pictures, thumbnails)
    edges: dict[tuple[str, str], float] = {}
    for first, second, fit in same_drawings(pictures, thumbnails, measured, params, threshold):
        for view, copy in copies(by_picture[first], by_picture[second], fit):
            if faces.differ(view, copy, fit):
                view.has_variant = copy.has_variant = True
            else:
                edges[view.name, copy.name] = fit.score
    scores: dict[str, float] = defaultdict(float)
    for pair, score in edges.items():
        for name in pair:
            scores[name] = max(scores[name], score)
    for group in components(candidates, edges):
        best = min(group, key=quality)
        for view in group:
            view.duplicate_group = best.name
            if view is not best:
                record_score(view, RULES["duplicate"], scores[view.name], threshold)


def quality(view: View) -> tuple[bool, int, int, int, float, str]:
    """Sort key, best first: no reason to drop, few COPY_TAGS, many pixels, many bytes, sharp; of equals by name."""
    row = view.row
    copy_tags = len(view.tags("meta") & COPY_TAGS)
    return bool(view.reasons), copy_tags, -row["width"] * row["height"], -view.size, -row["sharpness"], view.name


def copies(views: list[View], others: list[View], fit: Fit) -> Iterator[tuple[View, View]]:
    """Pairs of candidates of two pictures of one drawing: both whole pictures, or the same person in each."""
    for view in views:
        for other in others:
            whole = view.row["kind"] == other.row["kind"] == "picture"
            if whole or shared(view.box, fit.moved(other.box)) >= SAME_PERSON:
                yield view, other


@dataclass(frozen=True)
class Faces:
    """The detected heads and the small grey copy of every picture."""

    heads: dict[str, list[Head]]
    pictures: dict[str, Row]
    thumbnails: "dict[str, np.ndarray]"

    def differ(self, view: View, copy: View, fit: Fit) -> bool:
        """Whether a head that either view shows has another face in the other; the detector may miss one that is
        painted over."""
        ours, theirs = self.heads_in(view), self.heads_in(copy)
        pairs = [(a, b) for a in ours for b in theirs if shared(a.box, fit.moved(b.box)) >= SAME_HEAD]
        if any(faces_differ(first, second, fit) for first, second in pairs):
            return True
        lone = [head.box for head in ours if all(head is not first for first, _ in pairs)]
        lone += [fit.moved(head.box) for head in theirs if all(head is not second for _, second in pairs)]
        return any(self.place_differs(view, copy, box, fit) for box in lone)

    def heads_in(self, view: View) -> list[Head]:
        box = box_of(view.row)
        found = self.heads.get(view.row["picture"], [])
        return [head for head in found if overlap(head.box, box) >= HEAD_INSIDE * area(head.box)]

    def place_differs(self, view: View, copy: View, box: Sequence[float], fit: Fit) -> bool:
        """Whether the thumbnails of two pictures differ in a box, in pixels of the first."""
        first = self.cut(view.row["picture"], box)
        second = self.cut(copy.row["picture"], fit.inverse().moved(box))
        return first is not None and second is not None and faces_differ(first, second, fit)

    def cut(self, picture: str, box: Sequence[float]) -> Head | None:
        """A box of a picture, as its thumbnail shows it; None where nothing of it is in there."""
        row, grey = self.pictures[picture], self.thumbnails[picture]
        unit = row["width"] / grey.shape[1]
        edges = [(edge - (row["x0"], row["y0"])[axis % 2]) / unit for axis, edge in enumerate(box)]
        left, right = (min(max(round(edge), 0), grey.shape[1]) for edge in edges[0::2])
        top, bottom = (min(max(round(edge), 0), grey.shape[0]) for edge in edges[1::2])
        if left >= right or top >= bottom:
            return None
        placed = [row["x0"] + left * unit, row["y0"] + top * unit, row["x0"] + right * unit, row["y0"] + bottom * unit]
        return Head(placed, grey[top:bottom, left:right, None])


def read_heads(measured: PathLike) -> dict[str, list[Head]]:
    """The detected heads of every picture."""
    import numpy as np
    import pyarrow.parquet as pq

    heads: dict[str, list[Head]] = defaultdict(list)
    columns = ["kind", "picture", "x0", "y0", "x1", "y1", "thumbnail", "thumbnail_width"]
    for batch in pq.ParquetFile(measured).iter_batches(batch_size=1024, columns=columns):
        for row in batch.to_pylist():
            if row["kind"] == "head" and row["thumbnail"]:
                planes = np.frombuffer(row["thumbnail"], np.uint8).reshape(3, -1, row["thumbnail_width"])
                heads[row["picture"]].append(Head(box_of(row), planes.transpose(1, 2, 0)))
    return heads


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


def same_drawings(
    pictures: dict[str, Row],
    thumbnails: "dict[str, np.ndarray]",
    measured: PathLike,
    params: Filtered,
    threshold: float,
) -> Iterator[tuple[str, str, Fit]]:
    """Pairs of pictures that are one drawing, with the fit of the second on the first, in pixels of the pictures."""
    names = [name for name, row in pictures.items() if row["phash"]]
    embeddings = read_vectors(measured, "tag_embedding", ["picture"])
    for first, second in sorted(proposed(names, pictures, embeddings, params)):
        if first in thumbnails and second in thumbnails:
            fit = fitted(thumbnails[first], thumbnails[second])
            if fit.score >= threshold:
                fit = in_pixels(fit, pictures[first], pictures[second], thumbnails[first], thumbnails[second])
                yield first, second, fit


def proposed(names: list[str], pictures: dict[str, Row], embeddings: Vectors, params: Filtered) -> set[tuple[str, str]]:
    """Pairs of names that are near by hash or by embedding, each with its NEIGHBOURS nearest at most."""
    import numpy as np

    pairs: set[tuple[str, str]] = set()
    bits = np.unpackbits(
        np.array([bytearray.fromhex(pictures[name]["phash"]) for name in names], dtype=np.uint8).reshape(-1, 8), axis=1
    )
    signs = bits.astype(np.float32) * 2 - 1
    least = 1 - 2 * params.duplicate_distance / HASH_BITS  # cosine of sign vectors that differ in that many bits
    pairs |= named_pairs(names, nearest(signs / np.sqrt(HASH_BITS), least))
    embedded = [name for name in names if pictures[name]["view"] in embeddings]
    if embedded:
        matrix = np.stack([embeddings[pictures[name]["view"]] for name in embedded])
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        pairs |= named_pairs(embedded, nearest(matrix, params.duplicate_similarity))
    return pairs


def named_pairs(names: list[str], pairs: Iterable[tuple[int, int]]) -> set[tuple[str, str]]:
    return {(min(names[a], names[b]), max(names[a], names[b])) for a, b in pairs}


def nearest(matrix: "np.ndarray", least: float) -> Iterator[tuple[int, int]]:
    """Index pairs of rows (unit vectors) whose cosine is at least `least`, for each row its NEIGHBOURS nearest."""
    import numpy as np

    for top in range(0, len(matrix), TILE):
        cosine = matrix[top : top + TILE] @ matrix.T
        own = np.arange(len(cosine))
        cosine[own, top + own] = -2
        # Four decimals decide (`rounded`); the margin of 0.001 keeps what rounds up to `least`.
        rows, columns = np.nonzero(cosine >= least - 1e-3)
        cosines = cosine[rows, columns].astype(float).round(4)
        near_enough = cosines >= rounded(least)
        rows, columns, cosines = rows[near_enough], columns[near_enough], cosines[near_enough]
        order = np.lexsort((columns, -cosines, rows))
        rows, columns = rows[order], columns[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)  # among the neighbours of its row
        near = place < NEIGHBOURS
        yield from zip((top + rows[near]).tolist(), columns[near].tolist(), strict=True)
