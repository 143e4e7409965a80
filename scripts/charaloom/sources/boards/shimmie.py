"""Shimmie2 and Danbooru 1: GET /api/danbooru/find_posts/index.xml?tags=&limit=100&page=1, an XML list; `s` is safe."""

from typing import Any
from urllib.parse import unquote

from charaloom.sources.boards.answers import NotAListError, Row, moment, whole, xml_of
from charaloom.sources.boards.dialect import (
    SAFE_RATINGS,
    Cursor,
    Dialect,
    Found,
    Page,
    Request,
    ending,
    made,
    rating_of,
    with_character,
)


class Shimmie(Dialect):
    terms = 3  # of an anonymous visitor, unless the board says otherwise

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        params = {"tags": query, "limit": str(self.page_size), "page": str(cursor.pages + 1)}
        return Request(f"{root}/api/danbooru/find_posts/index.xml", params)

    def account(self, name: str, key: str) -> dict[str, Any]:
        return {"secret_params": {"login": name, "password_hash": key}}

    def page(self, body: bytes) -> Page:
        if not body.strip():  # Shimmie from 2.11.5 on
            raise NotAListError("an empty body: its version does not speak this API any more")
        attributes, rows = xml_of(body)
        return Page([row for row in rows if whole(row.get("id")) is not None], whole(attributes.get("count")))

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(whole(row["id"]))
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/post/view/{post_id}",
            file_url=row.get("file_url"),
            md5=row.get("md5"),
            rating=rating_of(row.get("rating"), SAFE_RATINGS),
            score=whole(row.get("score")),
            created=moment(row.get("date")),
            source=row.get("source"),
            tags_general=unquote(row.get("tags") or ""),
        )
        return Found(
            with_character(post, query),
            width=whole(row.get("width")),
            height=whole(row.get("height")),
            extension=ending(row.get("file_name") or row.get("file_url")),
        )
