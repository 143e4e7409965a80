"""What a dialect of boards is: how a page of its list is asked for, and what the answer says."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from charaloom.sources.boards.answers import Row, flat_tags, whole
from charaloom.sources.posts import EMPTY_POST, Post, absolute, number_of, scrubbed, text_of, words

SAFE_RATINGS = {  # of boards whose `s` is safe: Moebooru, e621, Shimmie, Gelbooru 0.2
    **dict.fromkeys(("s", "safe", "g", "general"), "general"),
    "sensitive": "sensitive",
    **dict.fromkeys(("q", "questionable"), "questionable"),
    **dict.fromkeys(("e", "explicit"), "explicit"),
}


@dataclass(frozen=True)
class Cursor:
    """How far a list has been read: its pages, their rows, and the lowest id among them."""

    pages: int = 0
    rows: int = 0
    lowest: int | None = None


@dataclass(frozen=True)
class Request:
    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """One page of a list; `total` is how many posts the board counts for the query, where it says so."""

    rows: list[Row]
    total: int | None = None


@dataclass(frozen=True)
class Found:
    """A post as the board lists it, and what of it is not stored: pixels, bytes, the file's ending."""

    post: Post
    width: int | None = None
    height: int | None = None
    size: int | None = None
    extension: str = ""
    gone: str | None = None  # why the board shows no file
    unrated: bool = False  # whether the site says nothing at all of its rating
    headers: Mapping[str, str] = field(default_factory=dict)  # that the file's host asks for

    @property
    def tags(self) -> set[str]:
        return {tag for kind in TAGS for tag in self.post[kind]}


TAGS = ("artists", "tags_general", "tags_character", "tags_copyright", "tags_meta")


@dataclass(frozen=True)
class Name:
    """A character's tag on a board, and how many posts the board counts for it."""

    tag: str
    posts: int | None


class Dialect(ABC):
    """`terms`: how many terms of a query an anonymous visitor may ask for at once, None where there is no such limit
    or terms are not divided by blanks. `page_size`: rows of a full page. `has_details`: whether the list does not name
    the files, and each post has an answer of its own that does. `ends_with_404`: whether a page after the last is so
    answered. `cookies`: which of them, after signing in by a password, are the account's name and key."""

    terms: int | None = None
    page_size = 100
    has_details = False
    ends_with_404 = False
    cookies: tuple[str, str] | None = None
    rating_terms: ClassVar[Mapping[str, str]] = {}  # what asks for one rating only, by our names of ratings

    @abstractmethod
    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        """The request for the page after `cursor`."""

    @abstractmethod
    def account(self, name: str, key: str) -> dict[str, Any]:
        """The fields of a Site that carry the user's account: a name (or number) and a key."""

    def sign_in(self, root: str, name: str, password: str) -> tuple[str, dict[str, str]] | None:
        """Address and form by which a password opens the site; None where it takes none."""
        return None

    @abstractmethod
    def page(self, body: bytes) -> Page:
        """The page that an answer holds. Raises NotAListError."""

    @abstractmethod
    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        """A row as a post."""

    def names_request(self, root: str, name: str) -> Request | None:
        """The request for the characters' tags that hold `name` (lower case, underscores); None where there is none."""
        return None

    def names(self, body: bytes) -> list[Name]:
        """The tags that such an answer holds, and aliases under the tag that they stand for. Raises NotAListError."""
        return []

    def other_names_request(self, root: str, name: str) -> Request | None:
        """The request for the tags that have `name` in another language; None where the board knows none."""
        return None

    def other_names(self, body: bytes) -> list[str]:
        """The tags that such an answer holds. Raises NotAListError."""
        return []

    def tags_request(self, root: str, tags: Iterable[str]) -> Request:
        """The request for the characters among some tags, whose answer `names` reads."""
        raise NotImplementedError

    def variants_request(self, root: str, tags: Iterable[str]) -> Request | None:
        """The request for the tags that those imply; None where the board does not tell."""
        return None

    def variants(self, body: bytes) -> dict[str, str]:
        """What such an answer holds: the tag that each tag implies. Raises NotAListError."""
        return {}

    def count_request(self, root: str, query: str) -> Request | None:
        """The request for the number of posts of a query; None where the board does not tell."""
        return None

    def count(self, body: bytes) -> int | None:
        """The number that such an answer holds. Raises NotAListError."""
        return self.page(body).total

    def with_rating(self, query: str, rating: str) -> str:
        return f"{query} {self.rating_terms[rating]}"

    def detail(self, root: str, post_id: str) -> Request:
        """The request for what the list does not say of a post."""
        raise NotImplementedError

    def detailed(self, found: Found, body: bytes, root: str) -> Found:
        """A post with what its own answer says."""
        raise NotImplementedError


def made(root: str, **values: Any) -> Post:
    """A post of the values that a dialect has read; texts, numbers and tags are what they should be, URLs clean."""
    post = {**EMPTY_POST, **values}
    for key in (*TAGS,):
        post[key] = words(flat_tags(post[key]))
    for key in ("score", "favourites"):
        post[key] = number_of(post[key])
    for key in ("parent_id", "created"):
        post[key] = text_of(post[key])
    post["md5"] = md5 if re.fullmatch(r"[0-9a-f]{32}", md5 := str(post["md5"] or "").lower()) else None
    post["file_url"] = absolute(root, text_of(post["file_url"]))
    post["source"] = scrubbed(text_of(post["source"]))
    return post


def names_of(rows: list[Row], tag: str, posts: str, kind: str = "", kinds: tuple[Any, ...] = ()) -> list[Name]:
    """Rows as names, those of the right `kind` alone; the most posts first."""
    wanted = [row for row in rows if isinstance(row.get(tag), str) and (not kind or row.get(kind) in kinds)]
    found = [Name(row[tag], whole(row.get(posts))) for row in wanted]
    return sorted(found, key=lambda name: (-(name.posts or 0), name.tag))


def with_character(post: Post, query: str) -> Post:
    """The post of a board without categories: the character's tag, by custom the query's first, is known to be one."""
    first = next((term for term in query.split() if not re.search(r"^[-~]|^\w+:|\*", term)), None)
    if first not in post["tags_general"]:
        return post
    general = [tag for tag in post["tags_general"] if tag != first]
    return {**post, "tags_general": general, "tags_character": [first, *post["tags_character"]]}


def rating_of(value: Any, ratings: Mapping[str, str]) -> str | None:
    return ratings.get(value.strip().lower()) if isinstance(value, str) else None


def ending(name: Any) -> str:
    """The ending of a file's name, without the dot; nothing where there is none."""
    match = re.search(r"\.([A-Za-z0-9_]{1,8})$", name) if isinstance(name, str) else None
    return match[1].lower() if match else ""


def ordered(query: str) -> bool:
    """Whether a query has an order of its own: then pages are numbered, ids say nothing about places."""
    return re.search(r"(^|\s)(order|ordfav|ordpool|sort):", query) is not None
