"""Danbooru v2: danbooru.donmai.us, safebooru.donmai.us, AIBooru, Blombooru. GET /posts.json.

Pages by keyset (`page=b<id>`: what is older), so that posts that come or go meanwhile shift nothing.
"""

from charaloom.sources.boards.answers import Row, json_of, rows_of, whole
from charaloom.sources.boards.dialect import Account, Cursor, Found, Page, Request, ordered, with_headers
from charaloom.sources.posts import is_number, post_of


class Danbooru:
    terms = 2  # what an anonymous visitor may ask Danbooru for at once
    page_size = 200

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        params = {"tags": query, "limit": str(self.page_size)}
        if cursor.pages:
            params["page"] = str(cursor.pages + 1) if ordered(query) else f"b{cursor.lowest}"
        return Request(f"{root}/posts.json", params)

    def authorised(self, request: Request, account: Account) -> Request:
        return with_headers(request, account.basic())

    def page(self, body: bytes) -> Page:
        value = json_of(body)
        if isinstance(value, dict) and "posts" in value:
            value = value["posts"]
        return Page([row for row in rows_of(value) if is_number(row.get("id"))])

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        return Found(
            post_of(row, site, str(row["id"]), root),
            width=whole(row.get("image_width")),
            height=whole(row.get("image_height")),
            size=whole(row.get("file_size")),
            extension=str(row.get("file_ext") or "").lower(),
            gone="banned: taken down at the artist's request" if row.get("is_banned") else None,
        )
