"""What waifuc says of an item: read as JSON, and what it pickled into it is left where it is."""

from typing import Any

from charaloom.sources.folders.side_files import merged, rows_of_waifuc, sides_of_waifuc
from charaloom.sources.posts import EMPTY_POST, Post, scrubbed, text_of

SITE = "waifuc"  # of what names no site


def post_of_item(meta: dict[str, Any], number: int) -> tuple[Post, str | None]:
    """The post of an item, and its rating with UNKNOWN for one that is not understood. `number`: of the item."""
    site, row = next(iter(rows_of_waifuc(meta)), (SITE, {"id": meta.get("group_id") or meta.get("filename") or number}))
    post_id = text_of(str(row["id"])) or str(number)
    frame = meta.get("index")  # of a video, of several pictures in a post
    if isinstance(frame, int):
        post_id = f"{post_id}_{frame}"
    own = {"site": text_of(site) or SITE, "post_id": post_id[:200], "file_url": scrubbed(text_of(meta.get("url")))}
    return merged(sides_of_waifuc(meta), {**EMPTY_POST, **own})
