"""A published dataset by its repository on a hub: fetched once, at one commit, then read like one on this machine."""

import os
import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from charaloom.artifacts.files import whole_folder
from charaloom.artifacts.sealed import below, seal_files, whole_files
from charaloom.config.params import Origin
from charaloom.errors import CharaloomError
from charaloom.images.files import EXTENSIONS, LISTINGS, SIDE_ENDINGS
from charaloom.runtime.hub import fetch_repository, is_address, list_repository, repository_folder
from charaloom.sources.local.dataset import ARCHIVES, SITE, TABLES, DatasetSource, parts_of
from charaloom.sources.local.unpacking import ENTRIES, TOTAL_BYTES, Unpacking
from charaloom.sources.posts import ListedPost, Rules

ENDINGS = (*EXTENSIONS, *SIDE_ENDINGS, *LISTINGS, *TABLES, *ARCHIVES)
CONTAINER_BYTES = 25 * 2**30  # of a table or an archive; set by hand, as the following
SIDE_BYTES = 2**26
PER_FETCH = 50  # files between two lines of progress


class HubSource:
    """The pictures of a dataset repository. Its commit stands in the store, in `repository.json`."""

    def __init__(
        self, origin: Origin, rules: Rules, folder: Path, cache: Path, progress: Callable[[int, int], None]
    ) -> None:
        assert origin.repo is not None
        assert origin.revision is not None
        assert origin.hub is not None
        self.repo, self.revision, self.hub, self.patterns = origin.repo, origin.revision, origin.hub, origin.files
        self.rules, self.folder, self.cache, self.progress = rules, folder, cache, progress
        self.inner = DatasetSource(str(folder / "repository"), rules, folder)
        self.report = self.inner.report
        self.numbers: dict[str, int] = {}
        self.commit: str | None = None

    def list_posts(self) -> list[ListedPost]:
        """One post per picture. Raises CharaloomError where the hub does not give the repository."""
        record = self.folder / "repository.json"
        if (known := whole_files(record)) is None:
            with whole_folder(self.folder / "repository") as part:
                known = self.fetched(part)
            seal_files(record, below(self.folder / "repository"), known)
        self.commit, self.numbers = known["commit"], known["numbers"]
        page = f"{self.hub}/datasets/{self.repo}/tree/{self.commit}" if is_address(self.hub) else None
        listed = self.inner.list_posts()
        for entry in listed:
            if entry.post["site"] == SITE and entry.post["page_url"] is None:
                entry.post["page_url"] = page
        return listed

    def fetched(self, part: Path) -> dict[str, Any]:
        """Bring the wanted files into `part`: {commit, files, numbers}."""
        commit, sizes = list_repository(self.repo, "dataset", self.revision, self.hub)
        wanted, numbers = self.chosen(sizes)
        places = Unpacking(part, ENDINGS, CONTAINER_BYTES)
        paths = {path: place for path in wanted if (place := places.place(path))}
        for start in range(0, len(paths), PER_FETCH):
            some = list(paths)[start : start + PER_FETCH]
            entry = {"repo": self.repo, "repo_type": "dataset", "revision": commit, "files": dict.fromkeys(some)}
            fetch_repository(entry, self.hub, self.cache)
            for path in some:
                bring(repository_folder(self.cache, self.repo, "dataset") / "snapshots" / commit / path, paths[path])
            self.progress(start + len(some), len(paths))
        numbers["refused_entries"] = len(places.refused)
        return {"commit": commit, "numbers": numbers}

    def chosen(self, sizes: dict[str, int]) -> tuple[list[str], dict[str, int]]:
        """The files that are worth fetching. Raises CharaloomError where there are none, or too many."""
        named = [path for path in sorted(sizes) if self.patterns is None or self.is_named(path)]
        tables, archives, others = parts_of(list(map(Path, named)))
        plain = [path for path in others if path.name.lower().endswith(ENDINGS)]
        found = list(map(str, tables or archives or plain))
        wanted = [path for path in found if sizes[path] <= self.most(path)]
        if not wanted:
            why = "are too large" if found else f"hold pictures (there are {', '.join(sorted(sizes)[:5]) or 'none'})"
            raise CharaloomError(f"{self.repo}: {'its files' if found else 'none of its files'} {why}. Check `files`.")
        total = sum(sizes[path] for path in wanted)
        if total > TOTAL_BYTES or len(wanted) > ENTRIES:
            raise CharaloomError(
                f"{self.repo}: {len(wanted)} files of {total / 2**30:.0f} GiB are more than Charaloom fetches "
                f"({ENTRIES}, {TOTAL_BYTES // 2**30} GiB). Name some of them under `files`."
            )
        return wanted, {"large_entries": len(found) - len(wanted)}

    def is_named(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.patterns or ())

    def most(self, path: str) -> int:
        """Bytes that a file may have."""
        ending = PurePosixPath(path).suffix.lower()
        if ending in EXTENSIONS:
            return self.rules.limits.maximum_bytes
        is_side = ending in SIDE_ENDINGS or PurePosixPath(path).name.lower() in LISTINGS
        return SIDE_BYTES if is_side else CONTAINER_BYTES

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        own = self.inner.counts()
        return {key: self.numbers.get(key, 0) + own.get(key, 0) for key in sorted({*self.numbers, *own})}


def bring(origin: Path, target: Path) -> None:
    """A file of the cache at its place in the store, without a second copy where that can be had."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(origin.resolve(), target)
    except OSError:
        shutil.copyfile(origin, target)
