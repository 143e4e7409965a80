"""The Parquet tables of a run: their columns, and one way to write and read them.

Rows are sorted by `key` before they are written; row groups are small so that readers stream; the file carries its
schema version and lineage, and neither clock nor host.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from charaloom.artifacts.files import whole_file
from charaloom.artifacts.types import PathLike

TABLE_SCHEMA = 1

TEXTS = pa.list_(pa.string())
VECTOR = pa.list_(pa.float32())
SCORED = pa.list_(pa.struct([("name", pa.string()), ("score", pa.float32())]))

POST = pa.struct(
    [
        ("site", pa.string()),
        ("post_id", pa.string()),
        ("page_url", pa.string()),
        ("file_url", pa.string()),
        ("md5", pa.string()),
        ("rating", pa.string()),  # general, sensitive, questionable, explicit, or null where the source has none
        ("score", pa.int64()),
        ("favourites", pa.int64()),
        ("parent_id", pa.string()),
        ("created", pa.string()),
        ("source", pa.string()),
        ("artists", TEXTS),
        ("tags_general", TEXTS),
        ("tags_character", TEXTS),
        ("tags_copyright", TEXTS),
        ("tags_meta", TEXTS),
        ("repeats", pa.int32()),  # in an epoch, by a folder's name `<repeats>_<name>`; null where none says so
    ]
)

RAW = pa.schema(
    [
        ("picture", pa.string()),  # SHA-256 of the bytes; `missing:<site>:<post id>` where a post had no file
        ("bytes", pa.binary()),  # as the source served them; null where missing
        ("size", pa.int64()),
        ("format", pa.string()),  # JPEG, PNG, WEBP … by content; null where it is no picture we read
        ("problem", pa.string()),  # null, or why this is no usable picture
        ("posts", pa.list_(POST)),
    ]
)

VIEW_COLUMNS = [
    ("view", pa.string()),  # <picture>/<kind>/<index>
    ("picture", pa.string()),
    ("kind", pa.string()),  # picture, person, halfbody, head
    ("person", pa.int32()),  # index of the person view this one belongs to; null for the picture itself
    ("x0", pa.int32()),  # box in pixels of the picture after EXIF orientation; of the picture: what is drawn
    ("y0", pa.int32()),
    ("x1", pa.int32()),
    ("y1", pa.int32()),
]

MEASURED = pa.schema(
    [
        *VIEW_COLUMNS,
        ("problem", pa.string()),  # null, or why this picture could not be measured
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("confidence", pa.float32()),  # of the detector; null for the picture itself
        ("sharpness", pa.float32()),  # variance of the Laplacian, imgutils.metrics.laplacian_score
        ("phash", pa.string()),  # 16 hex digits
        ("thumbnail", pa.binary()),  # grey bytes, row by row, at most 96 px on the longest side; a head's: Y, Cb, Cr
        ("thumbnail_width", pa.int32()),
        ("classes", SCORED),  # illustration, comic, bangumi, 3d, not_painting (picture only)
        ("monochrome", pa.float32()),  # picture only
        ("rating", SCORED),  # the rating model: safe, r15, r18 (picture only)
        ("ai", pa.float32()),  # AI-made, by the model (picture only)
        ("aesthetic", pa.float32()),  # share of pictures that the aesthetic model likes less (picture only)
        ("generated", pa.bool_()),  # generation parameters embedded in the file (picture only)
        ("persons", pa.int32()),  # detections in the picture (picture only)
        ("heads", pa.int32()),
        ("faces", pa.int32()),
        ("ccip", VECTOR),  # 768 numbers
        ("tags", SCORED),  # tagger, general tags with score >= 0.05
        ("tag_rating", SCORED),  # tagger: general, sensitive, questionable, explicit
        ("tag_embedding", VECTOR),
    ]
)

REASON = pa.struct([("rule", pa.string()), ("score", pa.float64()), ("threshold", pa.float64())])

FILTERED = pa.schema(
    [
        *VIEW_COLUMNS,
        ("verdict", pa.string()),  # keep, drop
        ("rule", pa.string()),  # the first rule that dropped it; null when kept
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("reasons", pa.list_(REASON)),  # every rule that would have dropped it, in the order of the config
        ("scores", pa.list_(REASON)),  # every number that a rule looked at, whether it dropped the view or not
        ("duplicate_group", pa.string()),  # view id of the group's best
        ("identity_cluster", pa.int32()),  # -1: none
        ("identity_distance", pa.float32()),  # median CCIP distance to the character's cluster
        ("split", pa.string()),  # train, held_out; null when dropped
    ]
)

TAGGED = pa.schema(
    [
        *VIEW_COLUMNS,
        ("split", pa.string()),
        ("tags", pa.list_(pa.struct([("name", pa.string()), ("score", pa.float32()), ("origin", pa.string())]))),
        ("dropped", pa.list_(pa.struct([("name", pa.string()), ("reason", pa.string())]))),
        ("variants", pa.list_(pa.string())),  # what boards call the official outfit that the picture shows
        ("repeats", pa.int32()),  # in an epoch, as the name of its folder asks; null where none does
    ]
)

CLUSTERED = pa.schema(
    [
        *VIEW_COLUMNS,
        ("split", pa.string()),
        ("outfit", pa.string()),  # outfit id; null: unassigned
        ("stability", pa.float32()),
        ("repeats", pa.int32()),  # how often a training epoch sees it
        ("caption", pa.string()),  # the caption this view trains with (text trigger form)
    ]
)

SCORES = pa.schema(
    [
        ("base", pa.string()),
        ("checkpoint", pa.string()),  # `none` is the base model without LoRA
        ("step", pa.int64()),
        ("weight", pa.float64()),  # of the LoRA
        ("embedding", pa.bool_()),  # whether its embedding was loaded, too
        ("round", pa.int32()),  # of the selection, on the training base; null: rendered to show the choice
        ("prompt_id", pa.string()),
        ("kind", pa.string()),  # outfit, core, trigger, clothes, plain
        ("outfit", pa.string()),  # that the prompt names
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("file", pa.string()),  # relative to the previews folder
        ("kept", pa.bool_()),  # false: rated above the allowed rating, replaced by a blank tile
        ("rating", SCORED),
        ("identity_distance", pa.float64()),  # median CCIP distance to the character's held-out pictures
        ("recognised", pa.bool_()),
        ("outfit_drawn", pa.string()),  # null: none of the character's
        ("asked", pa.list_(pa.string())),  # tags that the prompt asks for
        ("seen", pa.list_(pa.string())),  # those of them that the tagger sees
        ("core_seen", pa.float64()),  # share of the character's core tags that the tagger sees
        ("faults", pa.list_(pa.string())),
        ("training_likeness", pa.float64()),  # to the training picture it repeats most, 0 to 1
        ("training_view", pa.string()),
        ("memorised", pa.bool_()),
        ("embedding_vector", VECTOR),  # of the tagger: how far apart pictures of one prompt are
    ]
)


def with_version(schema: pa.Schema) -> pa.Schema:
    """A schema whose file says which version of the tables it follows."""
    return schema.with_metadata({"charaloom.schema": str(TABLE_SCHEMA)})


def write_table(
    path: PathLike,
    rows: list[dict[str, Any]],
    schema: pa.Schema,
    key: str,
    row_group_size: int = 64,
) -> None:
    """Write rows, sorted by `key` (unique), as zstd Parquet."""
    write_stream(path, sorted(rows, key=lambda row: row[key]), schema, row_group_size)


def write_stream(
    path: PathLike,
    rows: Iterable[dict[str, Any]],
    schema: pa.Schema,
    row_group_size: int = 64,
) -> None:
    """Write rows in the order they come, a row group at a time: memory holds no more of them."""
    described = with_version(schema)
    waiting = iter(rows)
    with whole_file(path) as part, pq.ParquetWriter(part, described, compression="zstd") as writer:
        while group := list(islice(waiting, row_group_size)):
            writer.write_table(pa.Table.from_pylist(group, schema=described), row_group_size=row_group_size)


def read_table(path: PathLike, columns: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """All rows as dictionaries; name the columns wherever the table holds pictures or vectors you do not need."""
    return pq.read_table(path, columns=list(columns) if columns else None).to_pylist()


def stream_table(path: PathLike, columns: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows one small batch after another: bounded memory also where a column holds pictures."""
    source = pq.ParquetFile(path)
    for batch in source.iter_batches(batch_size=16, columns=list(columns) if columns else None):
        yield from batch.to_pylist()


