"""One walk over a folder of the user's own: its pictures, what is written beside them, and every file that is neither.

A picture is what begins like one, or has a picture's ending. Names are compared after Unicode normalisation, and may be
made of any bytes.
"""

import os
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath

from charaloom.artifacts.files import digest, sha256_file
from charaloom.artifacts.sealed import read_kept, write_sealed
from charaloom.artifacts.types import PathLike
from charaloom.images.formats import HEAD_BYTES, reads_heif, sniff, unread

EXTENSIONS = frozenset(
    (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2"),
    )
)
HEIF_ENDINGS = frozenset({".heic", ".heif", ".hif"})
SIDE_ENDINGS = (".json", ".txt", ".caption", ".tags")  # of files beside a picture, in the order they are read
SIDECAR_END = "_meta.json"
LISTINGS = frozenset({"metadata.jsonl", "metadata.csv", "metadata.json"})  # the hub's first: a line for each picture
KOHYA_LISTING = re.compile(r"meta_\w+\.json", re.I)  # an object by name of picture
SYSTEM_FOLDERS = frozenset(
    {"@eadir", "__macosx", "$recycle.bin", "system volume information", "lost+found", "#recycle"}
)
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".directory", "icon\r"})
APPLE_DOUBLE = b"\0\x05\x16\x07"  # first bytes of what a Mac keeps of a file on other systems, as `._<name>`
HIDDEN = "a hidden folder"
SETTLED_SECONDS = 2.0  # age of a change from which a file's time tells it from the next one; file systems differ
STORES = "folders"  # below the work folder: what is known of each folder's files


@dataclass
class FolderFiles:
    """The files of a folder, as paths relative to it, in the order of their names' bytes."""

    pictures: list[Path] = field(default_factory=list)
    beside: dict[Path, list[Path]] = field(default_factory=dict)  # side files of each picture that has some
    listings: list[Path] = field(default_factory=list)
    unused: list[tuple[Path, str]] = field(default_factory=list)  # every other file, with the reason
    unlisted: list[OSError] = field(default_factory=list)  # folders whose files nobody knows

    def used(self) -> list[Path]:
        """Every file whose content may decide something, each once."""
        return sorted({*self.pictures, *self.listings, *(side for sides in self.beside.values() for side in sides)})


def read_folder(root: PathLike) -> FolderFiles:
    """Sort the files below `root`. Links to folders are not followed, hidden folders are left out.

    A folder that cannot be listed is among the `unlisted`.
    """
    files = FolderFiles()
    for parent, names in folders_below(Path(root), files):
        sort_files(Path(root), parent, names, files)
    files.pictures.sort(key=os.fsencode)
    files.listings.sort(key=os.fsencode)
    files.unused.sort(key=lambda entry: os.fsencode(entry[0]))
    return files


def folders_below(root: Path, files: FolderFiles) -> Iterator[tuple[Path, list[str]]]:
    """Each folder, relative to `root`, with the names of its files; folders that are left out are noted in `files`."""
    for parent, folders, names in os.walk(root, onerror=files.unlisted.append):
        relative = Path(parent).relative_to(root)
        entered = []
        for name in sorted(folders, key=os.fsencode):
            if os.path.islink(os.path.join(parent, name)):
                files.unused.append((relative / name, "a link to a folder, which is not followed"))
            elif name.startswith(".") or name.lower() in SYSTEM_FOLDERS:
                files.unused.append((relative / name, HIDDEN))
            else:
                entered.append(name)
        folders[:] = entered
        yield relative, sorted(names, key=os.fsencode)


