"""A dataset without its pictures: rows with their addresses and hashes, for whom the policy gives no pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.tables import stream_table
from charaloom.artifacts.types import Row
from charaloom.publishing.repos.shards import features, write_shard

if TYPE_CHECKING:
    import datasets

PICTURES = ("image", "opacity")  # columns that are left out
URL = "url"  # of the file that the picture was cut from; null for files of a folder


def link_features() -> "datasets.Features":
    """The columns of `shards.features`, with an address in place of the pictures."""
    from datasets import Features, Value

    known = {name: kind for name, kind in features().items() if name not in PICTURES}
    return Features({URL: Value("string"), **known})


def write_links(shards: Path, target: Path) -> None:
    """Write each shard of a folder again, under its name, without the pictures."""
    schema = link_features().arrow_schema
    for shard in sorted(shards.glob("*.parquet")):
        write_shard(target / shard.name, [linked(row) for row in stream_table(shard)], schema)


def linked(row: Row) -> Row:
    addresses = [post["file_url"] for post in row["posts"] or [] if post["file_url"]]
    return {**{key: row[key] for key in row if key not in PICTURES}, URL: addresses[0] if addresses else None}