def with_pictures(dataset: PathLike) -> Path:
    """The folder whose shards hold the pictures: the dataset, or the one beside it where that has links alone."""
    beside = pictures_beside(dataset)
    return beside if beside.is_dir() else Path(dataset)


def pictures_beside(dataset: PathLike) -> Path:
    """Where the pictures of a dataset lie that has links alone."""
    return Path(dataset).with_name(f"{Path(dataset).name}_pictures")


def picture_shards(dataset: PathLike, split: str) -> list[Path]:
    """The shards of one split in the order of their rows."""
    return sorted((with_pictures(dataset) / "data").glob(f"{split}-*.parquet"))


def read_rows(
    path: PathLike, column: str, wanted: Iterable[str], columns: Iterable[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows whose `column` is one of the `wanted` values, in the order of the table, in small batches.

    Reads only the row groups whose statistics of `column` admit a wanted value: few where the table is sorted by it.
    """
    values = sorted(set(wanted))
    source = pq.ParquetFile(path)
    groups = row_groups_with(source.metadata, column, values)
    if not groups:
        return
    names = list(columns) if columns is not None else source.schema_arrow.names
    for batch in source.iter_batches(batch_size=16, row_groups=groups, columns=list(dict.fromkeys([column, *names]))):
        matches = pc.is_in(batch[column], value_set=pa.array(values, batch[column].type))
        yield from batch.filter(matches).select(names).to_pylist()


def row_groups_with(metadata: pq.FileMetaData, column: str, values: list[str]) -> list[int]:
    """Row groups that may hold one of the sorted `values`: with one between min and max, or without statistics."""
    place = next(index for index in range(metadata.num_columns) if metadata.schema.column(index).path == column)
    groups = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_min_max:
            groups.append(group)
            continue
        least = bisect_left(values, statistics.min)
        if least < len(values) and values[least] <= statistics.max:
            groups.append(group)
    return groups
