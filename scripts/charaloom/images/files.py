"""Files of pictures in a folder of the user's: their endings, and the names of the side files beside them."""

import os
from collections.abc import Iterator
from pathlib import Path

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
