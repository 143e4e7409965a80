"""Moebooru: konachan.com, konachan.net, yande.re. GET /post.json; old servers, and Shimmie, GET /post/index.json.

Version 2 of its API adds the category of each tag to a page; a server that does not know it sends the list alone.
Pages by keyset (`id:<5` in the search); `s` is safe.
"""

from typing import Any, ClassVar

from charaloom.sources.boards.answers import Row, inner, json_of, member, moment, rows_of, whole, xml_of
from charaloom.sources.boards.dialect import (
    SAFE_RATINGS,
    Cursor,
    Dialect,
    Found,
    Name,
    Page,
    Request,
    ending,
    made,
    names_of,
    ordered,
    rating_of,
    with_character,
)
from charaloom.sources.posts import DELETED, words

KINDS = {"artist": "artists", "character": "tags_character", "copyright": "tags_copyright", "faults": "tags_meta"}
CHARACTER = 4  # the type of tags
KIND = "tag kinds"  # key under which a page's categories travel with its rows


class Moebooru(Dialect):
    terms = 6
    path = "post.json"
    rating_terms: ClassVar = {"general": "rating:s", "questionable": "rating:q", "explicit": "rating:e"}

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        by_id = cursor.lowest is not None and not ordered(query)
        tags = f"{query} id:<{cursor.lowest}" if by_id else query
        params = {"tags": tags, "limit": str(self.page_size), "page": "1" if by_id else str(cursor.pages + 1)}
        return Request(f"{root}/{self.path}", {**params, "api_version": "2", "include_tags": "1"})

    def account(self, name: str, key: str) -> dict[str, Any]:
        return {"secret_params": {"login": name, "password_hash": key}}

    def names_request(self, root: str, name: str) -> Request | None:
        return Request(
            f"{root}/{self.path.replace('post', 'tag')}", {"name": f"*{name}*", "order": "count", "limit": "20"}
        )

    def names(self, body: bytes) -> list[Name]:
        return names_of(rows_of(json_of(body)), "name", "count", "type", (CHARACTER,))

    def count_request(self, root: str, query: str) -> Request | None:
        path = self.path.replace(".json", ".xml")  # which has the count
        return Request(f"{root}/{path}", {"tags": query, "limit": "1"})

    def count(self, body: bytes) -> int | None:
        return whole(xml_of(body)[0].get("count"))

    def page(self, body: bytes) -> Page:
        value = json_of(body)
        kinds = value.get("tags") if isinstance(value, dict) and "posts" in value else None
        rows = member(value, "posts") if isinstance(value, dict) and "posts" in value else rows_of(value)
        known = kinds if isinstance(kinds, dict) else {}
        return Page([{**row, KIND: known} for row in rows if whole(row.get("id")) is not None])

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(whole(row["id"]))
        parent = whole(row.get("parent_id"))
        tags: dict[str, list[str]] = {key: [] for key in (*KINDS.values(), "tags_general")}
        for tag in words(row.get("tags")):
            tags[KINDS.get(str(row[KIND].get(tag)), "tags_general")].append(tag)
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/post/show/{post_id}",
            file_url=row.get("file_url"),
            md5=row.get("md5"),
            rating=rating_of(row.get("rating"), SAFE_RATINGS),
            score=whole(row.get("score")),
            parent_id=str(parent) if parent else None,
            created=moment(inner(row, "created_at", "s") or row.get("created_at")),
            source=row.get("source"),
            **tags,
        )
        return Found(
            post if row[KIND] else with_character(post, query),
            width=whole(row.get("width")),
            height=whole(row.get("height")),
            size=whole(row.get("file_size")),
            extension=ending(row.get("file_url")),
            gone=DELETED if row.get("status") == "deleted" else None,
        )


class OldMoebooru(Moebooru):
    path = "post/index.json"
