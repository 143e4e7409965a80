"""Parquet shards of a dataset repository: files of bounded size that `datasets` and the hub's viewer read.

A shard is a range of pictures' hashes. A range with too many rows is halved, and each half again: a picture that comes
or goes changes the shard of its range and no other, whatever the size of the set.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import sha256_bytes
from charaloom.artifacts.tables import stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Dataset
from charaloom.errors import CharaloomError
from charaloom.images.decoding import opacity, open_picture
from charaloom.publishing.content import SPLITS
from charaloom.publishing.masks import in_stored, stored_opacity
from charaloom.tagging.captions import tags_in

if TYPE_CHECKING:
    import datasets
    from PIL import Image

ROWS_PER_SHARD = 32  # at most, which are in memory at a time; set by hand
PIXELS_PER_SHARD = 128_000_000  # of its pictures, so that a shard stays below 400 MB whatever their format
PLACE_DIGITS = 4  # hexadecimal, of a picture's hash: its place among the shards
PLACES = 16**PLACE_DIGITS
LOSSY = ("WEBP", "JPEG")  # formats with a `quality`
RATINGS = ("general", "sensitive", "questionable", "explicit")  # the strictest last
POST_KEYS = ("site", "post_id", "page_url", "file_url", "source", "rating", "md5", "created", "artists")


def features() -> "datasets.Features":
    """Columns as `datasets` knows them; the picture is one that viewers decode."""
    from datasets import Features, Image, List, Value

    text, number = Value("string"), Value("int32")
    post = {**dict.fromkeys(POST_KEYS, text), "artists": List(text)}
    return Features(
        {
            "image": Image(),
            "text": text,  # the caption under the name that trainers look for
            "caption": text,
            "tags": List(text),  # of the caption, as boards write them
            "outfit": text,
            "split": text,  # train, held_out
            "repeats": number,  # in a training epoch, so that rare outfits are learned
            "view": text,
            "picture": text,  # SHA-256 of the bytes the board served
            "pixels_sha256": text,  # of the pixels of `image`, row by row, RGB
            "kind": text,
            "box": List(number, length=4),
            "width": number,
            "height": number,
            "masked": List({"kind": text, "box": List(number, length=4)}),  # not the character, in pixels of `image`
            "opacity": Image(),  # grey, of the size of `image`; null where all of it is opaque
            "rating": text,  # the strictest of its posts
            "rating_model": dict.fromkeys(("safe", "r15", "r18"), Value("float32")),  # scores of the whole picture
            "sharpness": Value("float32"),
            "posts": List(post),
        }
    )


@dataclass(frozen=True)
class Shard:
    """Rows of one split whose pictures' hashes begin at `first`."""

    split: str
    first: int  # place
    views: list[Row]

    @property
    def name(self) -> str:
        """The first place alone: where a range is halved or two are joined, the lower half keeps its name."""
        return f"{self.split}-{self.first:0{PLACE_DIGITS}x}.parquet"


def write_shards(
    views: list[Row], facts: dict[str, Row], raw: PathLike, outfits: Row, params: Dataset, data: Path
) -> dict[str, int]:
    """Write both splits below `data`; returns rows per split. An empty split has a shard too.

    `facts`: by view, what the rows hold besides the columns of `clustered.parquet`.
    """
    schema = features().arrow_schema
    by_split = {split: [view for view in views if view["split"] == split] for split in SPLITS}
    for split, members in by_split.items():
        ranges = shards(split, members, params.resolution)
        rows = examples([view for shard in ranges for view in shard.views], facts, raw, outfits, params)
        for shard in ranges:
            write_shard(data / shard.name, list(islice(rows, len(shard.views))), schema)
    return {split: len(members) for split, members in by_split.items()}


def shards(split: str, views: list[Row], resolution: int) -> list[Shard]:
    """The shards of a split in the order of their pictures' hashes, at least one."""
    ordered = sorted(views, key=lambda view: (view["picture"], view["view"]))
    return list(halved(Shard(split, 0, ordered), PLACES, resolution)) or [Shard(split, 0, [])]


