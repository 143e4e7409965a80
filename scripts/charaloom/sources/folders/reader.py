"""The one reader for every folder of a user's: pictures, captions and ratings, and each file that was not used."""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from charaloom.artifacts.files import sha256_file
from charaloom.artifacts.manifest import MANIFEST_ENDING
from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError
from charaloom.images.files import (
    HIDDEN,
    FolderFiles,
    PicturesByName,
    normalised,
    printable,
    read_folder,
    shown_name,
)
from charaloom.sources.folders.ratings import UNKNOWN
from charaloom.sources.folders.side_files import (
    LISTING_BYTES,
    Side,
    Unread,
    UnreadableError,
    listing_rows,
    may_rate,
    merged,
    rating_in_bytes,
    read_side_file,
    side_of_object,
)
from charaloom.sources.posts import EMPTY_POST, REMOVED, ListedPost, Rules, judged, refused

SITE = "folder"
OWN_SITES = frozenset({SITE, "archive"})  # of pictures whose captions are the user's own
REPEATS = re.compile(r"(\d{1,3})_.+")  # kohya's folders: how often an epoch shows their pictures
FILE_NAME_KEYS = ("file_name", "file", "image", "path")  # of a line of a listing, the hub's first
SAYS_NOTHING = "says nothing that is read: no tags, caption or rating"
MISSING_SHOWN = 5  # pictures that a listing names and that are not there


@dataclass
class FolderReport:
    """What became of the files of a folder: what was not used, and what was left out of captions, by name."""

    unused: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)

    def plain(self, pictures: int = 0, captions: int = 0) -> dict[str, object]:
        """As `raw.files.json` holds it."""
        named = {"unused": sorted(map(list, self.unused)), "remarks": sorted(map(list, self.remarks))}
        return {"pictures": pictures, "captions": captions, **named}


@runtime_checkable
class Reporting(Protocol):
    """A source that can say what became of a folder's files."""

    report: FolderReport


def log_files(whose: str, unused: Iterable[Sequence[str | None]], remarks: Iterable[Sequence[str]]) -> None:
    """Name every file that was not used, and what was left out of captions, on the error stream."""
    for name, why in unused:
        print(f"{whose}: not read: {name!r}: {printable(why or '')}", file=sys.stderr)
    for name, what in remarks:
        print(f"{whose}: left out of the caption of {name!r}: {what}", file=sys.stderr)


def files_list(artifact: PathLike) -> Path:
    """Where a character's `raw.files.json` lies, beside the manifest or the table of `raw`. Nothing compares it: a
    stray file makes no stage run again."""
    path = Path(artifact)
    return path.with_name(path.name.removesuffix(MANIFEST_ENDING).removesuffix(".parquet") + ".files.json")