def sort_files(root: Path, parent: Path, names: list[str], files: FolderFiles) -> None:
    """Put the files of one folder where they belong."""
    pictures, sides = [], []
    for name in names:
        path = parent / name
        if reason := irregular(root / path):
            files.unused.append((path, reason))
        elif is_listing(name):
            files.listings.append(path)
        elif is_picture(root / path):
            pictures.append(path)
        elif ending(name) in SIDE_ENDINGS:
            sides.append(path)
        else:
            files.unused.append((path, why_unused(name)))
    files.pictures += pictures
    owners = owners_by_name(pictures)
    for side in sides:
        described = owners_of(side, owners)
        for picture in described:
            files.beside.setdefault(picture, []).append(side)
        if not described:
            files.unused.append((side, "beside no picture of its name"))
    for picture in pictures:
        files.beside.get(picture, []).sort(key=lambda side: (SIDE_ENDINGS.index(ending(side.name)), os.fsencode(side)))


def is_listing(name: str) -> bool:
    """Whether a file of this name describes the pictures of its folder; waifuc's sidecars begin with a dot."""
    return name.lower() in LISTINGS or bool(KOHYA_LISTING.fullmatch(name))


def irregular(path: Path) -> str | None:
    """Why a directory entry is no file; None where it is one."""
    try:
        if path.is_file():
            return None
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if path.is_symlink():
        return "a link to a file that is not there"
    return "no regular file"


def is_picture(path: Path) -> bool:
    """Whether a file begins like a picture or has a picture's ending; a Mac's `._` files have it for nothing."""
    named = ending(path.name) in EXTENSIONS
    if (named and not path.name.startswith("._")) or ending(path.name) in SIDE_ENDINGS:
        return named
    try:
        with open(path, "rb") as handle:
            head = handle.read(HEAD_BYTES)
    except OSError:
        return named
    if head.startswith(APPLE_DOUBLE):
        return False
    return named or bool(sniff(head) or unread(head))


def ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


REASONS = {
    **dict.fromkeys((".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"), "a video"),
    **dict.fromkeys((".zip", ".rar", ".7z", ".tar", ".gz", ".cbz"), "an archive: unpack it"),
    **dict.fromkeys((".clip", ".kra", ".sai", ".sai2", ".xcf", ".ora"), "a drawing program's file: export it as PNG"),
    **dict.fromkeys((".svg", ".eps", ".pdf", ".ai"), "no picture of pixels: export it as PNG"),
    ".npz": "latents of another trainer",
}


def why_unused(name: str) -> str:
    if name.lower() in SYSTEM_FILES or name.startswith("._"):
        return "a file of the system"
    return REASONS.get(ending(name), "no picture")


# --- which side file describes which picture

Owners = tuple[dict[str, list[Path]], ...]  # pictures by name: as it is, normalised, and regardless of case


def normalised(name: str) -> str:
    """A name in Unicode's composed form: a Mac writes `é` as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def spellings(name: str) -> tuple[str, str, str]:
    return name, normalised(name), normalised(name).casefold()


def owners_by_name(pictures: Iterable[Path]) -> Owners:
    """The pictures of one folder by their names with and without ending."""
    owners: Owners = (defaultdict(list), defaultdict(list), defaultdict(list))
    for picture in pictures:
        for name in dict.fromkeys((picture.stem, picture.name)):
            for by_name, spelling in zip(owners, spellings(name), strict=True):
                if picture not in by_name[spelling]:
                    by_name[spelling].append(picture)
    return owners


def described_by(side: str) -> str:
    """The name, with or without ending, of what a side file describes; waifuc's are called `.<stem>_meta.json`."""
    if side.startswith(".") and side.lower().endswith(SIDECAR_END):
        return side[1 : -len(SIDECAR_END)]
    return os.path.splitext(side)[0]


def owners_of(side: Path, owners: Owners) -> list[Path]:
    """The pictures that a side file describes: those of exactly its name, else those whose name differs in form."""
    names = spellings(described_by(side.name))
    matches = (by_name.get(name) for by_name, name in zip(owners, names, strict=True))
    return next(filter(None, matches), [])


