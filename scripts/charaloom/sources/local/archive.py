"""An archive of pictures (zip, tar, 7z): unpacked once into the store, then read like a folder."""

from dataclasses import replace
from pathlib import Path

from charaloom.artifacts.files import whole_folder
from charaloom.artifacts.sealed import below, seal_files, whole_files
from charaloom.errors import CharaloomError
from charaloom.images.files import EXTENSIONS, LISTINGS, SIDE_ENDINGS
from charaloom.sources.folders.reader import FolderReport, FolderSource
from charaloom.sources.local.child import run
from charaloom.sources.local.unpacking import plain_path
from charaloom.sources.posts import ListedPost, Rules, judged

UNUSED = {
    "refused": "leads out of the archive, or is a link or a device",
    "large": "is larger than raw.maximum_bytes",
    "ignored": "no picture",
}


class ArchiveSource:
    """The pictures of an archive, with what lies beside them. A post's id is its path in there."""

    site = "archive"

    def __init__(self, path: str, rules: Rules, folder: Path) -> None:
        self.path, self.rules, self.folder = Path(path), rules, folder
        self.report = FolderReport()
        self.unpacking: dict[str, int] = {}  # numbers of entries
        self.unpacking_names: dict[str, list[str]] = {}

    def list_posts(self) -> list[ListedPost]:
        """One post per picture. Raises CharaloomError where the archive cannot be read."""
        if not self.path.is_file():
            raise CharaloomError(f"{self.path}: there is no such file. Correct the character's sources.")
        inner = FolderSource(self.unpacked(), self.rules, stored=plain_path)
        listed = inner.list_posts()
        self.report = inner.report
        self.report.unused += [(name, why) for kind, why in UNUSED.items() for name in self.unpacking_names[kind]]
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
        self.unpacking = {key: kept[key] for key in ("refused_entries", "large_entries", "ignored_entries")}
        self.unpacking_names = {kind: kept.get(kind, []) for kind in UNUSED}
        return files

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return dict(self.unpacking)


def named(entry: ListedPost, site: str, rules: Rules) -> ListedPost:
    """A post of a folder under the name of its source, judged as such."""
    post = {**entry.post, "site": site}
    return replace(entry, post=post) if entry.problem else judged(replace(entry, post=post), rules)
