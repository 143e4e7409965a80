"""Posts: what a source says about a picture, in the columns of `raw` and without secrets; and which are excluded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import urljoin

from charaloom.config.params import Raw
from charaloom.config.roster import allowed_ratings
from charaloom.errors import CharaloomError
from charaloom.images.decoding import Limits
from charaloom.sources.network.secrets import scrubbed_text
from charaloom.sources.safe_text import safe_post

RATINGS = {name[:length]: name for name in ("general", "sensitive", "questionable", "explicit") for length in (1, None)}
RATINGS["safe"] = "general"  # what other boards write
CEILING = ("general", "sensitive")  # no config and no flag goes above
REMOVED = "removed: on request"
BANNED = "banned: taken down at the artist's request"
DELETED = "no file: deleted by the board"
BANNED_ARTIST = "banned_artist"  # the tag by which boards mark an artist who asked for it

Post = dict[str, Any]
EMPTY_POST: Post = {
    "site": None, "post_id": None, "page_url": None, "file_url": None, "md5": None, "rating": None, "score": None,
    "favourites": None, "parent_id": None, "created": None, "source": None, "artists": [], "tags_general": [],
    "tags_character": [], "tags_copyright": [], "tags_meta": [], "repeats": None,
}  # fmt: skip


@dataclass
class ListedPost:
    """One post of a source: what it says, its file where there is one, and why there is none."""

    post: Post
    file: Path | None = None
    problem: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # that its file asks for, such as Referer
    size: int | None = None  # bytes of its file as listed
    url: str | None = field(default=None, repr=False)  # its file's address with secrets in it, never stored


@dataclass(frozen=True)
class Rules:
    """What is excluded. `posts` holds `<site>:<post id>` or bare ids, `pictures` SHA-256 or MD5 in hex."""

    ratings: frozenset[str]
    limits: Limits
    posts: frozenset[str] = frozenset()
    artists: frozenset[str] = frozenset()
    pictures: frozenset[str] = frozenset()

    def refusal(self, post: Post) -> str | None:
        """Why this post is excluded; None where it is not, or where it has no rating."""
        if self.posts & {post["post_id"], f"{post['site']}:{post['post_id']}"}:
            return REMOVED
        if self.artists & {*post["artists"], *post["tags_general"]}:  # boards without categories list all tags alike
            return REMOVED
        if post["md5"] in self.pictures:
            return REMOVED
        if BANNED_ARTIST in {*post["artists"], *post["tags_general"], *post["tags_meta"]}:
            return BANNED
        if post["rating"] is not None and post["rating"] not in self.ratings:
            return f"rating {post['rating']}: not downloaded"
        return None


def rules_of(params: Raw) -> Rules:
    """The rules of stage `raw`. Raises CharaloomError where the config allows a rating that is never fetched."""
    if above := sorted(set(params.ratings) - set(CEILING)):
        raise CharaloomError(
            f"raw.ratings: {', '.join(above)} is never fetched. Use general, or general and sensitive."
        )
    ratings = allowed_ratings(params.ratings, params.age)
    removals = params.removals or {}
    posts, artists, pictures = (
        frozenset(map(str, removals.get(key) or ())) for key in ("posts", "artists", "pictures")
    )
    limits = Limits(params.maximum_pixels, params.maximum_bytes)
    return Rules(frozenset(ratings), limits, posts, artists, frozenset(name.lower() for name in pictures))


def judged(entry: ListedPost, rules: Rules, sentences: bool = True) -> ListedPost:
    """Make its text safe and apply the rules; of a refused post only its number, page and rating are kept, of a removed
    one its number. `sentences`: its tags may be sentences."""
    entry = replace(entry, post=safe_post(entry.post, sentences))
    problem = rules.refusal(entry.post)
    return entry if problem is None else refused(entry.post, problem)


def refused(post: Post, problem: str) -> ListedPost:
    kept = ("site", "post_id") if problem == REMOVED else ("site", "post_id", "page_url", "rating")
    return ListedPost({**EMPTY_POST, **{key: post[key] for key in kept}}, None, problem)


def post_of(row: dict[str, Any], site: str, post_id: str, root: str | None) -> Post:
    """A post of Danbooru's dialect (or gallery-dl's JSON of one) in the columns of `raw`; URLs without secrets."""
    return {
        "site": site,
        "post_id": post_id,
        "page_url": f"{root}/posts/{post_id}" if root else None,
        "file_url": absolute(root, text_of(row.get("file_url"))),
        "md5": md5 if re.fullmatch(r"[0-9a-f]{32}", md5 := str(row.get("md5") or "").lower()) else None,
        "rating": RATINGS.get(str(row.get("rating") or "").lower()),
        "score": number_of(row.get("score")),
        "favourites": number_of(row.get("fav_count")),
        "parent_id": str(row["parent_id"]) if row.get("parent_id") else None,
        "created": text_of(row.get("created_at")),
        "source": scrubbed(text_of(row.get("source"))),
        "artists": tags_of(row, "artist"),
        "tags_general": tags_of(row, "general") or untyped_tags(row),
        "tags_character": tags_of(row, "character"),
        "tags_copyright": tags_of(row, "copyright"),
        "tags_meta": tags_of(row, "meta"),
    }


def absolute(root: str | None, url: str | None) -> str | None:
    """A file's URL below its board's root, without secrets; None where there is none, or it is no URL."""
    try:
        return scrubbed(urljoin(f"{root}/", url)) if root and url else None
    except ValueError:
        return None


def tags_of(row: dict[str, Any], kind: str) -> list[str]:
    return words(row.get(f"tag_string_{kind}") or row.get(f"tags_{kind}"))


def untyped_tags(row: dict[str, Any]) -> list[str]:
    """The flat tags of a post that knows no categories."""
    typed = any(tags_of(row, kind) for kind in ("artist", "character", "copyright", "meta"))
    return [] if typed else words(row.get("tag_string") or row.get("tags"))


def words(value: object) -> list[str]:
    """Tags, each once, in the order given; from a list or a text with blanks."""
    parts = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return list(dict.fromkeys(part for part in map(text_of, parts) if part))


def text_of(value: object) -> str | None:
    """Text that UTF-8 can hold, or None."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) and value else None


def is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62


def number_of(value: Any) -> int | None:
    return value if is_number(value) else None


def scrubbed(text: str | None) -> str | None:
    """A URL, or text with URLs in it, without what names an account or opens one."""
    return (scrubbed_text(text) or None) if text else None
