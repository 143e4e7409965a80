"""The list of posts of an image board, asked from its API.

gallery-dl fetches the files (`downloads.py`) but skips posts without one in silence, and nothing may vanish; so the
list is asked here. It is kept in the store and is what a rebuild starts from: delete `posts.json` to ask anew.
"""

import functools
import ipaddress
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.util import Retry

from charaloom import __version__
from charaloom.artifacts.files import digest, read_json, write_json
from charaloom.config.params import Origin, Raw
from charaloom.errors import CharaloomError
from charaloom.sources.downloads import fetch_missing
from charaloom.sources.gallery_dl import Download
from charaloom.sources.posts import ListedPost, Post, Rules, is_number, judged, post_of
from charaloom.sources.sites import RETRY_AFTER_SECONDS, Site, seconds_asked
from charaloom.sources.store import Store

PAGE = 200
TERMS = 2  # what an anonymous visitor may ask Danbooru for at once
LISTED_PER_PICTURE = 20  # posts looked through, at most, for each one that may be fetched
ANSWER_BYTES = 32 * 2**20
RETRIES = 5
EXTENSIONS = ("", "jpg", "jpeg", "png", "webp", "gif")


class BoardSource:
    """All posts of a query on a board of Danbooru's dialect; resumes what a killed run left in the store.

    `limit` counts the posts that may be fetched. `lock` is the descriptor of the caller's lock of the store.
    """

    def __init__(
        self, params: Raw, rules: Rules, folder: Path, lock: int, progress: Callable[[int, int], None]
    ) -> None:
        self.site = site_of(params.source)
        self.query, self.limit, self.rules = params.query, params.limit, rules
        self.folder, self.lock, self.progress = folder, lock, progress

    def list_posts(self) -> list[ListedPost]:
        """The list in the store where it answers the same question; else the board is asked. Removals apply to both."""
        rules = {"ratings": sorted(self.rules.ratings), "limits": self.rules.limits._asdict()}
        question = digest({"root": self.site.root, "query": self.query, "limit": self.limit, **rules})
        path = self.folder / "posts.json"
        kept = read_json(path) if path.is_file() else {}
        if kept.get("question") != question:
            board_terms, own_terms = split_query(self.query)
            posts = ask_posts(self.site, board_terms, own_terms, self.limit, self.rules)
            kept = {"question": question, "asked": board_terms, "posts": posts}
        listed = [judged(ListedPost(entry["post"], problem=entry["problem"]), self.rules) for entry in kept["posts"]]
        kept["posts"] = [{"post": entry.post, "problem": entry.problem} for entry in listed]
        write_json(path, kept)
        return listed

    def fetch_files(self, posts: list[ListedPost]) -> list[ListedPost]:
        store = Store(self.folder, self.rules.pictures)
        board_terms, _ = split_query(self.query)
        download = Download(self.site, board_terms, store, self.rules.limits.maximum_bytes, self.lock)
        fetch_missing(download, posts, self.progress)
        return store.attached(posts)

    def counts(self) -> dict[str, int]:
        return {}


def site_of(source: Origin) -> Site:
    """The site of a board; raises CharaloomError where its dialect is none that Charaloom speaks."""
    if source.dialect != "danbooru":
        raise CharaloomError(
            f"boards.{source.name}.dialect: `{source.dialect}` is not supported. Use `danbooru`, or a folder."
        )
    assert source.name is not None
    assert source.root is not None
    assert source.seconds_between_requests is not None
    prefix = credentials(source.name)
    login = (os.environ.get(f"{prefix}_USERNAME", ""), os.environ.get(f"{prefix}_API_KEY", ""))
    contact = os.environ.get("CHARALOOM_CONTACT", "")
    return Site(
        name=source.name,
        root=source.root.rstrip("/"),
        pause=float(source.seconds_between_requests),
        agent=f"Charaloom/{__version__}" + (f" (+{contact})" if contact else ""),
        login=login if all(login) else None,
    )


def credentials(board: str) -> str:
    """First part of the names of a board's environment variables."""
    return "CHARALOOM_" + re.sub(r"\W", "_", board).upper()


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


def ask_posts(site: Site, query: str, own_terms: list[str], limit: int, rules: Rules) -> list[dict[str, Any]]:
    """Page through the board, newest first, until `limit` posts may be fetched or there are no more."""
    listed: dict[int, dict[str, Any]] = {}
    wanted = 0
    with session_of(site) as session:
        for number, row in enumerate(rows_of(session, site, query)):
            if number == LISTED_PER_PICTURE * limit:
                break
            if row["id"] in listed or not all(has_term(row, term) for term in own_terms):
                continue
            listed[row["id"]] = entry = judged_row(row, site, rules)
            wanted += entry["problem"] is None
            if wanted == limit:
                break
    refuse_if_opted_out(site, list(listed.values()))
    return list(listed.values())


def rows_of(session: requests.Session, site: Site, query: str) -> Iterator[dict[str, Any]]:
    """Posts as the board writes them, page after page.

    Keyset pages, so that posts that come or go meanwhile shift nothing; a query with an order of its own needs numbers.
    """
    numbered = re.search(r"(^|\s)(order|ordfav|ordpool):", query) is not None
    position, seen = None, set[int]()
    while True:
        page = ask(session, site, query, position)
        rows = [row for row in page if isinstance(row, dict) and is_number(row.get("id"))]
        if not {row["id"] for row in rows} - seen:
            return
        seen.update(row["id"] for row in rows)
        yield from rows
        position = str(int(position or 1) + 1) if numbered else f"b{min(seen)}"
        time.sleep(site.pause)


