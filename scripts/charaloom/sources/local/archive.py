"""An archive of pictures (zip, tar, 7z): unpacked once into the store, then read like a folder."""

import sys
from dataclasses import replace
from pathlib import Path

from charaloom.artifacts.files import whole_folder
from charaloom.artifacts.sealed import below, seal_files, whole_files
from charaloom.errors import CharaloomError
from charaloom.images.files import EXTENSIONS, LISTINGS, SIDE_ENDINGS, printable
from charaloom.sources.folders.reader import FolderReport, FolderSource
from charaloom.sources.local.child import run
from charaloom.sources.posts import ListedPost, Rules, judged


class ArchiveSource:
    """The pictures of an archive, with what lies beside them. A post's id is its path in there."""

    site = "archive"

    def __init__(self, path: str, rules: Rules, folder: Path) -> None:
        self.path, self.rules, self.folder = Path(path), rules, folder
        self.report = FolderReport()
        self.unpacking: dict[str, int] = {}  # numbers of entries

    def list_posts(self) -> list[ListedPost]:
        """One post per picture. Raises CharaloomError where the archive cannot be read."""
        if not self.path.is_file():
            raise CharaloomError(f"{self.path}: there is no such file. Correct the character's sources.")
        inner = FolderSource(self.unpacked(), self.rules)
        listed = inner.list_posts()
        self.report = inner.report
        return [named(entry, self.site, self.rules) for entry in listed]

    def unpacked(self) -> Path:
        """The folder with its files. The store's name holds the archive's digest, so what is there is what it holds."""
        files, report = self.folder / "files", self.folder / "report.json"
        if (kept := whole_files(report)) is None:
            limit = self.rules.limits.maximum_bytes
            with whole_folder(files) as part:
                facts = {
                    "path": str(self.path),
                    "folder": str(part),
                    "endings": sorted((*EXTENSIONS, *SIDE_ENDINGS, *LISTINGS)),
                }
                said = run("charaloom.sources.local.unpack", {**facts, "file_bytes": limit}, limit)
            kept = said
            seal_files(report, below(files), said)
            for kind, names in (("refused", said["refused"]), ("too large", said["large"])):
                if names:
                    print(f"{self.path}: {kind}: {', '.join(map(printable, names))} …", file=sys.stderr)
        self.unpacking = kept
        return files

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return {key: self.unpacking[key] for key in ("refused_entries", "large_entries", "ignored_entries")}


def named(entry: ListedPost, site: str, rules: Rules) -> ListedPost:
    """A post of a folder under the name of its source, judged as such."""
    post = {**entry.post, "site": site}
    return replace(entry, post=post) if entry.problem else judged(replace(entry, post=post), rules)
