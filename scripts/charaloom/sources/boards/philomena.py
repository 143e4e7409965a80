"""Philomena: Derpibooru, Furbooru. GET /api/v1/json/search/images?q=&per_page=50&page=1; ratings are tags.

The query is in the board's own words, its terms divided by commas. Pages by keyset (`id.lt:5`, newest first).
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from charaloom.sources.boards.answers import Row, inner, json_of, member, whole
from charaloom.sources.boards.dialect import Cursor, Dialect, Found, Name, Page, Request, made, names_of, with_character
from charaloom.sources.posts import DELETED

PAGE_SIZE = 50  # the most it sends
STRICTEST_FIRST = ("explicit", "questionable", "sensitive", "general")
RATINGS = {
    "safe": "general",
    "suggestive": "sensitive",
    "questionable": "questionable",
    "explicit": "explicit",
    **dict.fromkeys(("semi-grimdark", "grimdark", "grotesque"), "explicit"),
}


class Philomena(Dialect):
    page_size = PAGE_SIZE
    rating_terms: ClassVar = {
        "general": "safe", "sensitive": "suggestive", "questionable": "questionable", "explicit": "explicit"
    }  # fmt: skip

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        terms = query if cursor.lowest is None else f"({query}), id.lt:{cursor.lowest}"
        params = {"q": terms, "per_page": str(PAGE_SIZE), "page": "1", "sf": "id", "sd": "desc"}
        return Request(f"{root}/api/v1/json/search/images", params)

    def account(self, name: str, key: str) -> dict[str, Any]:
        return {"secret_params": {"key": key}}

    def with_rating(self, query: str, rating: str) -> str:
        return f"{query}, {self.rating_terms[rating]}"

    def names_request(self, root: str, name: str) -> Request | None:
        terms = f"name:*{name.replace('_', ' ')}*"
        return Request(f"{root}/api/v1/json/search/tags", {"q": terms, "per_page": "20"})

    def names(self, body: bytes) -> list[Name]:
        return names_of(member(json_of(body), "tags"), "name", "images", "category", ("character", "oc"))

    def count_request(self, root: str, query: str) -> Request | None:
        return Request(f"{root}/api/v1/json/search/images", {"q": query, "per_page": "1"})

    def page(self, body: bytes) -> Page:
        value = json_of(body)
        rows = [row for row in member(value, "images") if whole(row.get("id")) is not None]
        return Page(rows, whole(inner(value, "total")))

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(whole(row["id"]))
        tags = [tag for tag in row["tags"] if isinstance(tag, str)] if isinstance(row.get("tags"), list) else []
        names = {kind: without_prefix(tags, kind) for kind in ("artist", "oc", "series")}
        plain = [tag for tag in tags if ":" not in tag and tag not in RATINGS]
        sources = row.get("source_urls")
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/images/{post_id}",
            file_url=inner(row, "representations", "full") or row.get("view_url"),
            rating=rating_of_tags(tags),
            score=row.get("score"),
            favourites=row.get("faves"),
            created=row.get("created_at"),
            source=row.get("source_url") or (sources[0] if isinstance(sources, list) and sources else None),
            artists=names["artist"],
            tags_general=list(map(underscored, plain)),
            tags_character=names["oc"],
            tags_copyright=names["series"],
        )
        hidden = row.get("hidden_from_users") or row.get("deletion_reason")
        return Found(
            with_character(post, underscored(query.partition(",")[0])),
            width=whole(row.get("width")),
            height=whole(row.get("height")),
            size=whole(row.get("size")),
            extension=str(row.get("format") or "").lower(),
            gone=DELETED if hidden else None,
        )


def rating_of_tags(tags: Iterable[str]) -> str | None:
    """The strictest of the rating tags; None where there is none."""
    found = {RATINGS[tag] for tag in tags if tag in RATINGS}
    return next((rating for rating in STRICTEST_FIRST if rating in found), None)


def without_prefix(tags: Iterable[str], kind: str) -> list[str]:
    return [underscored(tag.removeprefix(f"{kind}:")) for tag in tags if tag.startswith(f"{kind}:")]


def underscored(tag: str) -> str:
    return "_".join(tag.split())
