"""Gelbooru (dapi) and Gelbooru 0.2: gelbooru.com, safebooru.org and their kin. GET /index.php?page=dapi&s=post&q=index.

Both are asked for JSON; an old server answers XML, which is read as well. Gelbooru has `@attributes` with a count and
`post`, which is missing where there is no hit and no list where there is one; Gelbooru 0.2 has a bare list, and an
empty body at its end. Its count and the number of its rows can differ, so only an empty page is the end.
"""

from typing import Any, ClassVar
from urllib.parse import quote

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
from charaloom.sources.posts import DELETED

CHARACTER = 4  # the type of tags


class Gelbooru(Dialect):
    rating_terms: ClassVar = {name: f"rating:{name}" for name in ("general", "sensitive", "questionable", "explicit")}
    keyset = True  # the search understands `id:<5`

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        by_id = self.keyset and not ordered(query) and cursor.lowest is not None
        tags = f"{query} id:<{cursor.lowest}" if by_id else query
        number = 0 if by_id else cursor.pages
        params = {"page": "dapi", "s": "post", "q": "index", "json": "1"}
        return Request(f"{root}/index.php", {**params, "tags": tags, "limit": str(self.page_size), "pid": str(number)})

    def account(self, name: str, key: str) -> dict[str, Any]:
        return {"secret_params": {"user_id": name, "api_key": key}}

    def names_request(self, root: str, name: str) -> Request | None:
        params = {"page": "dapi", "s": "tag", "q": "index", "json": "1", "limit": "20"}
        return Request(
            f"{root}/index.php", {**params, "name_pattern": f"%{name}%", "orderby": "count", "order": "DESC"}
        )

    def names(self, body: bytes) -> list[Name]:
        if body.lstrip()[:1] == b"<":
            rows = xml_of(body, "tags")[1]
        else:
            value = json_of(body)
            rows = rows_of(value) if isinstance(value, list) else member(value, "tag")
        return names_of(rows, "name", "count", "type", (CHARACTER, str(CHARACTER)))

    def count_request(self, root: str, query: str) -> Request | None:
        params = {"page": "dapi", "s": "post", "q": "index", "json": "1", "tags": query, "limit": "1"}
        return Request(f"{root}/index.php", params)

    def page(self, body: bytes) -> Page:
        """`total` is the board's count of what is asked for, which with keyset pages is what is left."""
        if not body.strip():
            return Page([])
        if body.lstrip()[:1] == b"<":
            attributes, rows = xml_of(body)
            return Page(numbered(rows), whole(attributes.get("count")))
        value = json_of(body)
        if isinstance(value, list):
            return Page(numbered(rows_of(value)))
        return Page(numbered(member(value, "post")), whole(inner(value, "@attributes", "count")))

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(whole(row["id"]))
        parent = whole(row.get("parent_id"))
        name = row.get("image") or row.get("file_url")
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/index.php?page=post&s=view&id={post_id}",
            file_url=self.file_url(row, root),
            md5=row.get("md5") or row.get("hash"),
            rating=rating_of(row.get("rating"), SAFE_RATINGS),
            score=whole(row.get("score")),
            parent_id=str(parent) if parent else None,
            created=moment(row.get("created_at") or row.get("change")),
            source=row.get("source"),
            tags_general=row.get("tags"),
        )
        return Found(
            with_character(post, query),
            width=whole(row.get("width")),
            height=whole(row.get("height")),
            extension=ending(name),
            gone=DELETED if row.get("status") == "deleted" else None,
        )

    def file_url(self, row: Row, root: str) -> Any:
        """The file's address; Gelbooru 0.2 may name only the folder and the file."""
        directory, image = row.get("directory"), row.get("image")
        if "file_url" in row or not (isinstance(directory, str | int) and isinstance(image, str) and image):
            return row.get("file_url")
        return f"{root}/images/{quote(str(directory))}/{quote(image)}"


class Gelbooru02(Gelbooru):
    keyset = False

    def count_request(self, root: str, query: str) -> Request | None:
        params = {"page": "dapi", "s": "post", "q": "index", "tags": query, "limit": "1"}
        return Request(f"{root}/index.php", params)  # as XML, which has the count


def numbered(rows: list[Row]) -> list[Row]:
    return [row for row in rows if whole(row.get("id")) is not None]
