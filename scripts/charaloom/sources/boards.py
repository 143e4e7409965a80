"""The list of posts of an image board, asked from its API.

It is kept in the store and is what a rebuild starts from: delete `posts.json` to ask anew. `downloads.py` fetches the
files of exactly these posts.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from charaloom.artifacts.files import digest, read_json, write_json
from charaloom.config.params import Origin, Raw
from charaloom.errors import CharaloomError
from charaloom.sources.downloads import fetch_files
from charaloom.sources.posts import ListedPost, Post, Rules, is_number, judged, number_of, post_of
from charaloom.sources.sites import Site, agent, variables
from charaloom.sources.store import Store
from charaloom.sources.web import Web

PAGE = 200
TERMS = 2  # what an anonymous visitor may ask Danbooru for at once
LISTED_PER_PICTURE = 20  # posts looked through, at most, for each one that may be fetched
EXTENSIONS = ("", "jpg", "jpeg", "png", "webp", "gif")


class BoardSource:
    """All posts of a query on a board of Danbooru's dialect; resumes what a killed run left in the store.

    `limit` counts the posts that may be fetched. `folder` is the store, `hosts` that of the pace per host.
    """

    def __init__(
        self, params: Raw, rules: Rules, folder: Path, hosts: Path, contact: str, progress: Callable[[int, int], None]
    ) -> None:
        self.site = site_of(params.source, contact)
        self.query, self.limit, self.rules = params.query, params.limit, rules
        self.folder, self.hosts, self.progress = folder, hosts, progress

    def list_posts(self) -> list[ListedPost]:
        """The list in the store where it answers the same question; else the board is asked. Removals apply to both."""
        rules = {"ratings": sorted(self.rules.ratings), "limits": self.rules.limits._asdict()}
        question = digest({"root": self.site.root, "query": self.query, "limit": self.limit, **rules})
        path = self.folder / "posts.json"
        kept = read_json(path) if path.is_file() else {}
        if kept.get("question") != question:
            board_terms, own_terms = split_query(self.query)
            with Web(self.site, self.hosts) as web:
                posts = ask_posts(web, board_terms, own_terms, self.limit, self.rules)
            kept = {"question": question, "asked": board_terms, "posts": posts}
        entries = (
            ListedPost(entry["post"], problem=entry["problem"], size=entry.get("size")) for entry in kept["posts"]
        )
        listed = [judged(entry, self.rules) for entry in entries]
        kept["posts"] = [{"post": entry.post, "problem": entry.problem, "size": entry.size} for entry in listed]
        write_json(path, kept)
        return listed

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        store = Store(self.folder, self.rules.pictures)
        with Web(self.site, self.hosts) as web:
            fetch_files(web, store, posts, self.rules.limits, self.progress)
        return store.attached(posts)

    def counts(self) -> dict[str, int]:
        return {}


def site_of(source: Origin, contact: str = "") -> Site:
    """The site of a board; raises CharaloomError where its dialect is none that Charaloom speaks."""
    if source.dialect != "danbooru":
        raise CharaloomError(
            f"boards.{source.name}.dialect: `{source.dialect}` is not supported. Use `danbooru`, or a folder."
        )
    assert source.name is not None
    assert source.root is not None
    assert source.seconds_between_requests is not None
    prefix = variables(source.name)
    login = (os.environ.get(f"{prefix}_USERNAME", ""), os.environ.get(f"{prefix}_API_KEY", ""))
    return Site(
        name=source.name,
        root=source.root.rstrip("/"),
        pause=float(source.seconds_between_requests),
        agent=agent(os.environ.get("CHARALOOM_CONTACT", "") or contact),
        login=login if all(login) else None,
        file_roots=tuple(source.file_roots or ()),
    )


# ---- the list


def split_query(query: str) -> tuple[str, list[str]]:
    """What the board is asked (its first two terms), and what is judged here: boards answer two terms at most."""
    terms = query.split()
    own = terms[TERMS:]
    for term in own:
        if ":" in term and re.match(r"-?(order|id|score|status|date|age|fav|user|pool|parent|width|height)\w*:", term):
            raise CharaloomError(
                f"query `{query}`: put `{term}` among the first {TERMS} terms, only the board judges it."
            )
    return " ".join(terms[:TERMS]), own


def ask_posts(web: Web, query: str, own_terms: list[str], limit: int, rules: Rules) -> list[dict[str, Any]]:
    """Page through the board, newest first, until `limit` posts may be fetched or there are no more."""
    listed: dict[int, dict[str, Any]] = {}
    wanted = 0
    for number, row in enumerate(rows_of(web, query)):
        if number == LISTED_PER_PICTURE * limit:
            break
        if row["id"] in listed or not all(has_term(row, term) for term in own_terms):
            continue
        listed[row["id"]] = entry = judged_row(row, web, rules)
        wanted += entry["problem"] is None
        if wanted == limit:
            break
    return list(listed.values())


def rows_of(web: Web, query: str) -> Iterator[dict[str, Any]]:
    """Posts as the board writes them, page after page.

    Keyset pages, so that posts that come or go meanwhile shift nothing; a query with an order of its own needs numbers.
    """
    numbered = re.search(r"(^|\s)(order|ordfav|ordpool):", query) is not None
    position, seen = None, set[int]()
    while True:
        page = ask(web, query, position)
        rows = [row for row in page if isinstance(row, dict) and is_number(row.get("id"))]
        if not {row["id"] for row in rows} - seen:
            return
        seen.update(row["id"] for row in rows)
        yield from rows
        position = str(int(position or 1) + 1) if numbered else f"b{min(seen)}"


def ask(web: Web, query: str, position: str | None) -> list[Any]:
    """One page of the list; whatever is no list is an error."""
    parameters = {"tags": query, "limit": str(PAGE), **({"page": position} if position else {})}
    answer = web.get(f"{web.site.root}/posts.json", parameters)
    if answer.status != 200:
        raise CharaloomError(f"{web.site}: {explained(answer.status, answer.body)}")
    return parsed_list(answer.body, web.site)


def parsed_list(body: bytes, site: Site) -> list[Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CharaloomError(
            f"{site}: answered with something that is not JSON (a login page, a challenge, or no "
            "board of this dialect). Open the address in a browser and check boards in the config."
        ) from error
    if isinstance(value, dict) and "posts" in value:
        value = value["posts"]
    if isinstance(value, dict) and "id" in value:
        return [value]
    if not isinstance(value, list):
        raise CharaloomError(f"{site}: answered with no list of posts: {str(value)[:200]}")
    return value


def explained(status: int, body: bytes) -> str:
    """What an HTTP status of the list means and what to do about it."""
    if status == 422:
        return f"does not accept the query ({message_of(body)}). Use fewer or other tags in the roster's query."
    if status == 404:
        return "has no /posts.json (404). Check root and dialect under boards in the config."
    return f"answered {status} ({message_of(body)}). Run again later; nothing that was fetched is lost."


def message_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])[:200]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "no message"


# ---- one post


def judged_row(row: dict[str, Any], web: Web, rules: Rules) -> dict[str, Any]:
    """{post, problem, size}: what may be known of a post, and why it is not fetched."""
    entry = judged(ListedPost(post_of(row, web.site.name, str(row["id"]), web.site.root)), rules)
    problem = entry.problem or file_problem(row, entry.post, web, rules)
    return {"post": entry.post, "problem": problem, "size": number_of(row.get("file_size"))}


def file_problem(row: dict[str, Any], post: Post, web: Web, rules: Rules) -> str | None:
    """Why there is nothing to fetch, by what the list says."""
    width, height, size = (row.get(key) for key in ("image_width", "image_height", "file_size"))
    extension = str(row.get("file_ext") or "").lower()
    suffix = urlsplit(post["file_url"] or "").path.rpartition("/")[2].rpartition(".")
    if row.get("is_banned"):
        return "banned: taken down at the artist's request"
    if post["rating"] is None:
        return "rating unknown: not downloaded"
    if not post["file_url"]:
        return "no file: the board shows none"
    if extension not in EXTENSIONS or (suffix[1] and suffix[2].lower() not in EXTENSIONS):
        return f"not a picture: {extension or suffix[2].lower()}"
    if is_number(size) and size > rules.limits.maximum_bytes:
        return f"too large: {size} bytes"
    if is_number(width) and is_number(height) and width * height > rules.limits.maximum_pixels:
        return f"too large: {width}x{height} pixels"
    return web.refusal(post["file_url"])


def has_term(row: dict[str, Any], term: str) -> bool:
    """A term of the query that is judged here: tag, -tag, rating:g."""
    if term.startswith("-"):
        return not has_term(row, term[1:])
    if term.startswith("rating:"):
        return str(row.get("rating"))[:1] in {part[:1] for part in term.removeprefix("rating:").split(",")}
    return term in str(row.get("tag_string", "")).split()
