"""A published dataset: ours (Parquet, each picture's bytes as they were published), or pictures with captions as others
publish them, in a folder or a zip. CyberHarem's sidecars are read as JSON; nothing in them is ever unpickled."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import files_below, sha256_bytes
from charaloom.errors import CharaloomError
from charaloom.sources.folders.ratings import UNKNOWN
from charaloom.sources.folders.reader import FolderReport, FolderSource
from charaloom.sources.folders.side_files import Side, merged
from charaloom.sources.local.archive import ArchiveSource, named
from charaloom.sources.posts import EMPTY_POST, ListedPost, Post, Rules, judged, refused, words
from charaloom.sources.waifuc.items import SIDECAR, read_sidecar, sidecar_of, sides_of

SITE = "dataset"
ROWS = 16  # of a Parquet file in memory at a time
NEEDED = {"image", "posts", "picture", "tags", "view"}  # columns of ours


class DatasetSource:
    """The pictures of a dataset: a folder, one of its files, or a zip."""

    def __init__(self, path: str, rules: Rules, folder: Path) -> None:
        self.path, self.rules, self.folder = Path(path), rules, folder
        self.inner: ArchiveSource | FolderSource | None = None
        self.report = FolderReport()

    def list_posts(self) -> list[ListedPost]:
        """One post per picture; of our own datasets one per post that a picture came from."""
        tables = parquet_files(self.path)
        if tables:
            return [entry for table in tables for entry in self.rows(table)]
        if self.path.is_dir():
            self.inner = FolderSource(self.path, self.rules)
        else:
            self.inner = ArchiveSource(str(self.path), self.rules, self.folder)
        listed = [with_sidecar(entry, self.rules) for entry in self.inner.list_posts()]
        unused = [(name, why) for name, why in self.inner.report.unused if not name.endswith(SIDECAR)]
        self.report = FolderReport(unused, self.inner.report.remarks)
        return [named(entry, SITE, self.rules) for entry in listed]

    def rows(self, table: Path) -> Iterator[ListedPost]:
        """The rows of one Parquet file of ours, their pictures written to the store."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(table) as file:
                if missing := sorted(NEEDED - set(file.schema_arrow.names)):
                    raise CharaloomError(
                        f"{table}: has no column {missing[0]!r}: no dataset of Charaloom. Save its pictures with "
                        "captions beside them and name the folder."
                    )
                for batch in file.iter_batches(
                    batch_size=ROWS, columns=sorted(NEEDED | {"rating"} & set(file.schema_arrow.names))
                ):
                    for row in batch.to_pylist():
                        yield from self.posts_of(row)
        except (pa.ArrowException, OSError) as error:
            raise CharaloomError(
                f"{table}: is no Parquet file that can be read ({error}). Download it again."
            ) from error

    def posts_of(self, row: dict[str, Any]) -> Iterator[ListedPost]:
        data = (row["image"] or {}).get("bytes") or b""
        file = self.folder / "files" / sha256_bytes(data)
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file() or file.stat().st_size != len(data):
            file.write_bytes(data)
        for known in row["posts"] or [{"site": SITE, "post_id": str(row["view"])}]:
            post: Post = {**EMPTY_POST, **{key: value for key, value in known.items() if key in EMPTY_POST}}
            post = {**post, "tags_general": words(row["tags"]), "rating": post["rating"] or row.get("rating")}
            yield judged(ListedPost(post, file), self.rules)

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return self.inner.counts() if self.inner else {}


def parquet_files(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / name for name in files_below(path) if name.suffix == ".parquet"]
    return [path] if path.suffix == ".parquet" else []


# ---- waifuc's sidecars


def with_sidecar(entry: ListedPost, rules: Rules) -> ListedPost:
    """A post with what waifuc wrote beside its picture (`.<stem>_meta.json`): the tags, and the post of the board."""
    sidecar = sidecar_of(entry.file) if entry.file else None
    if sidecar is None or not sidecar.is_file():
        return entry
    content = read_sidecar(sidecar)
    if content is None:
        return refused(entry.post, f"rating unknown: {sidecar.name} is no valid JSON")
    own = Side(tags=entry.post["tags_general"], rating=entry.post["rating"])
    post, rating = merged([own, *sides_of(content)], entry.post)
    if rating == UNKNOWN:
        return refused(post, "rating unknown: not understood in its sidecar")
    return judged(replace(entry, post=post), rules)