class PicturesByName:
    """The pictures of a folder, looked up by what the lines of a listing call them.

    A line may hold another machine's absolute path, another case, or no ending: then the pictures count whose path has
    the most last parts in common with it.
    """

    def __init__(self, pictures: Iterable[Path]) -> None:
        self.by_path: dict[str, Path] = {}
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        for picture in pictures:
            self.by_path[str(picture)] = picture
            self.by_path.setdefault(normalised(str(picture)), picture)
            for name in dict.fromkeys((picture.stem, picture.name)):
                self.by_name[spellings(name)[-1]].append(picture)

    def named(self, listing: Path, name: str) -> list[Path]:
        """The pictures that a line names, relative to the listing's folder: one, where the name is not ambiguous."""
        wanted = PurePosixPath(name.replace("\\", "/"))
        path = os.path.normpath(listing.parent / wanted)
        if picture := self.by_path.get(path) or self.by_path.get(normalised(path)):
            return [picture]
        beside = self.by_name.get(spellings(wanted.name)[-1], [])
        same_name = [picture for picture in beside if listing.parent in picture.parents]
        shared = [shared_parts(picture.parent, wanted.parent) for picture in same_name]
        return [picture for picture, count in zip(same_name, shared, strict=True) if count == max(shared)]


def shared_parts(first: PurePath, second: PurePath) -> int:
    """How many of the last parts of two paths are the same."""
    pairs = zip(reversed(first.parts), reversed(second.parts), strict=False)
    return len(list(takewhile(lambda pair: spellings(pair[0])[-1] == spellings(pair[1])[-1], pairs)))


# --- names and digests


def shown_name(path: Path) -> str:
    """A path as UTF-8 text, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """A text in one line, whatever stands in it."""
    return text if text.isprintable() else repr(text)[1:-1]


def pictures_digest(folder: PathLike, work: PathLike | None = None) -> str:
    """Names and contents of the pictures of a folder and of what is written beside them; of no folder, that of none.

    Where HEIC files are among them, it counts, too, whether these are read: a decoder may have been installed.
    """
    found = contents(folder, work)
    decoders = ["HEIF"] if any(ending(path.name) in HEIF_ENDINGS for path in found) and reads_heif() else []
    return digest([*([shown_name(path), content] for path, content in found.items()), *decoders])


def contents(folder: PathLike, work: PathLike | None = None) -> dict[Path, str]:
    """SHA-256 of each used file of a folder, or why it cannot be read; of no folder, nothing.

    `work` keeps the digests of files by size, time and inode, so that a file is read again only where these changed.
    """
    if not os.path.isdir(folder):
        return {}
    store = store_of(folder, work) if work else None
    before = known_digests(store)
    after: dict[str, list[object]] = {}
    found: dict[Path, str] = {}
    settled = time.time_ns() - int(SETTLED_SECONDS * 1e9)
    for path in read_folder(folder).used():
        name = shown_name(path)
        try:
            state = os.stat(Path(folder) / path)
            signature = [state.st_size, state.st_mtime_ns, state.st_ino]
            known = before.get(name)
            content = str(known[3]) if known and known[:3] == signature else sha256_file(Path(folder) / path)
        except OSError as error:
            found[path] = f"unreadable: {error.strerror}"
            continue
        found[path] = content
        if state.st_mtime_ns < settled:
            after[name] = [*signature, content]
    if store and after != before:
        with suppress(OSError):  # a work folder that cannot be written costs the next look its speed alone
            write_sealed(store, {"files": after})
    return found


def store_of(folder: PathLike, work: PathLike) -> Path:
    """Where the work folder keeps the digests of a folder's files."""
    return Path(work) / STORES / f"{digest(shown_name(Path(os.path.abspath(folder))))[:16]}.json"


def known_digests(store: Path | None) -> dict[str, list[object]]:
    """[size, time, inode, SHA-256] by name, as the last look left them."""
    with suppress(OSError, AttributeError):
        content = read_kept(store).get("files", {}) if store else {}
        return {name: facts for name, facts in content.items() if isinstance(facts, list) and len(facts) == 4}
    return {}
