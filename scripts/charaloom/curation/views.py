"""What the rules judge: a measured view with its picture, its posts, and the scores and reasons that rules record."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.tables import VIEW_COLUMNS, read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Filtered
from charaloom.images.boxes import area, box_of, overlap
from charaloom.tagging.vocabulary import blocked_tags

if TYPE_CHECKING:
    import numpy as np

Vectors = dict[str, "np.ndarray"]  # by view

IDENTITY, ALL = "identity", "all"  # values of filtered.trust
HEAD_INSIDE = 0.5  # share of a head's area that must lie in a view for the head to count there, set by hand
MEASURED_COLUMNS = (
    *(name for name, _ in VIEW_COLUMNS),
    *("problem", "width", "height", "confidence", "sharpness", "phash", "classes", "monochrome", "rating", "ai"),
    *("generated", "aesthetic", "persons", "heads", "faces"),
)


@dataclass(frozen=True)
class Reason:
    """A rule with the score and threshold by which it judged a view; None where it has none."""

    rule: str
    score: float | None = None
    threshold: float | None = None

    def row(self) -> Row:
        return {"rule": self.rule, "score": self.score, "threshold": self.threshold}


@dataclass
class View:
    """A measured row with what the rules read of its picture."""

    row: Row
    picture: Row
    posts: list[Row]
    size: int  # bytes of the file
    persons: list[Row]
    heads: int = 0  # in this view
    text: float = 0.0  # the tagger's highest score of a text tag, of the whole picture
    blocked: float = 0.0  # the same of a blocked tag, of the view or of the whole picture
    reasons: list[Reason] = field(default_factory=list)
    scores: list[Reason] = field(default_factory=list)  # of every rule that has one
    duplicate_group: str | None = None
    has_variant: bool = False  # another picture is the same drawing with another face
    cluster: int = -1
    distance: float | None = None
    split: str | None = None

    @property
    def name(self) -> str:
        return self.row["view"]

    @cached_property
    def is_candidate(self) -> bool:
        """Whether it could be measured and is a picture of at most one person, or a person of several in a picture."""
        if self.row["kind"] == "picture":
            return self.row["problem"] is None and len(self.persons) < 2
        return len(self.persons) > 1 and any(self.row is person for person in self.persons)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The box of this candidate's person, in pixels of the picture; the view's own where none was detected."""
        return box_of(self.persons[0] if self.row["kind"] == "picture" and self.persons else self.row)

    def tags(self, *categories: str) -> set[str]:
        """The boards' tags of its picture in these categories: general, character, copyright, meta."""
        return {tag for post in self.posts for category in categories for tag in post[f"tags_{category}"] or []}


def read_views(raw: PathLike, measured: PathLike, params: Filtered) -> list[View]:
    """All measured views in the order of their names."""
    pictures = {row["picture"]: row for row in read_table(raw, ["picture", "size", "posts"])}
    texts = highest_scores(measured, params.text)
    blocked = highest_scores(measured, sorted(blocked_tags(tags_seen(measured), params.blocked or ())))
    by_picture: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(measured, MEASURED_COLUMNS):
        by_picture[row["picture"]].append(row)
    views = []
    for name, rows in by_picture.items():
        whole = next(row for row in rows if row["kind"] == "picture")
        persons = [row for row in rows if row["kind"] == "person" and is_confident(row, params)]
        if params.trust == ALL:
            persons = []  # every picture is one view, whoever is in it
        heads = [row for row in rows if row["kind"] == "head"]
        posts, size = pictures[name]["posts"] or [], pictures[name]["size"] or 0
        for row in rows:
            heads_inside = sum(overlap(box_of(head), box_of(row)) >= HEAD_INSIDE * area(box_of(head)) for head in heads)
            text, seen = (
                texts.get(whole["view"], 0.0),
                max(blocked.get(view, 0.0) for view in (row["view"], whole["view"])),
            )
            views.append(View(row, whole, posts, size, persons, heads_inside, text, seen))
    return sorted(views, key=lambda view: view.name)


def is_confident(person: Row, params: Filtered) -> bool:
    return rounded(person["confidence"]) >= params.person_confidence


def highest_scores(measured: PathLike, tags: Sequence[str]) -> dict[str, float]:
    """The tagger's highest score of any of these tags, by view; views without one are left out."""
    return {view: max(scores.values()) for view, scores in tag_scores(measured, tags).items()}


def tag_scores(measured: PathLike, tags: Sequence[str]) -> dict[str, dict[str, float]]:
    """The tagger's scores of these tags by view and tag; other tags never become Python objects."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not tags:
        return {}
    table = pq.read_table(measured, columns=["view", "tags"])
    column = table.column("tags").combine_chunks()
    pairs, owners = column.flatten(), pc.list_parent_indices(column)
    wanted = pc.is_in(pairs.field("name"), value_set=pa.array(tags))
    pairs, owners = pairs.filter(wanted), table.column("view").combine_chunks().take(owners.filter(wanted))
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for view, pair in zip(owners.to_pylist(), pairs.to_pylist(), strict=True):
        scores[view][pair["name"]] = rounded(pair["score"])
    return scores


def tags_seen(measured: PathLike) -> list[str]:
    """Every tag that the tagger stored of any view, sorted."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    column = pq.read_table(measured, columns=["tags"]).column("tags").combine_chunks()
    return sorted(pc.unique(column.flatten().field("name")).to_pylist())


def read_vectors(measured: PathLike, column: str, kinds: Sequence[str] = ("picture", "person")) -> Vectors:
    """Vectors of a column by view of these kinds, as rows of one float32 matrix; views without one are left out."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names: list[str] = []
    parts: list[np.ndarray] = []
    for batch in pq.ParquetFile(measured).iter_batches(batch_size=2048, columns=["view", "kind", column]):
        wanted = batch.filter(pc.and_(pc.is_in(batch["kind"], pa.array(kinds)), pc.is_valid(batch[column])))
        if wanted.num_rows:
            names += wanted["view"].to_pylist()
            parts.append(wanted[column].flatten().to_numpy(zero_copy_only=False).reshape(wanted.num_rows, -1))
    if not names:
        return {}
    matrix = np.concatenate(parts).astype(np.float32, copy=False)
    return dict(zip(names, matrix, strict=True))
