"""Files of pictures in a folder of the user's: their endings, and the names of the side files beside them."""

import os
from collections.abc import Iterator
from pathlib import Path

from charaloom.artifacts.files import digest, sha256_file
from charaloom.errors import CharaloomError

EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jxl")
)


def files_of(root: Path) -> Iterator[Path]:
    """Regular files and links to such, relative to `root`; what cannot be listed is an error, never a silent gap."""

    def unreadable(error: OSError) -> None:
        raise CharaloomError(f"{error.filename}: {error.strerror}. Make it readable, or take it out of the folder.")

    for parent, _, names in os.walk(root, onerror=unreadable):
        for name in names:
            path = Path(parent, name)
            if path.is_file():
                yield path.relative_to(root)


def side_files(path: Path) -> list[Path]:
    """Where a picture's caption (.txt) and post (.json) may lie, later ones added to earlier ones."""
    return [path.with_name(stem + end) for end in (".json", ".txt") for stem in (path.stem, path.name)]


def pictures_digest(folder: str) -> str:
    """Names and sizes of the pictures of a folder, contents of what is written beside them."""
    facts: list[list[object]] = []
    for parent, _, names in os.walk(folder):
        pictures = {Path(parent, name) for name in names if Path(name).suffix.lower() in EXTENSIONS}
        beside = {Path(parent, name) for name in names} & {side for path in pictures for side in side_files(path)}
        facts += [[str(path.relative_to(folder)), path.stat().st_size] for path in pictures if path.is_file()]
        facts += [[str(path.relative_to(folder)), sha256_file(path)] for path in beside if path.is_file()]
    return digest(sorted(facts))
