"""The posts of a query on a board. The list is kept in the store and is what a rebuild starts from: what was judged in
the list is what is fetched, until `charaloom refresh` asks for a new one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from charaloom.config.params import Origin
from charaloom.errors import CharaloomError
from charaloom.sources.boards import gallery_dl
from charaloom.sources.boards.answers import NotAListError, inner, json_of, whole
from charaloom.sources.boards.danbooru import E621, Danbooru
from charaloom.sources.boards.dialect import Cursor, Dialect, Found, Page
from charaloom.sources.boards.gelbooru import Gelbooru, Gelbooru02
from charaloom.sources.boards.moebooru import Moebooru, OldMoebooru
from charaloom.sources.boards.philomena import Philomena
from charaloom.sources.boards.shimmie import Shimmie
from charaloom.sources.boards.szurubooru import Szurubooru
from charaloom.sources.boards.zerochan import Zerochan
from charaloom.sources.posts import ListedPost, Rules, is_number, judged
from charaloom.sources.sites import Site, account_of, agent, variables
from charaloom.sources.web import Answer, Web

DIALECTS: dict[str, Dialect] = {
    "danbooru": Danbooru(),
    "e621": E621(),
    "gelbooru": Gelbooru(),
    "gelbooru_v02": Gelbooru02(),
    "moebooru": Moebooru(),
    "moebooru_old": OldMoebooru(),
    "philomena": Philomena(),
    "shimmie": Shimmie(),
    "szurubooru": Szurubooru(),
    "zerochan": Zerochan(),
}
GALLERY_DL = "gallery-dl"
LISTED_PER_PICTURE = 20  # posts looked through, at most, for each one that may be fetched
EXTENSIONS = ("", "jpg", "jpeg", "jfif", "png", "webp", "gif", "avif", "bmp")
ONLY_THE_BOARD = r"-?(order|sort|id|score|status|date|age|fav|user|pool|parent|width|height)\w*:"


@dataclass
class Listing:
    """The list of a query; `partial` says why it lacks posts that the board counts."""

    posts: list[ListedPost]
    partial: str | None = None


def site_of(origin: Origin, contact: str = "") -> Site:
    """The site of a board, with the account that the environment names for it.

    Raises CharaloomError where its dialect is none that Charaloom speaks, or the account would travel unencrypted.
    """
    if origin.dialect not in DIALECTS and origin.dialect != GALLERY_DL:
        raise CharaloomError(
            f"boards.{origin.name}.dialect: `{origin.dialect}` is not supported. Use one of "
            f"{', '.join([*DIALECTS, GALLERY_DL])}, or a folder."
        )
    assert origin.name is not None
    assert origin.root is not None
    assert origin.seconds_between_requests is not None
    site = Site(
        name=origin.name,
        root=origin.root.rstrip("/"),
        pause=float(origin.seconds_between_requests),
        agent=agent(contact),
        file_roots=origin.file_roots or (),
    )
    dialect = DIALECTS.get(origin.dialect)
    own = account_of(origin.name, by_password=dialect is not None and dialect.cookies is not None)
    if own is None or dialect is None:
        return site
    parts = urlsplit(site.root)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise CharaloomError(
            f"boards.{origin.name}.root: {site.root} is not encrypted, so the account would be readable on the "
            f"way. Use https, or unset {site.account_variables}."
        )
    return replace(site, **dialect.account(own.name, own.key)) if own.key else site


def signed_in(site: Site, dialect: Dialect | None, hosts: Path) -> Site:
    """The site with the key that it gives for the account's password, where the environment names one.

    Raises CharaloomError where the site does not take it.
    """
    own = account_of(site.name, by_password=True) if dialect and dialect.cookies else None
    asked = dialect.sign_in(site.root, own.name, own.password) if dialect and own and own.password else None
    if dialect is None or dialect.cookies is None or asked is None:
        return site
    with Web(site, hosts) as web:
        cookies = web.sign_in(*asked)
    name, key = (cookies.get(cookie, "") for cookie in dialect.cookies)
    if not (name and key):
        prefix = variables(site.name)
        raise CharaloomError(f"{site}: does not take the account. Check {prefix}_USERNAME and {prefix}_PASSWORD.")
    return replace(site, **dialect.account(name, key))


def read_list(web: Web, site: Site, origin: Origin, limit: int, rules: Rules) -> Listing:
    """Page through a board, newest first, until `limit` posts may be fetched or there are no more."""
    dialect = DIALECTS.get(origin.dialect or "")
    board_terms, own_terms = split_query(origin.query or "", dialect.terms if dialect else None)
    reader: Reader | gallery_dl.Reader
    if dialect is None:
        reader = gallery_dl.Reader(site, origin, LISTED_PER_PICTURE * limit)
    else:
        reader = Reader(web, site, dialect, board_terms)
    listed: dict[str, ListedPost] = {}
    wanted = 0
    for number, found in enumerate(reader):
        if number == LISTED_PER_PICTURE * limit or wanted == limit:
            reader.ended_early = True
            break
        post_id = found.post["post_id"]
        if post_id in listed or not all(has_term(found, term) for term in own_terms):
            continue
        entry = judged_post(found, web, rules, origin.unrated)
        if entry.problem == NO_ADDRESS and dialect and dialect.has_details:
            entry = judged_post(with_detail(web, site, dialect, found), web, rules, origin.unrated)
        listed[post_id] = entry
        wanted += entry.problem is None
    return Listing(list(listed.values()), None if reader.ended_early else reader.partial)


def split_query(query: str, most: int | None) -> tuple[str, list[str]]:
    """What the board is asked (its first `most` terms), and what is judged here."""
    terms = query.split()
    if most is None or len(terms) <= most:
        return query, []
    for term in terms[most:]:
        if re.match(ONLY_THE_BOARD, term):
            raise CharaloomError(
                f"query `{query}`: put `{term}` among the first {most} terms, only the board judges it."
            )
    return " ".join(terms[:most]), terms[most:]


# ---- pages


class Reader:
    """The posts of a query as a board lists them, page after page; `partial` is known at the end."""

    def __init__(self, web: Web, site: Site, dialect: Dialect, query: str) -> None:
        self.web, self.site, self.dialect, self.query = web, site, dialect, query
        self.seen: set[int] = set()
        self.count: int | None = None  # by the board, at the first page
        self.ended_early = False

    def __iter__(self) -> Iterator[Found]:
        cursor, full, doubted = Cursor(), True, False
        while True:
            page = self.ask(cursor)
            self.count = page.total if cursor.pages == 0 else self.count
            fresh = {number: row for row in page.rows if (number := whole(row["id"])) not in self.seen}
            if fresh:
                self.seen.update(number for number in fresh if number is not None)
                cursor = Cursor(cursor.pages + 1, cursor.rows + len(page.rows), min(self.seen))
                full, doubted = len(page.rows) >= self.dialect.page_size, False
                for row in fresh.values():
                    yield self.dialect.found(row, self.site.name, self.site.root, self.query)
            elif doubted or not (full or self.partial):
                return
            else:
                doubted = True  # an empty page can pass: it is believed when it comes twice

    @property
    def partial(self) -> str | None:
        """Why the list is not whole, by the board's own count."""
        if self.count is None or len(self.seen) >= self.count:
            return None
        return f"{self.site}: listed {len(self.seen)} posts where it counts {self.count}"

    def ask(self, cursor: Cursor) -> Page:
        """One page; an answer that is none is asked for once more, since a web page instead of it can pass."""
        request = self.dialect.request(self.site.root, self.query, cursor)
        for last in (False, True):
            answer = self.web.get(request.url, request.params, request.headers)
            if answer.status == 404 and self.dialect.ends_with_404 and cursor.pages:
                return Page([])
            try:
                return self.dialect.page(body_of(answer, self.site))
            except NotAListError as error:
                if last:
                    raise CharaloomError(
                        f"{self.site}: answered with {self.site.shown(str(error))}. Open the address in a browser and "
                        "check dialect and root under boards in the config."
                    ) from error
        raise AssertionError


