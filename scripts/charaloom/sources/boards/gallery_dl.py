"""Every other site that gallery-dl knows: its list, by `gallery-dl --dump-json` in a process of its own (GPL-2.0: never
imported). It fetches no file; memory, answer and time are bounded, and its config comes through a pipe."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, urlsplit

from charaloom.config.params import Origin
from charaloom.errors import CharaloomError
from charaloom.runtime.processes import PASSED_ON, TooMuchError, confined, watched
from charaloom.sources.boards.answers import Row, as_texts, inner, moment, whole
from charaloom.sources.boards.dialect import SAFE_RATINGS, Found, made, rating_of
from charaloom.sources.network.secrets import hidden
from charaloom.sources.posts import RATINGS, scrubbed
from charaloom.sources.sites import Account, Site, account_of

COMMAND = [sys.executable, "-m", "gallery_dl"]

# Set by hand.
MEMORY_BYTES = 2 * 2**30  # address space
LIST_BYTES = 128 * 2**20
BASE_SECONDS, SECONDS_PER_POST = 120.0, 0.2  # that a list may take, besides the pauses
POSTS_PER_REQUEST = 20  # at least, of most sites
URL, ERROR = 3, -1  # kinds of its messages
HEADERS = ("accept", "origin", "referer")  # that a site may ask for; no account and no other name travels to its files
PURITY = {"sfw": "general", "sketchy": "questionable", "nsfw": "explicit"}  # Wallhaven's ratings
RESTRICTED = {"General": "general", "R-18": "explicit", "R-18G": "explicit"}  # Pixiv's
EROTICS = {"0": "general", "1": "sensitive", "2": "questionable", "3": "explicit"}  # Anime-Pictures'
RATING_KEYS = ("rating", "purity", "erotics", "x_restrict", "safety")
BY_AI = 2  # Pixiv's illust_ai_type


class Reader:
    """The posts of a query, as gallery-dl lists them; `most` of them at most."""

    partial: str | None = None

    def __init__(self, site: Site, origin: Origin, most: int) -> None:
        if not origin.url:
            raise CharaloomError(
                f"boards.{origin.name}.url: is missing. With gallery-dl a board needs the address of a search, with "
                "{query} where the roster's query stands."
            )
        self.site, self.origin, self.most = site, origin, most
        self.address = origin.url.replace("{query}", quote(origin.query or "", safe=""))
        self.ended_early = False

    def __iter__(self) -> Iterator[Found]:
        for message in self.messages():
            if message[0] == ERROR:
                raise CharaloomError(f"{self.site}: gallery-dl was refused: {refusal(message[-1], self.site)}")
            if message[0] == URL and len(message) == 3 and isinstance(message[2], dict):
                yield found(message[2], str(message[1]), self.site)

    def messages(self) -> list[list[Any]]:
        """What gallery-dl says, as it is; everything that is no message is an error."""
        try:
            value = json.loads(run(self.site, self.origin, self.address, self.most))
        except (ValueError, RecursionError) as error:
            raise CharaloomError(f"{self.site}: gallery-dl ended before its list did. Run again later.") from error
        return [message for message in value if isinstance(message, list) and message]


def run(site: Site, origin: Origin, address: str, most: int) -> bytes:
    """Its list of an address. Raises CharaloomError where it needs more memory, bytes or time than it may have."""
    if find_spec("gallery_dl") is None:
        raise CharaloomError("gallery-dl is not installed beside this Python. Install the packages of envs/ again.")
    options = ["--config-ignore", "--config-json", "/dev/stdin", "--no-input", "--dump-json"]
    with tempfile.TemporaryDirectory(prefix="charaloom-") as home:
        process = subprocess.Popen(
            [*COMMAND, *options, "--range", f"1-{most}", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env={**{key: os.environ[key] for key in PASSED_ON if key in os.environ}, "HOME": home, "LANG": "C.UTF-8"},
            start_new_session=True,
            preexec_fn=confined(MEMORY_BYTES, 0),
        )
        output = bytearray()
        try:
            # Through a pipe, so that the account touches neither the disk nor the list of processes.
            given = json.dumps(configured(site, origin)).encode()
            errors = watched(process, given, allowance(site, most), LIST_BYTES, output.extend)
        except TooMuchError as error:
            raise CharaloomError(
                f"{site}: gallery-dl's list {error}. Use a narrower query, or another source."
            ) from error
    if process.returncode and not output:
        raise CharaloomError(
            f"{site}: gallery-dl failed ({last_line(errors, account_of(site.name))}). Check url under boards in the "
            "config."
        )
    return bytes(output)


def configured(site: Site, origin: Origin) -> dict[str, Any]:
    own = account_of(site.name)
    name, key = (own.name, own.key) if own else ("", "")
    account = {"username": name, "password": key, "user-id": name, "api-key": key, "refresh-token": key}
    return {
        "user-agent": site.agent,  # at the root, where it stands above the names that its extractors have of their own
        "extractor": {
            "sleep-request": site.pause,
            "retries": 1,
            "timeout": 20,
            "tags": False,
            "threshold": 1,  # of Danbooru: a page with fewer posts is not the last one
            **(account if own else {}),
            **category_settings(site, origin),
        },
        "output": {"private": True, "log": {"level": "warning", "format": "{levelname}: {message}"}},
        "cache": {"file": None},
    }


def category_settings(site: Site, origin: Origin) -> dict[str, Any]:
    """How gallery-dl learns that a board of the user's own speaks a dialect it knows (`family`)."""
    if origin.family is None:
        return {}
    return {origin.family: {site.name: {"root": site.root, "pattern": f"(?:{pattern_of(site.root)})"}}}