class FolderSource:
    """All pictures below a folder; links to folders are not followed.

    The relative path is the post id. A picture without a side file has no rating: what a user puts into a folder of
    their own counts as allowed, until the rating model objects. A rating that is not understood is not allowed.
    """

    def __init__(
        self,
        folder: PathLike,
        rules: Rules,
        named_by: str = "the roster's query",
        stored: Callable[[str], str] | None = None,
    ) -> None:
        """`stored` gives the name under which a file of an archive lies here; listings hold its own."""
        self.root, self.rules, self.named_by, self.stored = Path(folder), rules, named_by, stored
        self.report = FolderReport()
        self.files = FolderFiles()
        self.doubtful: list[tuple[Path, str]] = []  # folders whose listing is not read whole, and why

    def list_posts(self) -> list[ListedPost]:
        """One post per picture, in the order of their paths."""
        if not self.root.is_dir():
            raise CharaloomError(
                f"{self.root}: there is no such folder. Correct {self.named_by}, or put pictures there."
            )
        self.files = read_folder(self.root)
        for error in self.files.unlisted:
            raise CharaloomError(f"{error.filename}: {error.strerror}. Make it readable, or take it out of the folder.")
        self.report = FolderReport([(shown_name(path), self.reason(path, why)) for path, why in self.files.unused])
        listed_sides = self.read_listings()
        posts = [self.listed(path, listed_sides.get(path, [])) for path in self.files.pictures]
        return without_copies_of_refused(posts, [self.root / path for path in self.files.pictures])

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return {}

    def reason(self, path: Path, why: str) -> str:
        if why != HIDDEN:
            return why
        number = sum(len(names) for _, _, names in os.walk(self.root / path))
        return f"{why} of {number} {'file' if number == 1 else 'files'}"

    def read_listings(self) -> dict[Path, list[Side]]:
        """What metadata.jsonl and its kin say, by picture."""
        sides: dict[Path, list[Side]] = defaultdict(list)
        pictures = PicturesByName(self.files.pictures)
        for listing in self.files.listings:
            missing = []
            place = None
            try:
                for place, row in listing_rows(self.root / listing):
                    name = file_name(row)
                    if isinstance(row, Unread) or name is None:
                        self.leave_line(listing, place, row)
                        continue
                    side, named = side_of_object(row), pictures.named(listing, name)
                    if not named and self.stored:
                        named = pictures.named(listing, self.stored(name))
                    for picture in named:
                        sides[picture].append(side if len(named) == 1 else Side(rating=side.rating))
                    if len(named) > 1:
                        names = ", ".join(map(shown_name, named))
                        self.report.unused.append((f"{shown_name(listing)}, {place}", f"may mean {names}"))
                    elif not named:
                        missing.append(name)
            except (UnreadableError, OSError) as error:
                why = why_unreadable(error)
                self.report.unused.append((shown_name(listing), why))
                if self.listing_may_rate(listing):
                    self.doubtful.append((listing.parent, f"{shown_name(listing)} {why}"))
            else:
                if place is None:
                    self.report.unused.append((shown_name(listing), "describes no pictures"))
            if missing:
                names = ", ".join(missing[:MISSING_SHOWN]) + (" …" if len(missing) > MISSING_SHOWN else "")
                self.report.unused.append((shown_name(listing), f"names {len(missing)} that are not there: {names}"))
        return sides

    def listing_may_rate(self, listing: Path) -> bool:
        """Whether a listing that cannot be read at all may hold ratings."""
        try:
            path = self.root / listing
            return path.stat().st_size > LISTING_BYTES or may_rate(path.read_bytes())
        except OSError:
            return True

    def leave_line(self, listing: Path, place: str, row: dict[str, object] | Unread) -> None:
        """Note a line of a listing that names no picture. Where it may rate one, it leaves those open that no other
        line names."""
        name = f"{shown_name(listing)}, {place}"
        why = row.why if isinstance(row, Unread) else f"names no picture (`{FILE_NAME_KEYS[0]}`)"
        self.report.unused.append((name, why))
        if row.rates if isinstance(row, Unread) else side_of_object(row).rating:
            self.doubtful.append((listing.parent, f"{name} {why}"))

    def listed(self, path: Path, sides: list[Side]) -> ListedPost:
        """The post of one picture, `path` relative to the folder."""
        name = shown_name(path)
        doubts = [] if sides else [why for folder, why in self.doubtful if folder in path.parents]
        for side in self.files.beside.get(path, []):
            try:
                content = read_side_file(self.root / side)
                if not any(map(says_something, content)):
                    self.report.unused.append((shown_name(side), SAYS_NOTHING))
                sides = [*sides, *content]
            except (UnreadableError, OSError) as error:
                why = why_unreadable(error)
                self.report.unused.append((shown_name(side), why))
                doubts += self.doubts(side, why)
        self.report.remarks += [(name, part) for content in sides for part in content.left_out]
        post, rating = merged(sides, {**EMPTY_POST, "site": SITE, "post_id": name, "repeats": repeats_of(path)})
        if rating == UNKNOWN:
            doubts.append("not understood; write general, sensitive, questionable or explicit")
        entry = ListedPost(post, self.root / path)
        if self.is_removed(name):
            return refused(post, REMOVED)
        if doubts:
            return refused(post, f"rating unknown: {doubts[0]}")
        return judged(entry, self.rules)

    def doubts(self, side: Path, why: str) -> list[str]:
        """Why a side file that cannot be read leaves a picture's rating open: a post might have one, and a caption
        where a rating stands among its bytes."""
        if side.suffix.lower() == ".json":
            return [f"{shown_name(side)} {why}"]
        try:
            rating = rating_in_bytes((self.root / side).read_bytes())
        except OSError:
            return []
        return [f"{shown_name(side)} {why}"] if rating and rating not in self.rules.ratings else []

    def is_removed(self, name: str) -> bool:
        """Whether the removals name a picture, in whichever of Unicode's forms."""
        removed = {normalised(post) for post in self.rules.posts}
        return bool({normalised(name), normalised(f"{SITE}:{name}")} & removed)


def file_name(row: dict[str, object] | Unread) -> str | None:
    """The picture that a line of a listing names."""
    names = (row.get(key) for key in FILE_NAME_KEYS) if isinstance(row, dict) else ()
    return next((name for name in names if isinstance(name, str) and name), None)


def says_something(side: Side) -> bool:
    return bool(side.tags or side.rating or side.post or side.left_out)


def why_unreadable(error: Exception) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def repeats_of(path: Path) -> int | None:
    """How often an epoch shows a picture, by the innermost of kohya's folders `<repeats>_<name>` that it is in."""
    matches = (REPEATS.fullmatch(parent.name) for parent in path.parents)
    number = next((int(match[1]) for match in matches if match), 0)
    return number or None


def without_copies_of_refused(posts: list[ListedPost], files: list[Path]) -> list[ListedPost]:
    """Refuse a picture whose bytes are also in the folder under a name whose rating is refused."""
    refusals: dict[str, str] = {}
    sizes = set()
    for entry, file in zip(posts, files, strict=True):
        if (entry.problem or "").startswith("rating") and (content := content_of(file)):
            refusals[content] = entry.problem or ""
            sizes.add(size_of(file))
    return [
        refused(entry.post, refusals[content])
        if entry.file and size_of(file) in sizes and (content := content_of(file)) in refusals
        else entry
        for entry, file in zip(posts, files, strict=True)
    ]


def content_of(path: Path) -> str | None:
    try:
        return sha256_file(path)
    except OSError:
        return None


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
