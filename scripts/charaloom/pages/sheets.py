"""Contact sheets: views as thumbnails with what is known of them.

Nothing above the allowed rating is ever shown, whichever rule dropped it first; it is counted.
"""

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from charaloom.artifacts.tables import read_rows, stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.images.decoding import open_picture
from charaloom.pages.verdicts import may_be_shown, other_reasons, reason_words, short_name, verdict_words

if TYPE_CHECKING:
    from PIL import Image

SIDE = 160  # pixels of a thumbnail's longest side


@dataclass(frozen=True)
class Source:
    """Where a picture came from: its posts as <site>:<post id>, a page to open, and the problem of its file, if any."""

    posts: list[str] = field(default_factory=list)
    page: str | None = None
    problem: str | None = None


def read_sources(raw: PathLike) -> dict[str, Source]:
    """The source of every picture; reads no picture's bytes."""
    return {row["picture"]: source_of(row) for row in stream_table(raw, ["picture", "problem", "posts"])}


def source_of(row: Row) -> Source:
    posts = row["posts"] or []
    pages = [post["page_url"] for post in posts if (post["page_url"] or "").startswith(("https://", "http://"))]
    return Source([f"{post['site']}:{post['post_id']}" for post in posts], next(iter(pages), None), row["problem"])


def tile(row: Row, pictures: Mapping[str, str], source: Source | None = None) -> Row:
    """A view as a contact sheet shows it; without picture where none may or can be shown."""
    source = source or Source()
    also = [reason_words(reason) for reason in other_reasons(row)]
    title = [row["view"], *source.posts]
    if also:
        title.append(f"also: {', '.join(also)}")
    return {
        "view": row["view"],
        "short": short_name(row["view"]),
        "picture": pictures.get(row["view"]),
        "numbers": verdict_words(row),
        "held_out": row["split"] == "held_out",
        "also": also,
        "page": source.page,
        "posts": source.posts,
        "beside": None,
        "title": "\n".join(title),
    }


def without_numbers(row: Row) -> Row:
    """A verdict without what was measured for it, which the curation page shows: a report reads the decision alone."""
    return {**row, "score": None, "threshold": None, "scores": None, "reasons": None}


class Thumbnails:
    """Makes pictures as small as a page can carry, and counts them."""

    def __init__(self) -> None:
        self.made = 0

    def of(self, picture: "Image.Image") -> str:
        """A data URL of a WebP whose longest side is at most SIDE pixels."""
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        buffer = BytesIO()
        small.save(buffer, "WEBP", quality=70, method=4)
        self.made += 1
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def cut_thumbnails(raw: PathLike, views: Iterable[Row], thumbnails: Thumbnails) -> dict[str, str]:
    """Thumbnails by view, of those that may be shown; reads and opens each of their pictures once, and no other."""
    wanted: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in views:
        if may_be_shown(row):
            wanted[row["picture"]][row["view"]] = row
    cut: dict[str, str] = {}
    for picture in read_rows(raw, "picture", wanted, ["picture", "bytes"]):
        if picture["bytes"]:
            whole = open_picture(picture["bytes"])
            for view, row in sorted(wanted[picture["picture"]].items()):
                cut[view] = thumbnails.of(whole.crop((row["x0"], row["y0"], row["x1"], row["y1"])))
    return cut
