"""A small image board on loopback: serves a world folder in the JSON dialect of Danbooru v2.

    python -m charaloom.demo.world.board --world DIR --port N [--root URL] [--ready-file F]

It behaves as Danbooru does where a crawler notices: newest first, keyset pages, at most 200 posts a page, two tags a
search, no URLs where no file is to be seen, refusal of browsers' User-Agents, JSON errors, Range and ETag on files.
Only 127.0.0.1 is ever bound. With `--root` it names another address in its answers, and answers for that one as a
proxy, so that what is crawled does not depend on the port.
"""

import argparse
import hashlib
import html
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from charaloom.artifacts.files import write_text
from charaloom.errors import CharaloomError

PAGE_DEFAULT, PAGE_MAXIMUM, TAGS_MAXIMUM = 20, 200, 2
RATINGS = {
    name[:length]: name[0] for name in ("general", "sensitive", "questionable", "explicit") for length in (1, 99)
}
URL_KEYS = ("file_url", "large_file_url", "preview_file_url")
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}

Post = dict[str, Any]


class SearchError(Exception):
    """A search that the board refuses, with Danbooru's name for it."""


@dataclass
class Request:
    """One line of the request log; `time` is monotonic, in seconds."""

    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int


@dataclass
class Answer:
    status: int
    body: bytes = b""
    type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


# ---- search


def search(posts: Iterable[Post], tags: str) -> list[Post]:
    """Posts that match a query, newest first (`order:id` turns that round)."""
    terms = tags.split()
    plain = [term for term in terms if ":" not in term or not is_metatag(term)]
    if len(plain) > TAGS_MAXIMUM:
        raise SearchError("PostQuery::TagLimitError", f"You cannot search for more than {TAGS_MAXIMUM} tags at a time.")
    matching = [post for post in posts if all(matches(post, term) for term in with_default_status(terms))]
    return sorted(
        matching, key=lambda post: post["id"], reverse="order:id" not in terms and "order:id_asc" not in terms
    )


def is_metatag(term: str) -> bool:
    return term.lstrip("-").split(":")[0] in ("rating", "id", "order", "status", "md5", "parent", "score")


def with_default_status(terms: list[str]) -> list[str]:
    """Deleted posts are found only where the query asks for them."""
    return terms if any(term.lstrip("-").startswith("status:") for term in terms) else [*terms, "-status:deleted"]


def matches(post: Post, term: str) -> bool:
    if term.startswith("-"):
        return not matches(post, term[1:])
    name, _, value = term.partition(":")
    if not value or not is_metatag(term):
        return matches_tag(post, term)
    if name == "order":
        return True
    if name == "rating":
        return post.get("rating") in {RATINGS.get(part) for part in value.split(",")}
    if name == "status":
        return value == "any" or bool(post.get(f"is_{value}"))
    if name == "md5":
        return post.get("md5") in value.split(",")
    number = {"id": post["id"], "parent": post.get("parent_id"), "score": post.get("score")}[name]
    return number is not None and in_range(number, value)


def matches_tag(post: Post, tag: str) -> bool:
    tags = post.get("tag_string", "").split()
    if "*" not in tag:
        return tag in tags
    pattern = re.compile(".*".join(re.escape(part) for part in tag.split("*")))
    return any(pattern.fullmatch(name) for name in tags)


def in_range(number: int, text: str) -> bool:
    """Danbooru's numbers: 5, 1,2,3, <5, <=5, >5, >=5, 2..5, 2.., ..5."""
    try:
        for sign, test in (("<=", number.__le__), (">=", number.__ge__), ("<", number.__lt__), (">", number.__gt__)):
            if text.startswith(sign):
                return test(int(text[len(sign) :]))
        if ".." in text:
            low, high = text.split("..")
            return (not low or number >= int(low)) and (not high or number <= int(high))
        return number in {int(part) for part in text.split(",")}
    except ValueError as error:
        raise SearchError("PostQuery::Error", f"no number: {text}") from error