def body_of(answer: Answer, site: Site) -> bytes:
    if answer.status != 200:
        raise CharaloomError(f"{site}: {site.shown(explained(answer.status, answer.body))}")
    return answer.body


def explained(status: int, body: bytes) -> str:
    """What an HTTP status of the list means and what to do about it."""
    if status == 422:
        return f"does not accept the query ({message_of(body)}). Use fewer or other tags in the roster's query."
    if status == 404:
        return "has no such list (404). Check root and dialect under boards in the config, and the query."
    return f"answered {status} ({message_of(body)}). Run again later; nothing that was fetched is lost."


def message_of(body: bytes) -> str:
    try:
        return str(inner(json_of(body), "message") or "no message")[:200]
    except NotAListError:
        return "no message"


def with_detail(web: Web, site: Site, dialect: Dialect, found: Found) -> Found:
    """A post with its file, from the answer that the site has for it alone."""
    try:
        request = dialect.detail(site.root, found.post["post_id"])
        answer = web.get(request.url, request.params, request.headers)
        return dialect.detailed(found, body_of(answer, site), site.root)
    except NotAListError:
        return found


# ---- one post


NO_ADDRESS = "no file: the board shows none"


def judged_post(found: Found, web: Web, rules: Rules, unrated: str | None) -> ListedPost:
    """What may be known of a post, and why it is not fetched. `unrated` stands for the rating of a site without any."""
    rating = found.post["rating"] or (unrated if found.unrated else None)
    listed = ListedPost({**found.post, "rating": rating}, headers=found.headers, size=found.size)
    entry = judged(listed, rules, sentences=False)
    if entry.problem is None:
        entry.problem = file_problem(found, web, rating, rules)
    return entry


def file_problem(found: Found, web: Web, rating: str | None, rules: Rules) -> str | None:
    """Why there is nothing to fetch, by what the list says."""
    suffix = urlsplit(found.post["file_url"] or "").path.rpartition("/")[2].rpartition(".")
    ending = suffix[2].lower() if suffix[1] and suffix[2].lower() not in PROGRAMS else ""
    if found.gone:
        return found.gone
    if rating is None:
        return "rating unknown: not downloaded"
    if not found.post["file_url"]:
        return NO_ADDRESS
    if found.extension not in EXTENSIONS or ending not in EXTENSIONS:
        return f"not a picture: {found.extension or ending}"
    if is_number(found.size) and found.size > rules.limits.maximum_bytes:
        return f"too large: {found.size} bytes"
    if is_number(found.width) and is_number(found.height) and found.width * found.height > rules.limits.maximum_pixels:
        return f"too large: {found.width}x{found.height} pixels"
    return web.refusal(found.post["file_url"])


PROGRAMS = ("php", "cgi")  # what answers where a file's address ends like this: `/index.php?q=image/4.jpg`


def has_term(found: Found, term: str) -> bool:
    """A term of the query that is judged here: tag, -tag, rating:g."""
    if term.startswith("-"):
        return not has_term(found, term[1:])
    if term.startswith("rating:"):
        return str(found.post["rating"])[:1] in {part[:1] for part in term.removeprefix("rating:").split(",")}
    return term in found.tags
