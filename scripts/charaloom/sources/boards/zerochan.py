"""Zerochan: GET /<Tag+Tag>?json=1&s=id&l=200&p=1, then GET /<id>?json=1 of each post that is fetched.

The list names no files, and the site has no ratings. The query is a tag in its own words (`Hatsune Miku`), several
divided by commas. Without an account pictures of several people are hidden; its password is exchanged for cookies.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

from charaloom.sources.boards.answers import Row, as_list, json_of, member, whole
from charaloom.sources.boards.dialect import Cursor, Dialect, Found, Name, Page, Request, ending, made
from charaloom.sources.posts import text_of


class Zerochan(Dialect):
    page_size = 200
    has_details = True
    ends_with_404 = True
    cookies = ("z_id", "z_hash")

    def request(self, root: str, query: str, cursor: Cursor) -> Request:
        names = [quote_plus(" ".join(name.replace("_", " ").split())) for name in query.split(",") if name.strip()]
        params = {"json": "1", "s": "id", "l": str(self.page_size), "p": str(cursor.pages + 1)}
        return Request(f"{root}/{','.join(names)}", params)

    def account(self, name: str, key: str) -> dict[str, Any]:
        return {"secret_headers": {"Cookie": f"z_id={name}; z_hash={key}"}}

    def sign_in(self, root: str, name: str, password: str) -> tuple[str, dict[str, str]] | None:
        return f"{root}/login", {"ref": "/", "name": name, "password": password, "login": "Login"}

    def names_request(self, root: str, name: str) -> Request | None:
        """It has no search of names: whether there is a tag of this name."""
        return self.request(root, name.title(), Cursor())

    def names(self, body: bytes) -> list[Name]:
        tags = [row.get("tag") for row in member(json_of(body), "items")]
        return [Name(tag, None) for tag in sorted({tag for tag in tags if isinstance(tag, str)})][:20]

    def page(self, body: bytes) -> Page:
        return Page([row for row in member(json_of(body), "items") if whole(row.get("id")) is not None])

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(whole(row["id"]))
        primary = text_of(row.get("tag") or row.get("primary"))
        names = [underscored(tag) for tag in as_list(row.get("tags")) if isinstance(tag, str)]
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/{post_id}",
            md5=row.get("md5") or row.get("hash"),
            favourites=whole(row.get("fav")),
            source=row.get("source"),
            tags_general=[name for name in names if name != underscored(primary or "")],
            tags_character=[underscored(primary)] if primary else [],
        )
        return Found(post, width=whole(row.get("width")), height=whole(row.get("height")), unrated=True)

    def detail(self, root: str, post_id: str) -> Request:
        return Request(f"{root}/{post_id}", {"json": "1"})

    def detailed(self, found: Found, body: bytes, root: str) -> Found:
        """The post with its file: the original is `full`, never one of the smaller ones."""
        value = json_of(body)
        row = value if isinstance(value, dict) else {}
        address, size = row.get("full"), whole(row.get("size"))
        more = made(root, file_url=address, md5=row.get("hash"), source=row.get("source"))
        kept = {key: more[key] or found.post[key] for key in ("file_url", "md5", "source")}
        return replace(found, post={**found.post, **kept}, extension=ending(address), size=size)


def underscored(tag: str) -> str:
    return "_".join(tag.split()).lower()