def one_page(posts: list[Post], page: str, limit: int) -> list[Post]:
    """`N` counts pages from 1; `b5` is what is older than post 5, `a5` what is newer (the nearest, newest first)."""
    keyset = re.fullmatch(r"([ab])(\d+)", page)
    if keyset is None:
        number = int(page) if page.isdigit() else 1
        return posts[(max(number, 1) - 1) * limit : max(number, 1) * limit]
    pivot = int(keyset[2])
    newest_first = sorted(posts, key=lambda post: -post["id"])
    if keyset[1] == "b":
        return [post for post in newest_first if post["id"] < pivot][:limit]
    return [post for post in newest_first if post["id"] > pivot][-limit:]


# ---- server


class Board(ThreadingHTTPServer):
    """The server at `address`; `requests` is the log (oldest first), subclasses may override `answer`.

    `root` stands in its URLs: its address, or the one for which it is a proxy.
    """

    handler: type[BaseHTTPRequestHandler]
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, world: str | Path, port: int = 0, root: str | None = None) -> None:
        self.world = Path(world)
        self.posts = load_posts(self.world)
        self.by_id = {str(post["id"]): post for post in self.posts}
        self.requests: list[Request] = []
        self.log_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), self.handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.root = root or self.address

    def stands_for(self, url: str) -> bool:
        """Whether a request's target is a path, or (of a proxy's client) a URL of this board."""
        return url.startswith("/") or url.startswith((f"{self.root}/", f"{self.address}/"))

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        """The answer to a GET; the handler sends it."""
        if headers.get("user-agent", "").startswith("Mozilla/"):
            return page(403, "Access denied", "Set your User-Agent to something unique; browsers' are refused here.")
        if path == "/posts.json":
            return self.listing(query)
        if path == "/counts/posts.json":
            return self.count(query)
        if path.startswith("/posts/"):
            return self.one_post(path.removeprefix("/posts/"))
        if path.startswith("/data/"):
            return self.file(path, headers)
        if path == "/":
            return page(200, "Charaloom's demo board", f"{len(self.posts)} posts of drawn characters.")
        return not_found()

    def listing(self, query: dict[str, str]) -> Answer:
        try:
            limit = min(max(int(query.get("limit") or PAGE_DEFAULT), 0), PAGE_MAXIMUM)
            shown = one_page(search(self.posts, query.get("tags", "")), query.get("page", "1"), limit)
        except SearchError as error:
            return failure(422, *error.args)
        except ValueError:
            return failure(400, "ArgumentError", "limit is no number")
        return as_json(200, [self.public(post) for post in shown])

    def count(self, query: dict[str, str]) -> Answer:
        try:
            return as_json(200, {"counts": {"posts": len(search(self.posts, query.get("tags", "")))}})
        except SearchError as error:
            return failure(422, *error.args)

    def one_post(self, name: str) -> Answer:
        post = self.by_id.get(name.removesuffix(".json"))
        if post is None:
            return not_found()
        if name.endswith(".json"):
            return as_json(200, self.public(post))
        picture = self.public(post).get("file_url", "")
        body = f'<p>{html.escape(post.get("tag_string", ""))}</p><img src="{html.escape(picture)}" alt="">'
        return page(200, f"post {post['id']}", body, escape=False)

    def public(self, post: Post) -> Post:
        """The post as a visitor sees it: absolute URLs, or none where it is banned or has no file."""
        if post.get("is_banned") or not post.get("file_url"):
            return {key: value for key, value in post.items() if key not in (*URL_KEYS, "md5", "media_asset")}
        shown = {**post, **{key: self.absolute(post[key]) for key in URL_KEYS if post.get(key)}}
        if variants := (post.get("media_asset") or {}).get("variants"):
            urls = [{**variant, "url": self.absolute(variant["url"])} for variant in variants]
            shown["media_asset"] = {**post["media_asset"], "variants": urls}
        return shown

    def absolute(self, url: str) -> str:
        return self.root + url if url.startswith("/") and not url.startswith("//") else url

    def file(self, path: str, headers: dict[str, str]) -> Answer:
        folder = (self.world / "data").resolve()
        target = (folder / path.removeprefix("/data/")).resolve()
        if not target.is_relative_to(folder) or not target.is_file():
            return not_found()
        data = target.read_bytes()
        tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        common = {"ETag": tag, "Accept-Ranges": "bytes", "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
        kind = TYPES.get(target.suffix.lower(), "application/octet-stream")
        if headers.get("if-none-match") == tag:
            return Answer(304, b"", kind, common)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if wanted is None or headers.get("if-range", tag) != tag:
            return Answer(200, data, kind, common)
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if first > last:
            return Answer(416, b"", kind, {**common, "Content-Range": f"bytes */{len(data)}"})
        part = {**common, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
        return Answer(206, data[first : last + 1], kind, part)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error unless the client hung up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def log(self, request: Request) -> None:
        with self.log_lock:
            self.requests.append(request)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "charaloom-demo-board", ""
    disable_nagle_algorithm = True
    wbufsize = 65536
    server: Board

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path, query = unquote(address.path), {key: values[-1] for key, values in parse_qs(address.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        answer = self.server.answer(path, query, headers) if self.server.stands_for(self.path) else Answer(502)
        self.server.log(Request(time.monotonic(), self.command, path, query, headers, answer.status))
        self.send(answer)

    do_HEAD = do_GET

    def send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        own = {"Content-Type": answer.type, "Content-Length": str(len(answer.body))}
        limits = {"X-Rate-Limit": json.dumps({"limits": {"127.0.0.1": 10}})}
        for name, value in {**own, **limits, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in `Board.requests`; the terminal belongs to the run."""


Board.handler = Handler


def as_json(status: int, value: Any) -> Answer:
    return Answer(status, json.dumps(value, ensure_ascii=False).encode())


def failure(status: int, error: str, message: str) -> Answer:
    return as_json(status, {"success": False, "error": error, "message": message})


def not_found() -> Answer:
    return failure(404, "ActiveRecord::RecordNotFound", "That record was not found.")


def page(status: int, title: str, body: str, escape: bool = True) -> Answer:
    text = f"<p>{html.escape(body)}</p>" if escape else body
    document = f"<!DOCTYPE html><html><head><title>{html.escape(title)}</title></head><body>{text}</body></html>"
    return Answer(status, document.encode(), "text/html; charset=utf-8")


def load_posts(world: Path) -> list[Post]:
    file = world / "posts.jsonl"
    if not file.is_file():
        raise CharaloomError(f"{file}: there is no such file. `charaloom demo` draws a world folder.")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


@contextmanager
def running(board: Board) -> Iterator[Board]:
    """Serve in a thread for as long as the block runs."""
    thread = threading.Thread(target=board.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        board.shutdown()
        board.server_close()
        thread.join()


@contextmanager
def serve(world: str | Path, port: int = 0) -> Iterator[Board]:
    """A board for a world folder, in a thread; port 0 takes a free one, `.root` says which."""
    with running(open_board(world, port)) as board:
        yield board


def open_board(world: str | Path, port: int, root: str | None = None) -> Board:
    try:
        return Board(world, port, root)
    except OSError as error:
        raise CharaloomError(f"port {port} of 127.0.0.1: {error.strerror}. Choose another port.") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m charaloom.demo.world.board", description="Serve a world on loopback."
    )
    parser.add_argument("--world", required=True, help="folder with posts.jsonl and data/")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--root", help="address that URLs name, the board is its proxy; its own if not given")
    parser.add_argument("--ready-file", help="gets the board's address once it answers")
    options = parser.parse_args(arguments)
    try:
        board = open_board(options.world, options.port, options.root)
    except CharaloomError as error:
        parser.exit(1, f"{error}\n")
    # Waited for, not handled: a handler that sets an Event can meet its own thread holding the Event's lock.
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    with running(board):
        if options.ready_file:
            write_text(options.ready_file, board.address + "\n")
        print(board.address, flush=True)
        signal.sigwait(stop)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
