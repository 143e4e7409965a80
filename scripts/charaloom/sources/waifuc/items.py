"""What waifuc says of a picture, in a side file of its own (`.<stem>_meta.json`) or of an item: read as JSON, and what
it pickled into it is left where it is."""

from pathlib import Path
from typing import Any

from charaloom.sources.folders.side_files import (
    SIDE_FILE_BYTES,
    Side,
    UnreadableError,
    decoded,
    json_object,
    merged,
    side_of_object,
)
from charaloom.sources.posts import EMPTY_POST, Post, scrubbed, text_of

SITE = "waifuc"  # of what names no site
SIDECAR = "_meta.json"


def sidecar_of(picture: Path) -> Path:
    return picture.with_name(f".{picture.stem}{SIDECAR}")


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Its JSON; None where it is none."""
    try:
        if path.stat().st_size > SIDE_FILE_BYTES:
            return None
        return json_object(decoded(path.read_bytes()))
    except (OSError, UnreadableError):
        return None


def sides_of(meta: dict[str, Any]) -> list[Side]:
    """What it says: the posts of sites, each under its site's name, and the tags."""
    posts = [side_of_object({**row, "category": site}) for site, row in rows_of(meta)]
    typed = {tag for side in posts for key, tags in side.post.items() if isinstance(tags, list) for tag in tags}
    names = [tag for tag in side_of_object({"tags": meta.get("tags")}).tags if tag not in typed]
    return [*posts, Side(tags=names)]


def rows_of(meta: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(site, its own JSON of the post)."""
    return [(key, value) for key, value in sorted(meta.items()) if isinstance(value, dict) and "id" in value]


def post_of_item(meta: dict[str, Any], number: int) -> tuple[Post, str | None]:
    """The post of an item, and its rating with UNKNOWN for one that is not understood. `number`: of the item."""
    site, row = next(iter(rows_of(meta)), (SITE, {"id": meta.get("group_id") or meta.get("filename") or number}))
    post_id = text_of(str(row["id"])) or str(number)
    frame = meta.get("index")  # of a video, of several pictures in a post
    if isinstance(frame, int):
        post_id = f"{post_id}_{frame}"
    own = {"site": text_of(site) or SITE, "post_id": post_id[:200], "file_url": scrubbed(text_of(meta.get("url")))}
    return merged(sides_of(meta), {**EMPTY_POST, **own})