def pattern_of(root: str) -> str:
    parts = urlsplit(root)
    return (parts.netloc + parts.path).replace(".", r"\.")


def allowance(site: Site, most: int) -> float:
    """Seconds that a list may take in all."""
    return BASE_SECONDS + most * (SECONDS_PER_POST + site.pause / POSTS_PER_REQUEST)


def refusal(error: Any, site: Site) -> str:
    """Its error in our words: the name alone, since a message may hold an address with an account in it."""
    name = str(inner(error, "error") or "no message") if isinstance(error, dict) else "no message"
    if "Auth" in name:
        return f"{name}. Set {site.account_variables}."
    if "Challenge" in name:
        return f"{name}. The site asks for a browser challenge; it is never evaded. Try later or another source."
    return f"{name}. Check url under boards in the config, or run again later."


def last_line(errors: bytes, own: Account | None) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    line = hidden(lines[-1], [own.key]) if lines and own else lines[-1] if lines else ""
    return (scrubbed(line) or "no message")[:200]


# ---- one post


def found(row: Row, address: str, site: Site) -> Found:
    """One file of gallery-dl's list; a post of several files is several posts of ours."""
    number, count = whole(row.get("num")), whole(row.get("count"))
    post_id = str(row.get("id") or row.get("tweet_id") or row.get("post_id") or address)
    if number is not None and (count is None or count > 1):
        post_id = f"{post_id}_{number}"
    typed = any(f"tags_{kind}" in row for kind in ("artist", "author", "character", "copyright"))
    general = [*as_texts(row.get("tags_general")), *as_texts(row.get("tags_object"))]
    meta = ["ai-generated"] if whole(row.get("illust_ai_type")) == BY_AI else []
    post = made(
        site.root,
        site=site.name,
        post_id=post_id,
        page_url=scrubbed(first_text(row, "page_url", "post_url", "short_url")),
        file_url=address if address.startswith(("https://", "http://")) else None,
        md5=row.get("md5"),
        rating=rating(row),
        score=whole(row.get("score")) or whole(row.get("total_bookmarks")),
        favourites=whole(row.get("fav_count")) or whole(row.get("favorites")) or whole(row.get("total_bookmarks")),
        created=moment(row.get("date") or row.get("created_at")),
        source=first_text(row, "source"),
        artists=artists(row),
        tags_general=general if typed else as_texts(row.get("tags")),
        tags_character=as_texts(row.get("tags_character")),
        tags_copyright=as_texts(row.get("tags_copyright")),
        tags_meta=[*as_texts(row.get("tags_meta")), *meta],
    )
    asked = row.get("_http_headers")
    headers = {str(key): str(value) for key, value in asked.items()} if isinstance(asked, dict) else {}
    return Found(
        post,
        width=whole(row.get("width")),
        height=whole(row.get("height")),
        size=whole(row.get("file_size")) or whole(row.get("filesize")),
        extension=str(row.get("extension") or "").lower(),
        unrated=not any(key in row for key in RATING_KEYS),
        headers={
            "Referer": f"{site.root}/",
            **{key: scrubbed(value) or "" for key, value in headers.items() if key.lower() in HEADERS},
        },
    )


def rating(row: Row) -> str | None:
    """The rating by the site's own scale; Danbooru's `s` is not the `s` of others."""
    if "x_restrict" in row or str(row.get("rating")) in RESTRICTED:
        return RESTRICTED.get(str(row.get("rating")))
    if "purity" in row:
        return PURITY.get(str(row["purity"]))
    if "erotics" in row:
        return EROTICS.get(str(row["erotics"]))
    scale = RATINGS if "tag_string" in row else SAFE_RATINGS
    return rating_of(row.get("rating"), scale)


def artists(row: Row) -> list[str]:
    names = [*as_texts(row.get("tags_artist")), *as_texts(row.get("tags_author")), *as_texts(row.get("artist"))]
    user = inner(row, "user", "account") or inner(row, "user", "name") or inner(row, "author", "name")
    return names or as_texts(user)


def first_text(row: Row, *keys: str) -> str | None:
    return next((row[key] for key in keys if isinstance(row.get(key), str) and row[key]), None)
