"""Take the pictures out of Parquet files, ours and others'; a process of its own (`child.py`).

Each picture becomes a file of its digest's name; `rows.jsonl` says for each row which file it has and what else stands
there. Memory holds a few rows at a time.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve more address space than this process may have

from charaloom.sources.local.child import fail
from charaloom.sources.local.unpacking import ENTRIES, TOTAL_BYTES
from charaloom.sources.network.secrets import scrubbed_text

OURS = frozenset({"image", "posts", "picture", "tags", "view"})  # columns of a dataset of Charaloom
IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp")  # names that others give the column of pictures
ROWS = 16  # in memory at a time
LISTING = "rows.jsonl"
ROW_BYTES = 2**20  # of what stands beside a picture; set by hand


def take(table: Path, number: int, folder: Path, file_bytes: int, listing: Any, counts: dict[str, int]) -> None:
    """Write the pictures of one table, and a line for each of its rows."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(table, buffer_size=1 << 20) as file:
        names = file.schema_arrow.names
        image = next((name for kind in IMAGES for name in names if name.lower() == kind), None)
        if image is None:
            fail(
                f"{table.name} has no column of pictures (`image`), but {', '.join(names[:8])}. Save its pictures with "
                "captions beside them and name the folder"
            )
        for place, row in enumerate(rows(file)):
            data, name = picture_of(row.pop(image))
            if not data or len(data) > file_bytes:
                counts["large" if data else "empty"] += 1
                continue
            counts["bytes"] += len(data)
            if counts["bytes"] > TOTAL_BYTES or counts["rows"] >= ENTRIES:
                fail(f"holds more than {TOTAL_BYTES // 2**30} GiB or {ENTRIES} pictures; name some of its files")
            digest = hashlib.sha256(data).hexdigest()
            (folder / digest).write_bytes(data)
            said = {"file": digest, "name": name or f"{number}/{place}", "ours": set(names) >= OURS, "row": clean(row)}
            line = json.dumps(said, default=str)
            if len(line) > ROW_BYTES:
                line = json.dumps({**said, "row": {}, "unread": True})
            listing.write(line + "\n")
            counts["rows"] += 1


def clean(value: Any) -> Any:
    """What stands in a row, without secrets that others left in it."""
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    return scrubbed_text(value) if isinstance(value, str) else value


def rows(file: Any) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=ROWS, use_threads=False):
        yield from batch.to_pylist()


def picture_of(value: Any) -> tuple[bytes | None, str | None]:
    """The bytes of a picture and the name that it had; a column holds them bare, or as `datasets` writes them."""
    if isinstance(value, dict):
        data, name = value.get("bytes"), value.get("path")
        return data if isinstance(data, bytes) else None, name if isinstance(name, str) else None
    return value if isinstance(value, bytes) else None, None


def main() -> None:
    import pyarrow as pa

    facts = json.loads(sys.argv[1])
    folder, counts = Path(facts["folder"]), {"rows": 0, "bytes": 0, "large": 0, "empty": 0}
    with (folder / LISTING).open("w", encoding="utf-8") as listing:
        for number, table in enumerate(facts["tables"]):
            try:
                take(Path(table), number, folder, facts["file_bytes"], listing, counts)
            except MemoryError:
                fail(f"{Path(table).name} has rows that need more memory than this may take; name some of its files")
            except (pa.ArrowException, OSError, ValueError) as error:
                fail(f"{Path(table).name} is no Parquet file that can be read ({error}). Download it again")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
