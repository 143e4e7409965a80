"""Pictures from a folder of the user's own, with what side files say about them."""

import json
import os
from pathlib import Path
from typing import Any

from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError
from charaloom.images.files import EXTENSIONS, files_of, side_files
from charaloom.sources.posts import EMPTY_POST, Found, Rules, judged, post_of, words

SITE = "folder"
SIDECAR_BYTES = 2**20


def read_folder(folder: PathLike, rules: Rules) -> tuple[list[Found], dict[str, int]]:
    """(posts, counts) of all pictures below a folder, sorted by relative path; links to folders are not followed.

    The relative path is the post id. A picture without a side file has no rating: what a user puts into a folder of
    their own counts as allowed, until the rating model objects. Files whose extension is no picture's are only counted.
    """
    root = Path(folder)
    if not root.is_dir():
        raise CharaloomError(f"{root}: there is no such folder. Correct the roster's query, or put pictures there.")
    names = sorted(files_of(root), key=os.fsencode)
    pictures = [path for path in names if path.suffix.lower() in EXTENSIONS]
    known = {*pictures, *(side for path in pictures for side in side_files(path))}
    counts = {"ignored_files": sum(path not in known for path in names), "unreadable_side_files": 0}
    return [one_picture(root, path, rules, counts) for path in pictures], counts


def one_picture(root: Path, path: Path, rules: Rules, counts: dict[str, int]) -> Found:
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    post = {**EMPTY_POST, "site": SITE, "post_id": name}
    for side in side_files(path):
        if not os.path.isfile(root / side):  # pathlib raises where the name is too long
            continue
        said = read_side_file(root / side)
        if said is None:
            counts["unreadable_side_files"] += 1
        else:
            post = merged(post, said, name)
    return judged(Found(post, root / path), rules)


def read_side_file(path: Path) -> dict[str, Any] | None:
    """What a side file says, as a post of Danbooru's dialect; None where it cannot be read."""
    try:
        if path.stat().st_size > SIDECAR_BYTES:
            return None
        text = path.read_text(encoding="utf-8-sig")
        value = json.loads(text) if path.suffix == ".json" else {"tags_general": caption_tags(text)}
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def caption_tags(text: str) -> list[str]:
    """Tags of a caption: separated by commas or line ends, with underscores in place of blanks."""
    return ["_".join(part.split()) for line in text.splitlines() for part in line.split(",") if part.strip()]


def merged(post: dict[str, Any], said: dict[str, Any], name: str) -> dict[str, Any]:
    """The post with what one more side file adds; lists are joined, single values are taken where there is none."""
    more = post_of(said, SITE, name, None)
    return {
        key: words([*value, *more[key]]) if isinstance(value, list) else value if value is not None else more[key]
        for key, value in post.items()
    }
