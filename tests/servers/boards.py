"""Small boards on loopback, one for each dialect, as shared/facts/boards.md records it; their pictures are drawn here.

Each serves the same posts: pictures, one without a file, one of each rating above general, a video, and a tag that only
one post has, so that its list holds one hit.
"""

import base64
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, unquote_plus, urlsplit
from xml.sax.saxutils import quoteattr

TAG, ONLY, ARTIST, SERIES = "hana_(demo)", "umbrella", "some_artist", "demo_world"
GOOD = range(101, 125)
NO_FILE, SENSITIVE, QUESTIONABLE, EXPLICIT, VIDEO = range(125, 130)
ALL = range(101, 130)
RATINGS = {"general": "s", "sensitive": "q", "questionable": "q", "explicit": "e"}  # of boards without general
SAFETY = {"general": "safe", "sensitive": "sketchy", "questionable": "sketchy", "explicit": "unsafe"}
SHOWN = 10  # posts of a page, whatever is asked for


def drawn(seed: int, kind: str = "PNG") -> bytes:
    import numpy
    from PIL import Image

    noise = numpy.random.default_rng(seed).integers(0, 255, (40, 32, 3)).astype(numpy.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@dataclass
class Entry:
    """One post of every board."""

    id: int
    data: bytes
    rating: str = "general"
    extension: str = "png"
    general: tuple[str, ...] = ("1girl", "red_dress")
    has_file: bool = True

    @property
    def md5(self) -> str:
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()

    @property
    def tags(self) -> list[str]:
        return [*self.general, TAG, ARTIST, SERIES]


def entries() -> list[Entry]:
    ratings = {SENSITIVE: "sensitive", QUESTIONABLE: "questionable", EXPLICIT: "explicit"}
    return [
        Entry(
            number,
            drawn(number),
            ratings.get(number, "general"),
            "mp4" if number == VIDEO else "png",
            ("1girl", "red_dress", *([ONLY] if number == 110 else [])),
            number != NO_FILE,
        )
        for number in ALL
    ]


@dataclass
class Reply:
    body: bytes
    status: int = 200
    type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


@dataclass
class Seen:
    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


def as_json(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status)


class Server(ThreadingHTTPServer):
    """A board; subclasses say how it answers. `requests` is the log, `faults` answers by a part of the address."""

    daemon_threads = True
    dialect = ""
    terms_as_tags = True  # one hit can be had by a tag that only one post has

    def __init__(self, posts: list[Entry] | None = None, shown: int = SHOWN) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts = sorted(posts if posts is not None else entries(), key=lambda post: -post.id)
        self.shown = shown
        self.characters: tuple[str, ...] = ()  # further tags of characters that the board knows
        self.requests: list[Seen] = []
        self.faults: list[tuple[str, Reply]] = []  # each happens once
        self.root = f"http://127.0.0.1:{self.server_address[1]}"

    def reply(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Reply:
        if headers.get("user-agent", "").startswith("Mozilla/"):
            return Reply(b"set a User-Agent of your own", 403, "text/plain")
        for place, (part, reply) in enumerate(self.faults):
            if part in f"{path}?{query}":
                del self.faults[place]
                return reply
        for post in self.posts:
            if path == self.file_path(post) or query.get("q") == self.file_path(post).lstrip("/"):
                return Reply(post.data, type="application/octet-stream")
        return self.answer(path, query, headers)

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Reply:
        raise NotImplementedError

    def file_path(self, post: Entry) -> str:
        return f"/files/{post.md5}.{post.extension}"

    def file_url(self, post: Entry) -> str | None:
        return self.root + self.file_path(post) if post.has_file else None

    def page(self, posts: list[Entry], number: int) -> list[Entry]:
        return posts[number * self.shown : (number + 1) * self.shown]

    def names(self, part: str) -> list[tuple[str, int]]:
        """Tags of characters that hold `part`, and how many posts have them."""
        counts = {name: len(self.search(name)) for name in (TAG, *self.characters) if part.strip("*%") in name}
        return sorted(counts.items(), key=lambda item: -item[1])

    def search(self, terms: str) -> list[Entry]:
        return [post for post in self.posts if all(fits(post, term, self.rated(post)) for term in terms.split())]

    def rated(self, post: Entry) -> str:
        return RATINGS[post.rating]


def fits(post: Entry, term: str, rating: str = "") -> bool:
    """Whether a post has what a term of a search asks for; `rating`: as its board writes it."""
    if found := re.fullmatch(r"id(:<|\.lt:|:\.\.)(\d+)", term):
        return post.id <= int(found[2]) - (found[1] != ":..")
    if term.startswith(("sort:", "order:")):
        return True
    if term.startswith("rating:"):
        return term[7:] == rating
    if term.startswith("safety:"):
        return SAFETY[post.rating] == term[7:]
    return term in post.tags


def without_none(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


class Danbooru(Server):
    dialect = "danbooru"

    def __init__(self, posts=None, shown=SHOWN):
        super().__init__(posts, shown)
        self.implied = {}  # the tag that a tag implies

    def rated(self, post):
        return post.rating[0]

    def answer(self, path, query, headers):
        if path == "/wiki_pages.json":
            return as_json(
                [{"title": TAG, "other_names": ["はな"]}] if query["search[other_names_match]"] == "はな" else []
            )
        if path == "/tags.json":
            part = query.get("search[name_or_alias_matches]") or query.get("search[name_matches]")
            names = self.names(part or query["search[name_space]"])
            return as_json([{"id": 1, "name": name, "post_count": count, "category": 4} for name, count in names])
        if path == "/tag_implications.json":
            known = [tag for tag in query["search[antecedent_name_space]"].split() if tag in self.implied]
            return as_json([{"antecedent_name": tag, "consequent_name": self.implied[tag]} for tag in known])
        if path == "/counts/posts.json":
            return as_json({"counts": {"posts": len(self.search(query["tags"]))}})
        if path != "/posts.json":
            return as_json({"success": False}, 404)
        posts = self.search(query.get("tags", ""))
        if found := re.fullmatch(r"b(\d+)", query.get("page", "")):
            return as_json([self.row(post) for post in posts if post.id < int(found[1])][: self.limit(query)])
        return as_json([self.row(post) for post in self.page(posts, int(query.get("page", 1)) - 1)])

    def limit(self, query):
        return min(self.shown, int(query.get("limit", self.shown)))

    def row(self, post):
        return without_none(
            {
                "id": post.id, "created_at": "2025-01-01T00:00:00.000+00:00", "rating": post.rating[0], "score": 5,
                "fav_count": 2, "parent_id": None, "source": "", "md5": post.md5 if post.has_file else None,
                "file_ext": post.extension, "file_size": len(post.data), "image_width": 32, "image_height": 40,
                "file_url": self.file_url(post), "tag_string": " ".join(post.tags),
                "tag_string_general": " ".join(post.general), "tag_string_character": TAG,
                "tag_string_artist": ARTIST, "tag_string_copyright": SERIES, "tag_string_meta": "",
            }
        )  # fmt: skip


class E621(Danbooru):
    dialect = "e621"

    def answer(self, path, query, headers):
        reply = super().answer(path, query, headers)
        if path == "/tags.json":
            return reply if reply.body != b"[]" else as_json({"tags": []})
        return reply if reply.status != 200 else as_json({"posts": json.loads(reply.body)})

    def row(self, post):
        return {
            "id": post.id, "created_at": "2025-01-01T00:00:00.000+00:00", "rating": RATINGS[post.rating],
            "file": {"width": 32, "height": 40, "ext": post.extension, "size": len(post.data), "md5": post.md5,
                     "url": self.file_url(post)},
            "score": {"up": 6, "down": -1, "total": 5}, "fav_count": 2, "sources": [], "flags": {"deleted": False},
            "relationships": {"parent_id": None},
            "tags": {"general": list(post.general), "artist": [ARTIST], "character": [TAG], "copyright": [SERIES],
                     "species": ["human"], "invalid": ["x"], "meta": []},
        }  # fmt: skip


class Gelbooru(Server):
    dialect = "gelbooru"

    def rated(self, post):
        return post.rating

    one_as_object = True

    def answer(self, path, query, headers):
        if path != "/index.php" or query.get("page") != "dapi":
            return Reply(b"<html>not here</html>", 404, "text/html")
        if query.get("api_key") != "key" or query.get("user_id") != "5":
            return Reply(b'"Missing authentication."', 401)
        if query["s"] == "tag":
            rows = [{"name": name, "count": count, "type": 4} for name, count in self.names(query["name_pattern"])]
            return as_json({"@attributes": {"count": len(rows)}, **({"tag": rows} if rows else {})})
        found = self.search(query.get("tags", ""))
        rows = [self.row(post) for post in self.page(found, int(query.get("pid", 0)))]
        head = {"@attributes": {"limit": self.shown, "offset": 0, "count": len(found)}}
        if not rows:
            return as_json(head)
        return as_json({**head, "post": rows[0] if len(rows) == 1 else rows})

    def row(self, post):
        return {
            "id": post.id, "created_at": "Wed Jan 01 00:00:00 -0600 2025", "score": 5, "width": 32, "height": 40,
            "md5": post.md5, "directory": "ab/cd", "image": f"{post.md5}.{post.extension}", "rating": post.rating,
            "source": "", "parent_id": 0, "tags": escape(" ".join(post.tags)), "status": "active",
            "file_url": self.file_url(post) or "",
        }  # fmt: skip


class Gelbooru02(Server):
    """The bare list with folder and image, without addresses."""

    dialect = "gelbooru_v02"

    def rated(self, post):
        return post.rating

    empty = b""

    def file_path(self, post):
        return f"/images/12/{post.md5}.{post.extension}"

    def answer(self, path, query, headers):
        if path != "/index.php" or query.get("page") != "dapi":
            return Reply(b"<html>not here</html>", 404, "text/html")
        if query["s"] == "tag":
            rows = [{"name": name, "count": count, "type": 4} for name, count in self.names(query["name_pattern"])]
            return Reply(xml(rows, "tag", len(rows)).body.replace(b"posts", b"tags"), type="text/xml")
        found = self.search(query.get("tags", ""))
        rows = [self.row(post) for post in self.page(found, int(query.get("pid", 0)))]
        if query.get("json") != "1":
            return xml(rows[:1], "post", len(found))
        return as_json(rows) if rows else Reply(self.empty)

    def row(self, post):
        row = {
            "id": post.id, "directory": 12, "image": f"{post.md5}.{post.extension}", "hash": post.md5, "width": 32,
            "height": 40, "rating": post.rating, "sample": False, "score": None, "tags": " ".join(post.tags),
            "change": 1735689600, "parent_id": 0,
        }  # fmt: skip
        return row if post.has_file else {**row, "image": None, "directory": None}


class Gelbooru02Xml(Gelbooru02):
    """An old server: XML whatever is asked for, with a count."""

    def answer(self, path, query, headers):
        if path != "/index.php" or query.get("page") != "dapi":
            return Reply(b"<html>not here</html>", 404, "text/html")
        found = self.search(query.get("tags", ""))
        rows = [self.row(post) for post in self.page(found, int(query.get("pid", 0)))]
        return xml(rows, "post", len(found))

    def row(self, post):
        return {
            "id": post.id, "md5": post.md5, "width": 32, "height": 40, "rating": RATINGS[post.rating],
            "score": 5, "tags": f" {' '.join(post.tags)} ", "file_url": self.file_url(post) or "", "source": "",
            "created_at": "Wed Jan 01 00:00:00 +0000 2025", "parent_id": "", "status": "active",
        }  # fmt: skip


def xml(rows: list[dict[str, Any]], name: str, count: int) -> Reply:
    children = "".join(
        f"<{name} " + " ".join(f"{key}={quoteattr(str(value))}" for key, value in row.items()) + "/>" for row in rows
    )
    body = f'<?xml version="1.0" encoding="UTF-8"?><posts count="{count}" offset="0">{children}</posts>'
    return Reply(body.encode(), type="text/xml")


class Moebooru(Server):
    """Relative addresses, as a Moebooru has them by default; `categories`: whether it knows version 2 of the API."""

    dialect = "moebooru"
    path = "/post.json"
    categories = True

    def file_url(self, post):
        return self.file_path(post) if post.has_file else None

    def answer(self, path, query, headers):
        if path == self.path.replace("post", "tag"):
            return as_json([{"name": name, "count": count, "type": 4} for name, count in self.names(query["name"])])
        if path == self.path.replace("json", "xml"):
            return xml([], "post", len(self.search(query["tags"])))
        if path != self.path:
            return Reply(b"<html>not here</html>", 404, "text/html")
        rows = [self.row(post) for post in self.page(self.search(query.get("tags", "")), int(query.get("page", 1)) - 1)]
        if not (self.categories and query.get("api_version") == "2"):
            return as_json(rows)
        kinds = {TAG: "character", ARTIST: "artist", SERIES: "copyright", "1girl": "general", "red_dress": "general"}
        return as_json({"posts": rows, **({"tags": kinds} if query.get("include_tags") == "1" else {})})

    def row(self, post):
        return without_none(
            {
                "id": post.id, "tags": " ".join(post.tags), "created_at": 1735689600, "author": "somebody",
                "source": "", "score": 5, "md5": post.md5, "file_size": len(post.data),
                "file_url": self.file_url(post), "rating": RATINGS[post.rating], "status": "active",
                "width": 32, "height": 40, "parent_id": None, "sample_url": "/sample.jpg",
            }
        )  # fmt: skip


class OldMoebooru(Moebooru):
    dialect = "moebooru_old"
    path = "/post/index.json"
    categories = False


class Zerochan(Server):
    """No ratings and no files in the list; each post has an answer of its own."""

    dialect = "zerochan"
    terms_as_tags = False
    query = "Hana (demo)"

    def answer(self, path, query, headers):
        if path == "/login":
            if (query["name"], query["password"]) != ("somebody", "canary&word"):
                return Reply(b"<html>Wrong</html>", type="text/html")
            cookies = ("z_id=77; path=/; HttpOnly", "z_hash=canaryhash; path=/; expires=Wed, 01 Jan 2031 00:00:00 GMT")
            return Reply(b"", 303, headers={"Location": "/"}, cookies=cookies)
        if query.get("json") != "1":
            return Reply(b"<html>a page</html>", type="text/html")
        if found := re.fullmatch(r"/(\d+)", path):
            return self.detail(int(found[1]))
        names = [unquote_plus(name) for name in path.lstrip("/").split(",")]
        posts = self.posts if names[0].lower() == self.query.lower() else []
        if len(names) > 1:
            posts = [post for post in posts if names[1].lower() in post.tags]
        rows = self.page(posts, int(query.get("p", 1)) - 1)
        if not rows:
            return Reply(b"<html>no such page</html>", 404, "text/html") if query.get("p") != "1" else as_json({})
        return as_json({"items": [self.row(post) for post in rows]})

    def row(self, post):
        tags = ["Female", "Red Dress", self.query]
        return {"id": post.id, "width": 32, "height": 40, "md5": post.md5, "thumbnail": "/small.jpg", "source": "",
                "tag": self.query, "tags": tags}  # fmt: skip

    def detail(self, number):
        post = next(post for post in self.posts if post.id == number)
        row = {"id": number, "small": "/small.jpg", "full": self.file_url(post), "size": len(post.data),
               "hash": post.md5, "primary": self.query, "tags": ["Female"], "source": "a\tb"}  # fmt: skip
        body = json.dumps(row).replace("a\\tb", "a\tb")  # control characters, as the site leaves them
        return Reply(body.encode())


class Szurubooru(Server):
    dialect = "szurubooru"

    def file_path(self, post):
        return f"/data/posts/{post.id}_abc.{post.extension}"

    def answer(self, path, query, headers):
        if headers.get("accept") != "application/json" or path not in ("/api/posts/", "/api/tags/"):
            return Reply(b"<html>the client</html>", type="text/html")
        expected = "Token " + base64.b64encode(b"5:key").decode()
        if headers.get("authorization") != expected:
            return as_json({"name": "AuthError", "description": "no privileges"}, 403)
        if path == "/api/tags/":
            names = self.names(query["query"].split()[0])
            return as_json({"results": [{"names": [name], "usages": count} for name, count in names], "total": 1})
        found = self.search(query["query"])
        offset = int(query["offset"])
        rows = [self.row(post) for post in found[offset : offset + self.shown]]
        return as_json(
            {"query": query["query"], "offset": offset, "limit": self.shown, "total": len(found), "results": rows}
        )

    def row(self, post):
        kinds = [
            *((name, "default") for name in post.general),
            (TAG, "character"),
            (ARTIST, "artist"),
            (SERIES, "series"),
        ]
        return {
            "id": post.id, "version": 1, "creationTime": "2025-01-01T00:00:00Z", "safety": SAFETY[post.rating],
            "type": "video" if post.extension == "mp4" else "image", "checksumMD5": post.md5,
            "fileSize": len(post.data), "canvasWidth": 32, "canvasHeight": 40, "score": 5, "favoriteCount": 2,
            "contentUrl": self.file_path(post).lstrip("/") if post.has_file else None, "source": "https://a.example\nb",
            "tags": [{"names": [name, f"{name}_alias"], "category": kind, "usages": 1} for name, kind in kinds],
        }  # fmt: skip


class Shimmie(Server):
    """XML; addresses without an ending of their own; one hit is one child."""

    dialect = "shimmie"

    def file_path(self, post):
        return f"/image/{post.id}.{post.extension}"

    def file_url(self, post):
        return f"/index.php?q=image/{post.id}.{post.extension}" if post.has_file else None

    def answer(self, path, query, headers):
        if path != "/api/danbooru/find_posts/index.xml":
            return Reply(b"")
        found = self.search(query.get("tags", ""))
        rows = [self.row(post) for post in self.page(found, int(query.get("page", 1)) - 1)]
        return xml(rows, "tag", len(found))

    def row(self, post):
        return {
            "id": post.id, "md5": post.md5, "file_name": f"{post.id}.{post.extension}",
            "file_url": self.file_url(post) or "", "height": 40, "width": 32, "rating": RATINGS[post.rating],
            "date": "2025-01-01 00:00:00", "tags": quote(" ".join(post.tags)), "source": "", "score": 5, "author": "x",
        }  # fmt: skip


class Philomena(Server):
    dialect = "philomena"

    def search(self, terms):
        names = [name.strip(" ()").replace(" ", "_") if "(demo" not in name else TAG for name in terms.split(",")]
        return [post for post in self.posts if all(self.fits(post, name) for name in names if name)]

    def fits(self, post, name):
        rated = {"safe": "general", "suggestive": "sensitive", "questionable": "questionable", "explicit": "explicit"}
        return post.rating == rated[name] if name in rated else fits(post, name)

    def answer(self, path, query, headers):
        if path == "/api/v1/json/search/tags":
            names = self.names(query["q"].removeprefix("name:"))
            rows = [{"name": name, "images": count, "category": "oc"} for name, count in names]
            return as_json({"tags": rows, "total": len(rows)})
        if path != "/api/v1/json/search/images":
            return Reply(b"", 404)
        found = self.search(query["q"])
        rows = [self.row(post) for post in self.page(found, int(query.get("page", 1)) - 1)]
        return as_json({"images": rows, "interactions": [], "total": len(found)})

    def row(self, post):
        rating = {"general": "safe", "sensitive": "suggestive"}.get(post.rating, post.rating)
        names = [*(name.replace("_", " ") for name in post.general), rating, f"artist:{ARTIST}", f"series:{SERIES}"]
        return {
            "id": post.id, "created_at": "2025-01-01T00:00:00Z", "width": 32, "height": 40, "format": post.extension,
            "size": len(post.data), "score": 5, "faves": 2, "source_url": "", "hidden_from_users": False,
            "tags": [*names, f"oc:{TAG}"],
            "representations": {"full": self.file_url(post), "large": "/large.png"} if post.has_file else {},
        }  # fmt: skip


DIALECTS: tuple[type[Server], ...] = (
    Danbooru, E621, Gelbooru, Gelbooru02, Gelbooru02Xml, Moebooru, OldMoebooru, Zerochan, Szurubooru, Shimmie,
    Philomena,
)  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        self.form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path, query = address.path, {key: values[-1] for key, values in parse_qs(address.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        if self.command == "POST":
            query |= {key: values[-1] for key, values in parse_qs(self.form).items()}
        self.server.requests.append(Seen(time.monotonic(), self.command, path, query, headers))
        reply = self.server.reply(unquote(path) if path.startswith("/image") else path, query, headers)
        self.send_response(reply.status)
        own = {"Content-Type": reply.type, "Content-Length": str(len(reply.body))}
        for name, value in (*own.items(), *reply.headers.items(), *(("Set-Cookie", each) for each in reply.cookies)):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in `Server.requests`."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
