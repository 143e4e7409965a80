"""A published dataset: ours (Parquet, each picture's bytes as they were published), or pictures with captions as others
publish them, in Parquet files, archives or a folder. CyberHarem's sidecars are read as JSON; nothing in them is ever
unpickled."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import files_below, whole_folder
from charaloom.artifacts.sealed import below, seal_files, whole_files
from charaloom.sources.folders.ratings import UNKNOWN
from charaloom.sources.folders.reader import FolderReport, FolderSource
from charaloom.sources.folders.side_files import merged, side_of_object
from charaloom.sources.local.archive import ArchiveSource, named
from charaloom.sources.local.child import run
from charaloom.sources.local.tables import LISTING
from charaloom.sources.local.unpacking import plain_path
from charaloom.sources.posts import EMPTY_POST, ListedPost, Post, Rules, judged, refused, text_of, words

SITE = "dataset"
TABLES = (".parquet",)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".7z")
RAW = "dataset-raw.zip"  # of a CyberHarem repository: its other archives hold the same pictures, cropped and resized
TABLES_BYTES = 2**31  # of the file that lists the rows; set by hand


class DatasetSource:
    """The pictures of a dataset: a folder, one of its files, or a zip."""

    def __init__(self, path: str, rules: Rules, folder: Path) -> None:
        self.path, self.rules, self.folder = Path(path), rules, folder
        self.report = FolderReport()
        self.numbers: dict[str, int] = {}

    def list_posts(self) -> list[ListedPost]:
        """One post per picture; of our own datasets one per post that a picture came from."""
        names = [self.path / name for name in files_below(self.path)] if self.path.is_dir() else [self.path]
        tables, archives, _ = parts_of(names)
        if tables:
            return list(self.posts_of_tables(tables))
        if archives or not self.path.is_dir():
            return [entry for archive in archives or names for entry in self.posts_of_archive(archive, len(archives))]
        return self.posts_of_folder(FolderSource(self.path, self.rules, stored=plain_path))

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return self.numbers

    # ---- pictures with what lies beside them

    def posts_of_folder(self, source: FolderSource | ArchiveSource) -> list[ListedPost]:
        listed = source.list_posts()
        self.report.unused += source.report.unused
        self.report.remarks += source.report.remarks
        for name, number in source.counts().items():
            self.numbers[name] = self.numbers.get(name, 0) + number
        return [named(entry, SITE, self.rules) for entry in listed]

    def posts_of_archive(self, archive: Path, number: int) -> list[ListedPost]:
        """The posts of an archive; where there are several, its name stands before theirs."""
        if number < 2:
            return self.posts_of_folder(ArchiveSource(str(archive), self.rules, self.folder))
        name = str(archive.relative_to(self.path))
        listed = self.posts_of_folder(ArchiveSource(str(archive), self.rules, self.folder / "archives" / name))
        return [replace(entry, post={**entry.post, "post_id": f"{name}/{entry.post['post_id']}"}) for entry in listed]

    # ---- Parquet files

    def posts_of_tables(self, tables: list[Path]) -> Iterator[ListedPost]:
        files, report = self.folder / "files", self.folder / "report.json"
        limit = self.rules.limits.maximum_bytes
        if (counts := whole_files(report)) is None:
            with whole_folder(files) as part:
                facts = {"path": str(self.path), "folder": str(part), "tables": list(map(str, tables))}
                counts = run("charaloom.sources.local.tables", {**facts, "file_bytes": limit}, TABLES_BYTES)
            seal_files(report, below(files), counts)
        self.numbers = {"large_entries": counts["large"], "empty_rows": counts["empty"]}
        with (files / LISTING).open(encoding="utf-8") as lines:
            for line in lines:
                said = json.loads(line)
                file = files / said["file"]
                yield from self.own_posts(said["row"], file) if said["ours"] else [self.foreign_post(said, file)]

    def own_posts(self, row: dict[str, Any], file: Path) -> Iterator[ListedPost]:
        for known in row["posts"] or [{"site": SITE, "post_id": str(row["view"])}]:
            post: Post = {**EMPTY_POST, **{key: value for key, value in known.items() if key in EMPTY_POST}}
            post = {**post, "tags_general": words(row["tags"]), "rating": post["rating"] or row.get("rating")}
            yield judged(ListedPost(post, file), self.rules)

    def foreign_post(self, said: dict[str, Any], file: Path) -> ListedPost:
        """A row of somebody else's: its columns are read as a side file's keys are."""
        own = {**EMPTY_POST, "site": SITE, "post_id": text_of(said["name"]) or said["file"]}
        if said.get("unread"):
            return refused(own, "rating unknown: the row is too large to be read")
        post, rating = merged([side_of_object(said["row"])], own)
        if rating == UNKNOWN:
            return refused(post, "rating unknown: not understood in its row")
        return judged(ListedPost(post, file), self.rules)


def parts_of(names: list[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """The tables, the archives and the other files of a dataset; where there are tables, or else archives, they are
    what is read: what lies beside them are samples of it."""
    tables = [name for name in names if name.name.lower().endswith(TABLES)]
    archives = [name for name in names if name.name.lower().endswith(ARCHIVES)]
    whole = [name for name in archives if name.name == RAW]
    return tables, whole or archives, [name for name in names if name not in (*tables, *archives)]