def halved(shard: Shard, width: int, resolution: int) -> Iterator[Shard]:
    """The shard, or its halves, until each is small enough; `width`: of its range. Empty ones are left out."""
    if not shard.views:
        return
    if width == 1 or is_small(shard.views, resolution):
        yield shard
        return
    middle = shard.first + width // 2
    lower = [view for view in shard.views if place(view) < middle]
    upper = shard.views[len(lower) :]
    for half in (Shard(shard.split, shard.first, lower), Shard(shard.split, middle, upper)):
        yield from halved(half, width // 2, resolution)


def place(view: Row) -> int:
    return int(view["picture"][:PLACE_DIGITS], 16)


def is_small(views: list[Row], resolution: int) -> bool:
    """Whether these rows are few enough for one shard."""
    sizes = [reduced((view["x1"] - view["x0"], view["y1"] - view["y0"]), resolution) for view in views]
    return len(views) <= ROWS_PER_SHARD and sum(map(math.prod, sizes)) <= PIXELS_PER_SHARD


def write_shard(path: Path, rows: list[Row], schema: Any) -> None:
    """One shard, a row group; `schema`: of pyarrow.

    Its pages begin where the content says so: a store that keeps pieces once, as the hub's does, gets only the pages
    that changed. The page index lets a viewer read one row without the others.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = {"compression": "zstd", "use_content_defined_chunking": True, "write_page_index": True}
    with pq.ParquetWriter(path, schema, **options) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def examples(views: list[Row], facts: dict[str, Row], raw: PathLike, outfits: Row, params: Dataset) -> Iterator[Row]:
    """Rows of the dataset in the order of their pictures, of which one is open at a time.

    Both tables are sorted by the picture's name, so one pass over `raw` serves all views. Raises CharaloomError where
    a picture is not in `raw`.
    """
    trained = {outfit["id"]: outfit["trigger"] for outfit in outfits["outfits"] if outfit["trained"]}
    triggers = {outfits["trigger"], *trained.values()}
    pictures = stream_table(raw, ["picture", "bytes", "posts"])
    current: Row = {"picture": ""}
    image = ground = None
    for view in sorted(views, key=lambda row: row["picture"]):
        while current["picture"] != view["picture"]:
            following = next(pictures, None)
            if following is None:
                raise CharaloomError(
                    f"{raw}: picture {view['picture']} of the clustered views is not in it; rebuild from `raw` on"
                )
            current, image = following, None
        if image is None:
            image, ground = open_picture(current["bytes"]), opacity(current["bytes"])
        row = example(view, facts[view["view"]], current["posts"] or [], image, ground, params)
        outfit = view["outfit"] if view["outfit"] in trained else None
        yield {**row, "outfit": outfit, "tags": tags_in(view["caption"], triggers)}


def example(
    view: Row, facts: Row, posts: list[Row], image: "Image.Image", ground: "Image.Image | None", params: Dataset
) -> Row:
    """One row: the view's pixels with what is known of it; `ground` is the opacity of the picture."""
    shown = cut(image, view, params.resolution)
    data = encoded(shown, params)
    name = f"{view['view'].replace('/', '-')}.{params.format.lower()}"
    return {
        "image": {"bytes": data, "path": name},
        "text": view["caption"],
        "caption": view["caption"],
        "split": view["split"],
        "repeats": view["repeats"],
        "view": view["view"],
        "picture": view["picture"],
        "pixels_sha256": pixels_digest(data),
        "kind": view["kind"],
        "box": [view["x0"], view["y0"], view["x1"], view["y1"]],
        "width": shown.width,
        "height": shown.height,
        "masked": in_stored(facts["masked"], view, shown.size),
        "opacity": stored_opacity(ground, view, shown.size, f"{Path(name).stem}.png"),
        "rating": strictest(posts),
        "rating_model": facts["rating_model"],
        "sharpness": facts["sharpness"],
        "posts": [{key: post[key] for key in POST_KEYS} for post in posts],
    }


def cut(image: "Image.Image", view: Row, resolution: int) -> "Image.Image":
    """The view's pixels, of the size that `reduced` says."""
    from PIL import Image

    box = (view["x0"], view["y0"], view["x1"], view["y1"])
    shown = image if box == (0, 0, *image.size) else image.crop(box)
    size = reduced(shown.size, resolution)
    return shown if size == shown.size else shown.resize(size, Image.Resampling.LANCZOS)


def reduced(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Width and height of a picture in the dataset, of an area of at most `resolution` squared; the short side stays at
    half of `resolution` or more, and nothing is enlarged."""
    scale = max(resolution / math.sqrt(math.prod(size)), resolution / 2 / min(size))
    return size if scale >= 1 else (round(size[0] * scale), round(size[1] * scale))


def encoded(image: "Image.Image", params: Dataset) -> bytes:
    """Picture file of `format`. Lossless WebP is not offered: its bytes differ between versions of libwebp.

    Raises CharaloomError for another format.
    """
    form = params.format.upper()
    if form not in (*LOSSY, "PNG"):
        raise CharaloomError(f"dataset.format: {params.format!r} is not one of WEBP, JPEG, PNG")
    options: Row = {"quality": params.quality} if form in LOSSY else {"compress_level": 6}
    if form == "JPEG":
        options |= {"subsampling": 0}
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def pixels_digest(data: bytes) -> str:
    """SHA-256 of the pixels that a file decodes to: of a lossy format not those that were encoded."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return sha256_bytes(image.convert("RGB").tobytes())


def strictest(posts: list[Row]) -> str | None:
    """The strictest rating among a picture's posts; None where no board rated it."""
    places = [RATINGS.index(post["rating"]) for post in posts if post["rating"] in RATINGS]
    return RATINGS[max(places)] if places else None
