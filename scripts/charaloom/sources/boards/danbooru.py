"""Danbooru v2: danbooru.donmai.us, safebooru.donmai.us, AIBooru, Blombooru. GET /posts.json; and e621, e926, which
take the same requests, answer in groups of keys, and whose `s` is safe.

Pages by keyset (`page=b<id>`: what is older), so that posts that come or go meanwhile shift nothing.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from charaloom.sources.boards.answers import Row, as_list, as_row, inner, json_of, member, rows_of, whole
from charaloom.sources.boards.dialect import (
    SAFE_RATINGS,
    Cursor,
    Dialect,
    Found,
    Name,
    Page,
    Request,
    made,
    names_of,
    ordered,
    rating_of,
)
from charaloom.sources.posts import BANNED, DELETED, post_of

HIDDEN = ("invalid", "lore")  # kinds of tags that say nothing about the picture
CHARACTER = 4  # the category of tags
NAME_SEARCH = {
    "search[category]": str(CHARACTER),
    "search[order]": "count",
    "search[hide_empty]": "yes",
    "limit": "20",
}
NAMED = ("artist", "general", "character", "copyright", "meta")


class Danbooru(Dialect):
    terms = 2  # what an anonymous visitor may ask Danbooru for at once
    page_size = 200
    name_search = "name_or_alias_matches"
    rating_terms: ClassVar = {
        name: f"rating:{name[0]}" for name in ("general", "sensitive", "questionable", "explicit")
    }

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        params = {"tags": query, "limit": str(self.page_size)}
        if cursor.pages:
            params["page"] = str(cursor.pages + 1) if ordered(query) else f"b{cursor.lowest}"
        return Request(f"{root}/posts.json", params)

    def account(self, name: str, key: str) -> dict[str, Any]:
        return {"login": (name, key)}

    def names_request(self, root: str, name: str) -> Request | None:
        return Request(f"{root}/tags.json", {f"search[{self.name_search}]": f"*{name}*", **NAME_SEARCH})

    def names(self, body: bytes) -> list[Name]:
        value = json_of(body)
        rows = [] if as_row(value).get("tags") == [] else rows_of(value)  # as e621 writes none
        return names_of(rows, "name", "post_count", "category", (CHARACTER,))

    def other_names_request(self, root: str, name: str) -> Request | None:
        """By the titles of the wiki's pages, which are tags."""
        params = {"search[other_names_match]": name, "search[hide_deleted]": "yes", "limit": "20"}
        return Request(f"{root}/wiki_pages.json", params)

    def other_names(self, body: bytes) -> list[str]:
        titles = (row.get("title") for row in rows_of(json_of(body)))
        return [title for title in titles if isinstance(title, str)]

    def tags_request(self, root: str, tags: Iterable[str]) -> Request:
        return Request(f"{root}/tags.json", {"search[name_space]": " ".join(tags), **NAME_SEARCH})

    def variants_request(self, root: str, tags: Iterable[str]) -> Request | None:
        params = {"search[antecedent_name_space]": " ".join(tags), "search[status]": "active", "limit": "200"}
        return Request(f"{root}/tag_implications.json", params)

    def variants(self, body: bytes) -> dict[str, str]:
        rows = [(row.get("antecedent_name"), row.get("consequent_name")) for row in rows_of(json_of(body))]
        return {tag: implied for tag, implied in rows if isinstance(tag, str) and isinstance(implied, str)}

    def count_request(self, root: str, query: str) -> Request | None:
        return Request(f"{root}/counts/posts.json", {"tags": query})

    def count(self, body: bytes) -> int | None:
        return whole(inner(as_row(json_of(body)), "counts", "posts"))

    def page(self, body: bytes) -> Page:
        value = json_of(body)
        if isinstance(value, dict) and "posts" in value:
            value = value["posts"]
        return Page([row for row in rows_of(value) if whole(row.get("id")) is not None])

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        return Found(
            post_of(row, site, str(whole(row["id"])), root),
            width=whole(row.get("image_width")),
            height=whole(row.get("image_height")),
            size=whole(row.get("file_size")),
            extension=str(row.get("file_ext") or "").lower(),
            gone=BANNED if row.get("is_banned") else DELETED if row.get("is_deleted") else None,
        )


class E621(Danbooru):
    terms = 40
    page_size = 320
    name_search = "name_matches"
    rating_terms: ClassVar = {}  # it tells no counts

    def other_names_request(self, root: str, name: str) -> Request | None:
        return None

    def variants_request(self, root: str, tags: Iterable[str]) -> Request | None:
        return None

    def count_request(self, root: str, query: str) -> Request | None:
        return None

    def page(self, body: bytes) -> Page:
        return Page([row for row in member(json_of(body), "posts") if whole(row.get("id")) is not None])

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(whole(row["id"]))
        sources = row.get("sources")
        kinds = as_row(row.get("tags"))
        parent = whole(inner(row, "relationships", "parent_id"))
        other = [tag for kind in kinds if kind not in (*HIDDEN, *NAMED) for tag in as_list(kinds[kind])]
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/posts/{post_id}",
            file_url=inner(row, "file", "url"),
            md5=inner(row, "file", "md5"),
            rating=rating_of(row.get("rating"), SAFE_RATINGS),
            score=inner(row, "score", "total"),
            favourites=row.get("fav_count"),
            parent_id=str(parent) if parent else None,
            created=row.get("created_at"),
            source=sources[0] if isinstance(sources, list) and sources else None,
            artists=as_list(kinds.get("artist")),
            tags_general=[*as_list(kinds.get("general")), *other],
            tags_character=as_list(kinds.get("character")),
            tags_copyright=as_list(kinds.get("copyright")),
            tags_meta=as_list(kinds.get("meta")),
        )
        return Found(
            post,
            width=whole(inner(row, "file", "width")),
            height=whole(inner(row, "file", "height")),
            size=whole(inner(row, "file", "size")),
            extension=str(inner(row, "file", "ext") or "").lower(),
            gone=DELETED if inner(row, "flags", "deleted") is True else None,
        )
