"""What later stages read of a dataset: the facets that decide whether training and previews run again."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from charaloom.artifacts.files import canonical_json, sha256_bytes
from charaloom.artifacts.tables import stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.training.inputs import core_words, triggers_of

SPLITS = ("train", "held_out")
TRAINED = ("caption", "tags", "repeats", "masked")  # columns of a training row besides its picture and opacity
JUDGED = ("view", "tags", "tag_embedding", "thumbnail", "thumbnail_width")  # of measured.parquet
GROUPED = ("view", "picture", "kind", "split", "outfit")  # of clustered.parquet


def training_content(data: Path, outfits: Row) -> Row:
    """What the trainer reads: rows of the training split (picture, mask, caption, …), triggers and core tags."""
    rows = shard_rows(data, "train", ("opacity", *TRAINED))
    trained = [[*map(digest_of, (row["image"], row["opacity"])), *(row[name] for name in TRAINED)] for row in rows]
    return {"rows": trained, "triggers": triggers_of(outfits), "core": core_words(outfits)}


def judging_content(data: Path, measured: PathLike, views: list[Row], core: list[str]) -> Row:
    """What previews are judged by: held-out pictures, and what the picture models saw in the views that are used.

    `views`: rows of clustered.parquet. `core`: the character's core tags.
    """
    names = {view["view"] for view in views}
    measures = [measure_digest(row) for row in stream_table(measured, JUDGED) if row["view"] in names]
    return {
        "held_out": [sha256_bytes(row["image"]["bytes"]) for row in shard_rows(data, "held_out", ())],
        "views": [[view[name] for name in GROUPED] for view in views],
        "measures": measures,
        "core": core,
    }


def digest_of(image: Row | None) -> str | None:
    return sha256_bytes(image["bytes"]) if image else None


def measure_digest(row: Row) -> str:
    thumbnail = row["thumbnail"] or b""
    return sha256(canonical_json({**row, "thumbnail": sha256_bytes(thumbnail)}).encode()).hexdigest()


def shard_rows(data: Path, split: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Rows of a split in the order of its shards, with their pictures."""
    for shard in sorted(data.glob(f"{split}-*.parquet")):
        yield from stream_table(shard, ["image", *columns])