def ask(session: requests.Session, site: Site, query: str, position: str | None) -> list[Any]:
    """One page of the list. 429 and 5xx are waited out (Retry-After honoured); whatever else is no list is an error."""
    parameters = {"tags": query, "limit": str(PAGE), **({"page": position} if position else {})}
    address = f"{site.root}/posts.json"
    try:
        with session.get(address, params=parameters, timeout=30, stream=True) as answer:
            body = read_capped(answer)
    except requests.RequestException as error:
        raise CharaloomError(
            f"{site}: no answer ({type(error).__name__}). Check the address and the network, or "
            "try again later; nothing that was fetched is lost."
        ) from error
    if answer.status_code != 200:
        raise CharaloomError(f"{site}: {explained(answer.status_code, body, site)}")
    refuse_if_tagged(answer, site)
    return parsed_list(body, site)


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


def explained(status: int, body: bytes, site: Site) -> str:
    """What an HTTP status of the list means and what to do about it."""
    prefix = credentials(site.name)
    if b"_cf_chl_opt" in body or b"challenge-platform" in body:
        return f"asks for a browser challenge ({status}). Try later from another network; a challenge is never evaded."
    if status in (401, 403):
        return (
            f"refuses access ({status}). Set {prefix}_USERNAME and {prefix}_API_KEY if it wants an account; else it "
            "blocks this network or User-Agent: set CHARALOOM_CONTACT and raise seconds_between_requests."
        )
    if status == 422:
        return f"does not accept the query ({message_of(body)}). Use fewer or other tags in the roster's query."
    if status == 404:
        return "has no /posts.json (404). Check root and dialect under boards in the config."
    if status in (429, 503):
        return (
            f"is busy or wants fewer requests ({status}, after {RETRIES + 1} tries). Run again later; nothing is lost."
        )
    return f"answered {status} ({message_of(body)}). Run again later; nothing that was fetched is lost."


def message_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])[:200]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "no message"


@contextmanager
def session_of(site: Site) -> Iterator[requests.Session]:
    retry = Retry(
        total=RETRIES, backoff_factor=site.patience / 4, backoff_jitter=site.patience / 4, backoff_max=300,
        status_forcelist=(429, 500, 502, 503, 504), retry_after_max=int(RETRY_AFTER_SECONDS), raise_on_status=False,
        redirect=False,
    )  # fmt: skip
    with requests.Session() as session:
        session.headers.clear()
        session.headers.update({"User-Agent": site.agent, "Accept": "application/json", "Accept-Encoding": "gzip"})
        session.max_redirects = 5
        # `auth` is set in any case, or requests would look for passwords in ~/.netrc.
        session.auth = site.login or (lambda request: request)
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
        yield session


def read_capped(answer: requests.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_content(65536):
        body += chunk
        if len(body) > ANSWER_BYTES:
            raise requests.exceptions.ContentDecodingError("the answer does not end")
    return bytes(body)


def refuse_if_tagged(answer: requests.Response, site: Site) -> None:
    if re.search(r"\bno(image)?ai\b", answer.headers.get("X-Robots-Tag", ""), re.IGNORECASE):
        raise CharaloomError(f"{site}: its X-Robots-Tag asks not to be used for AI (noai). Use another source.")


def refuse_if_opted_out(site: Site, entries: list[dict[str, Any]]) -> None:
    """Look at the headers of one file of each host before the first is fetched; a wait it asks for is kept."""
    hosts = {urlsplit(entry["post"]["file_url"]).netloc: entry for entry in reversed(entries) if not entry["problem"]}
    for _, entry in sorted(hosts.items()):
        time.sleep(site.pause)
        try:
            answer = requests.head(entry["post"]["file_url"], headers={"User-Agent": site.agent}, timeout=30)
        except requests.RequestException:
            continue  # the download will say what is wrong with that host
        refuse_if_tagged(answer, site)
        time.sleep(seconds_asked(answer))


# ---- one post


def judged_row(row: dict[str, Any], site: Site, rules: Rules) -> dict[str, Any]:
    """{post, problem}: what may be known of a post, and why it is not fetched."""
    entry = judged(ListedPost(post_of(row, site.name, str(row["id"]), site.root)), rules)
    return {"post": entry.post, "problem": entry.problem or file_problem(row, entry.post, site, rules)}


def file_problem(row: dict[str, Any], post: Post, site: Site, rules: Rules) -> str | None:
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
    return None if is_public(post["file_url"], site.root) else "address: not on the public network"


def has_term(row: dict[str, Any], term: str) -> bool:
    """A term of the query that is judged here: tag, -tag, rating:g."""
    if term.startswith("-"):
        return not has_term(row, term[1:])
    if term.startswith("rating:"):
        return str(row.get("rating"))[:1] in {part[:1] for part in term.removeprefix("rating:").split(",")}
    return term in str(row.get("tag_string", "")).split()


def is_public(url: str, root: str) -> bool:
    """False for a file address inside our own network, unless it is the board's own host, which the user named."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not host:
        return False
    return parts.netloc == urlsplit(root).netloc or all(address.is_global for address in addresses(host, port))


@functools.lru_cache(maxsize=1024)
def addresses(host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What a name stands for; nothing where there is no answer, as behind a proxy that resolves names itself."""
    try:
        answers = {str(answer[4][0]).split("%")[0] for answer in socket.getaddrinfo(host, port)}
    except (OSError, UnicodeError):
        return []
    numbers = [ipaddress.ip_address(answer) for answer in sorted(answers)]
    return [getattr(address, "ipv4_mapped", None) or address for address in numbers]
