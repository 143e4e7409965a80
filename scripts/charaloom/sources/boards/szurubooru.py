"""Szurubooru, self-hosted: GET /api/posts/?query=&offset=0&limit=100, with `safety` for a rating and tags by category.

Pages by keyset (`id:..5` in the search, newest first).
"""

from base64 import b64encode
from collections import defaultdict
from typing import Any, ClassVar

from charaloom.sources.boards.answers import Row, as_list, inner, json_of, member, whole
from charaloom.sources.boards.dialect import (
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
)

RATINGS = {"safe": "general", "sketchy": "questionable", "unsafe": "explicit"}
KINDS = {"artist": "artists", "character": "tags_character", "copyright": "tags_copyright", "series": "tags_copyright"}
MOVING = ("video", "flash")
ACCEPT = {"Accept": "application/json"}


class Szurubooru(Dialect):
    rating_terms: ClassVar = {rating: f"safety:{name}" for name, rating in RATINGS.items()}

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        by_id = not ordered(query)
        terms = f"{query} sort:id" if by_id else query
        if by_id and cursor.lowest is not None:
            terms += f" id:..{cursor.lowest - 1}"
        offset = 0 if by_id else cursor.rows
        params = {"query": terms, "offset": str(offset), "limit": str(self.page_size)}
        return Request(f"{root}/api/posts/", params, ACCEPT)

    def account(self, name: str, key: str) -> dict[str, Any]:
        return {"secret_headers": {"Authorization": "Token " + b64encode(f"{name}:{key}".encode()).decode()}}

    def names_request(self, root: str, name: str) -> Request | None:
        params = {"query": f"*{name}* category:character sort:usages", "offset": "0", "limit": "20"}
        return Request(f"{root}/api/tags/", params, ACCEPT)

    def names(self, body: bytes) -> list[Name]:
        rows = [{**row, "name": next(iter(as_list(row.get("names"))), None)} for row in listed(json_of(body))]
        return names_of(rows, "name", "usages")

    def count_request(self, root: str, query: str) -> Request | None:
        return Request(f"{root}/api/posts/", {"query": query, "offset": "0", "limit": "1"}, ACCEPT)

    def page(self, body: bytes) -> Page:
        value = json_of(body)
        rows = [row for row in listed(value) if whole(row.get("id")) is not None]
        return Page(rows, whole(value.get("total")))

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(whole(row["id"]))
        address, kind = row.get("contentUrl"), row.get("type")
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/post/{post_id}",
            file_url=address,
            md5=row.get("checksumMD5"),
            rating=RATINGS.get(str(row.get("safety"))),
            score=whole(row.get("score")),
            favourites=whole(row.get("favoriteCount")),
            created=row.get("creationTime"),
            source=str(row.get("source") or "").partition("\n")[0],
            **tags_of(row),
        )
        return Found(
            post,
            width=whole(row.get("canvasWidth")),
            height=whole(row.get("canvasHeight")),
            size=whole(row.get("fileSize")),
            extension=str(kind) if kind in MOVING else ending(address),
        )


def listed(value: Any) -> list[Row]:
    if isinstance(value, dict) and "results" not in value:
        value = {"error": value.get("description") or value.get("name") or "no `results`"}
    return member(value, "results")


def tags_of(row: Row) -> dict[str, list[str]]:
    """Tags by our columns; a category's name may have a prefix (`default`, `02_character`)."""
    tags: dict[str, list[str]] = defaultdict(list)
    for tag in as_list(row.get("tags")):
        names, category = inner(tag, "names"), str(inner(tag, "category")).rpartition("_")[2]
        if isinstance(names, list) and names and isinstance(names[0], str):
            tags["tags_meta" if category == "meta" else KINDS.get(category, "tags_general")].append(names[0])
    return dict(tags)
