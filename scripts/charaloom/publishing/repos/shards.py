"""Parquet shards of a dataset repository: rows of bounded size that `datasets` and the hub's viewer read."""

import io
import math
from collections.abc import Iterator
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

ROWS_PER_GROUP = 32  # pictures in memory at a time; set by hand
BYTES_PER_SHARD = 400_000_000  # of pictures; the hub advises files below 500 MB
LOSSY = ("WEBP", "JPEG")  # formats with a `quality`
RATINGS = ("general", "sensitive", "questionable", "explicit")  # the strictest last
POST_KEYS = ("site", "post_id", "page_url", "source", "rating", "md5", "created", "artists")


def features() -> "datasets.Features":
    """Columns as `datasets` knows them; the picture is one that viewers decode."""
    from datasets import Features, Image, List, Value

    text, number = Value("string"), Value("int32")
    post = {
        **dict.fromkeys(("site", "post_id", "page_url", "source", "rating", "md5", "created"), text),
        "artists": List(text),
    }
    return Features(
        {
            "image": Image(),
            "text": text,  # the caption under the name that trainers look for
            "caption": text,
            "tags": List(text),  # of the caption, as boards write them
            "outfit": text,
            "repeats": number,  # in a training epoch, so that rare outfits are learned
            "view": text,
            "picture": text,  # SHA-256 of the bytes the board served
            "pixels_sha256": text,  # of the decoded pixels that were encoded here, row by row, RGB
            "kind": text,
            "box": List(number, length=4),
            "width": number,
            "height": number,
            "masked": List({"kind": text, "box": List(number, length=4)}),  # not the character, in pixels of `image`
            "opacity": Image(),  # grey, of the size of `image`; null where all of it is opaque
            "rating": text,
            "identity_distance": Value("float32"),
            "sharpness": Value("float32"),
            "posts": List(post),
        }
    )


def write_shards(
    views: list[Row], facts: dict[str, Row], raw: PathLike, outfits: Row, params: Dataset, data: Path
) -> dict[str, int]:
    """Write both splits below `data`; returns rows per split. An empty split has a shard too.

    `facts`: by view, what the rows hold besides the columns of `clustered.parquet`.
    """
    schema = features().arrow_schema
    views_by_split = {split: [view for view in views if view["split"] == split] for split in SPLITS}
    for split, members in views_by_split.items():
        rows = examples(members, facts, raw, outfits, params)
        for number, batches in enumerate(shards(rows)):
            write_shard(data / f"{split}-{number:05d}.parquet", batches, schema)
        if not members:
            write_shard(data / f"{split}-00000.parquet", iter(()), schema)
    return {split: len(members) for split, members in views_by_split.items()}


def shards(rows: Iterator[Row]) -> Iterator[Iterator[list[Row]]]:
    """Cut the stream of rows into shards of bounded size, each an iterator of row groups."""
    group = list(islice(rows, ROWS_PER_GROUP))
    while group:
        size = 0

        def one_shard() -> Iterator[list[Row]]:
            nonlocal group, size
            while group and size < BYTES_PER_SHARD:
                size += sum(len(row["image"]["bytes"]) for row in group)
                yield group
                group = list(islice(rows, ROWS_PER_GROUP))

        yield one_shard()


def write_shard(path: Path, groups: Iterator[list[Row]], schema: Any) -> None:
    """One shard from its row groups; `schema`: of pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in groups:
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=ROWS_PER_GROUP)


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
        "repeats": view["repeats"],
        "view": view["view"],
        "picture": view["picture"],
        "pixels_sha256": sha256_bytes(shown.tobytes()),
        "kind": view["kind"],
        "box": [view["x0"], view["y0"], view["x1"], view["y1"]],
        "width": shown.width,
        "height": shown.height,
        "masked": in_stored(facts["masked"], view, shown.size),
        "opacity": stored_opacity(ground, view, shown.size, f"{Path(name).stem}.png"),
        "rating": strictest(posts),
        "identity_distance": facts["identity_distance"],
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


def strictest(posts: list[Row]) -> str | None:
    """The strictest rating among a picture's posts; None where no board rated it."""
    places = [RATINGS.index(post["rating"]) for post in posts if post["rating"] in RATINGS]
    return RATINGS[max(places)] if places else None
