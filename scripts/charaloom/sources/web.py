"""The one HTTP client of all sources: polite, bounded in time and bytes, no further than the user's own site and the
public network, and with an account's secrets for the site's own origin only."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import urllib3

from charaloom.errors import CharaloomError
from charaloom.sources.network.addresses import OUTSIDE, Address, AddressError, Places, parsed, proxy_of, reject_inside
from charaloom.sources.network.connections import CONNECT_SECONDS, STALL_SECONDS, pinned, proxied, within
from charaloom.sources.network.pace import Pace, seconds_asked
from charaloom.sources.network.replies import (
    MESSAGE_BYTES,
    NoAnswer,
    Reply,
    TooLarge,
    TooSlow,
    is_challenge,
    named_errors,
)
from charaloom.sources.network.robots import NAME, Robots, is_tagged, is_tagged_page, read_robots
from charaloom.sources.network.secrets import scrubbed_text
from charaloom.sources.sites import Site

# Set by hand.
ANSWER_SECONDS = 50.0  # that a page of a list may take in all, its redirects included
ANSWER_BYTES = 32 * 2**20
ROBOTS_BYTES = 512 * 2**10  # RFC 9309 asks for 500 KiB
REDIRECTS = 5
TRIES = 8  # of one page of a list
SILENT = 3  # of them, or of a robots.txt, where no answer came at all
CONNECTIONS = 8  # kept open per host
BUSY = (429, 503)
IN_TROUBLE = (408, 425, 500, 502, 504)
HARMLESS = ("accept", "accept-encoding", "accept-language", "if-range", "range", "referer")  # may go to any host
OURS = ("user-agent", "host", "connection", "content-length", "transfer-encoding")


@dataclass(frozen=True)
class Answer:
    """The answer to a list request; its body is decoded and capped."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Web:
    """The network as one run of a source sees it. `hosts`: the folder of the pace per host, shared by all jobs of a
    machine. May be used by several threads."""

    def __init__(self, site: Site, hosts: Path) -> None:
        self.site, self.hosts = site, hosts
        try:
            self.root = parsed(site.root)
            self.places = Places((site.root, *site.file_roots))
        except AddressError as error:
            raise CharaloomError(
                f"boards.{site.name}: root is no plain http or https address. Without user name, password, blanks; an "
                f"account belongs into {site.account_variables}."
            ) from error
        self.direct = pinned(self.places, CONNECTIONS)
        self.proxies: dict[str, urllib3.ProxyManager] = {}
        self.paces: dict[str, Pace] = {}
        self.robots: dict[str, Robots | None] = {}
        self.silent: Counter[str] = Counter()  # times that a site's robots.txt did not come
        self.lock, self.robots_lock = threading.Lock(), threading.Lock()
        self.stopped = threading.Event()

    def __enter__(self) -> "Web":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stopped.set()
        for manager in (self.direct, *self.proxies.values()):
            manager.clear()

    # ---- lists

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A page of a list, whatever the site answers besides what is waited out (429, 5xx) or refused.

        Raises CharaloomError with cause and cure where the site refuses (401, 403, a challenge, noai), is in trouble
        for too long, or does not answer in time and size.
        """
        target = with_query(url, params or {})
        asked = {"Accept": "application/json", **(headers or {})}
        silent = 0
        for _ in range(TRIES):
            departed = time.time()
            try:
                pace = self.pace(self.places.checked(target))
                with self.reply("GET", target, asked, ANSWER_SECONDS, "gzip") as reply:
                    status = reply.status
                    body = b"".join(reply.chunks(ANSWER_BYTES)) if status < 400 else reply.start(MESSAGE_BYTES)
            except AddressError as error:
                raise CharaloomError(f"{self.site}: leads to {shown(target)}, which is not asked ({error}).") from error
            except TooLarge as error:
                raise CharaloomError(
                    f"{self.site}: no answer that ends within {ANSWER_BYTES} bytes. {CHECK}"
                ) from error
            except NoAnswer as error:
                silent += 1
                if silent == SILENT or isinstance(error, TooSlow):
                    raise CharaloomError(f"{self.site}: no answer ({error}). {CHECK}") from error
                pace.refused(0.0, departed)
                continue
            if status in IN_TROUBLE and pace.refused(0.0, departed):
                continue
            if status not in BUSY:
                break
        self.raise_if_refused(status, reply.headers, body)
        return Answer(status, reply.headers, body, reply.url)

    def sign_in(self, url: str, form: Mapping[str, str]) -> Mapping[str, str]:
        """The cookies that the site gives for a filled form; it goes to the site's own origin alone, and once.

        Raises CharaloomError where there is no answer.
        """
        address = self.places.checked(url)
        assert address.origin == self.root.origin
        departed = self.pace(address).wait_for_turn(self.stopped.is_set)
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "identity"}
        try:
            with within(ANSWER_SECONDS), named_errors(ANSWER_SECONDS):
                response = self.send("POST", address, sent, urlencode(form).encode())
                reply = Reply(response, address.url, ANSWER_SECONDS)
                self.note(reply, address, departed)
                self.raise_if_refused(reply.status, reply.headers, reply.start(MESSAGE_BYTES))
                response.close()
                cookies = [SimpleCookie(line) for line in response.headers.getlist("Set-Cookie")]
        except (NoAnswer, CookieError) as error:
            raise CharaloomError(f"{self.site}: no answer to the account ({error}). {CHECK}") from error
        pairs = [(name, morsel.value) for cookie in cookies for name, morsel in cookie.items()]
        return {name: value for name, value in pairs if value.isprintable()}

    def raise_if_challenged(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if is_challenge(status, headers, body):
            raise CharaloomError(
                f"{self.site}: asks for a browser challenge ({status}). Try later from another network; a challenge is "
                "never evaded."
            )

    def raise_if_refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.raise_if_challenged(status, headers, body)
        if is_tagged(headers) or is_tagged_page(body):
            raise CharaloomError(f"{self.site}: asks not to be used for AI (noai). Use another source.")
        if status in (401, 403):
            raise CharaloomError(
                f"{self.site}: refuses access ({status}). Set {self.site.account_variables} if it wants an account; "
                "else it blocks this network or User-Agent: set CHARALOOM_CONTACT and raise "
                "seconds_between_requests."
            )
        if status in (*BUSY, *IN_TROUBLE):
            self.raise_busy(status)

    def raise_busy(self, status: int) -> None:
        raise CharaloomError(
            f"{self.site}: is busy or wants fewer requests ({status}, again and again). Run again later; nothing that "
            "was fetched is lost."
        )

    # ---- one request

    @contextmanager
    def reply(
        self, method: str, url: str, headers: Mapping[str, str], seconds: float, encoding: str = "identity"
    ) -> Iterator[Reply]:
        """The answer to one request, its redirects followed; its body is read in the block, within `seconds` in all.

        Each request waits for its host's turn. Raises AddressError, NoAnswer, and CharaloomError where a host asks for
        more patience than we have.
        """
        address, left = self.places.checked(url), seconds
        for _ in range(REDIRECTS + 1):
            departed = self.pace(address).wait_for_turn(self.stopped.is_set)
            began = time.monotonic()
            with within(left):
                with named_errors(seconds):
                    response = self.send(method, address, {**headers, "Accept-Encoding": encoding})
                try:
                    reply = Reply(response, address.url, seconds)
                    self.note(reply, address, departed)
                    location = response.get_redirect_location()
                    if not location:
                        yield reply
                        return
                finally:
                    response.release_conn() if response.length_remaining == 0 else response.close()
            left -= time.monotonic() - began
            address = self.redirected(address, location)
        raise NoAnswer(f"more than {REDIRECTS} redirects")

    def send(
        self, method: str, address: Address, headers: Mapping[str, str], body: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        own = address.origin == self.root.origin
        target = with_query(address.target, self.site.secret_params) if own else address.target
        sent = self.headers(address, headers, own)
        manager: urllib3.PoolManager = self.direct
        if proxy := proxy_of(address.scheme, address.host):
            if address.origin not in self.places.named:
                reject_inside(address)
            manager = self.proxy(proxy)
            if address.scheme == "http":
                target, sent = address.root + target, {**sent, **manager.proxy_headers}  # type: ignore[attr-defined]
        pool = manager.connection_from_host(address.host, address.port, address.scheme)
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=STALL_SECONDS)
        return pool.urlopen(
            method, target, body=body, headers=sent, redirect=False, retries=False, preload_content=False,
            decode_content=False, timeout=timeout, assert_same_host=False,
        )  # fmt: skip

    def headers(self, address: Address, wanted: Mapping[str, str], own: bool) -> dict[str, str]:
        """The headers of a request; to another origin than the root's go only those without secrets."""
        kept = {
            name: value
            for name, value in wanted.items()
            if name.lower() not in OURS and (own or name.lower() in HARMLESS) and (name + value).isprintable()
        }
        for name in [name for name in kept if name.lower() == "referer"]:
            kept[name] = scrubbed_text(kept[name])
            if kept[name].startswith("https:") and address.scheme == "http":
                del kept[name]
        account: dict[str, str] = dict(self.site.secret_headers) if own else {}
        if own and self.site.login:
            account.update(urllib3.make_headers(basic_auth=":".join(self.site.login)))
        return {**kept, **account, "User-Agent": self.site.agent}

    def redirected(self, address: Address, location: str) -> Address:
        """Where a redirect leads, checked as any address and without secrets of the account."""
        try:
            url = urljoin(address.url, location)
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query, keep_blank_values=True)
        except ValueError as error:
            raise AddressError(OUTSIDE) from error
        secret = [
            (name, value) for name, value in pairs if name in self.site.secret_params or value in self.site.secrets
        ]
        if secret:
            url = parts._replace(query=urlencode([pair for pair in pairs if pair not in secret])).geturl()
        return self.places.checked(url)

    def note(self, reply: Reply, address: Address, departed: float) -> None:
        """Keep the pace of the host by what it answered."""
        if reply.status in BUSY:
            goes_on = self.pace(address).refused(seconds_asked(reply.headers), departed)
            self.raise_if_challenged(reply.status, reply.headers, reply.start(MESSAGE_BYTES))
            if not goes_on:
                self.raise_busy(reply.status)
        elif reply.status < 500:
            self.pace(address).answered()

    def refusal(self, url: str) -> str | None:
        """Why an address is not asked, as far as it can be told without a look at its name's addresses."""
        try:
            self.places.checked(url)
        except AddressError as error:
            return str(error)
        return None

    def pace(self, address: Address) -> Pace:
        port = "" if address.port in (80, 443) else f"_{address.port}"
        host = address.host.rstrip(".") + port
        with self.lock:
            if host not in self.paces:
                self.paces[host] = Pace(self.hosts, host, self.site.pause, self.site.patience)
            return self.paces[host]

    def proxy(self, url: str) -> urllib3.ProxyManager:
        with self.lock:
            if url not in self.proxies:
                self.proxies[url] = proxied(url, CONNECTIONS)
            return self.proxies[url]

    # ---- robots.txt

    def is_excluded(self, url: str) -> bool:
        """Whether the robots.txt of a file's site excludes it. Raises as `reply` does where there is no answer.

        The list is not asked for by the leave of robots.txt: it is an API that the site documents for programs.
        """
        address = self.places.checked(url)
        with self.robots_lock:
            if address.root not in self.robots:
                if self.silent[address.root] >= SILENT:
                    raise NoAnswer("no robots.txt")
                try:
                    self.robots[address.root] = self.ask_robots(address.root)
                except NoAnswer as error:
                    self.silent[address.root] += SILENT if isinstance(error, TooSlow) else 1
                    raise
            rules = self.robots[address.root]
        return rules is not None and not rules.can_fetch(address.url, NAME)

    def ask_robots(self, root: str) -> Robots | None:
        with self.reply("GET", f"{root}/robots.txt", {}, ANSWER_SECONDS) as reply:
            if reply.status >= 500 or reply.status == 429:
                raise NoAnswer(f"{reply.status} for robots.txt")
            return read_robots(reply.status, reply.start(ROBOTS_BYTES))


CHECK = "Check the address and the network, or try again later; nothing that was fetched is lost."


def shown(url: str) -> str:
    """A URL as a message may hold it."""
    return scrubbed_text(url)[:200]


def with_query(url: str, params: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params)}" if params else url
