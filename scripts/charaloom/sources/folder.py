"""Pictures from a folder of the user's own, with what side files say about them."""

import json
import os
from pathlib import Path
from typing import Any

from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError
from charaloom.images.files import EXTENSIONS, files_of, side_files
from charaloom.sources.posts import EMPTY_POST, ListedPost, Post, Rules, judged, post_of, words

SITE = "folder"
SIDECAR_BYTES = 2**20


class FolderSource:
    """All pictures below a folder; links to folders are not followed.

    The relative path is the post id. A picture without a side file has no rating: what a user puts into a folder of
    their own counts as allowed, until the rating model objects. Files whose extension is no picture's are only counted.
    """

    def __init__(self, folder: PathLike, rules: Rules) -> None:
        self.root, self.rules = Path(folder), rules
        self.ignored = self.unreadable = 0

    def list_posts(self) -> list[ListedPost]:
        """One post per picture, sorted by relative path."""
        if not self.root.is_dir():
            raise CharaloomError(
                f"{self.root}: there is no such folder. Correct the roster's query, or put pictures there."
            )
        names = sorted(files_of(self.root), key=os.fsencode)
        pictures = [path for path in names if path.suffix.lower() in EXTENSIONS]
        used = {*pictures, *(side for path in pictures for side in side_files(path))}
        self.ignored = sum(path not in used for path in names)
        return [self.listed(path) for path in pictures]

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        """The same posts: their files are there."""
        return posts

    def counts(self) -> dict[str, int]:
        return {"ignored_files": self.ignored, "unreadable_side_files": self.unreadable}

    def listed(self, path: Path) -> ListedPost:
        """The post of one picture, `path` relative to the folder."""
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        post = {**EMPTY_POST, "site": SITE, "post_id": name}
        for side in side_files(path):
            if not os.path.isfile(self.root / side):  # pathlib raises where the name is too long
                continue
            content = read_side_file(self.root / side)
            if content is None:
                self.unreadable += 1
            else:
                post = merged(post, content, name)
        return judged(ListedPost(post, self.root / path), self.rules)


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


def merged(post: Post, content: dict[str, Any], name: str) -> Post:
    """The post with what one more side file adds; lists are joined, single values are taken where there is none."""
    more = post_of(content, SITE, name, None)
    return {
        key: words([*value, *more[key]]) if isinstance(value, list) else value if value is not None else more[key]
        for key, value in post.items()
    }
