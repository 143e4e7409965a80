"""A site on the network: how it is addressed, at what pace, and under which name and account."""

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from charaloom import __version__
from charaloom.errors import CharaloomError
from charaloom.sources.network.secrets import hidden, scrubbed_text

BROWSERS = re.compile(r"mozilla|applewebkit|gecko|chrom(e|ium)|safari|firefox|opera|\bedg|msie|trident", re.IGNORECASE)


@dataclass(frozen=True)
class Site:
    """A site as the config names it, with the credentials of the environment. They go to the root's origin only."""

    name: str
    root: str
    pause: float  # seconds between two requests to one host
    agent: str
    login: tuple[str, str] | None = field(default=None, repr=False)  # of HTTP basic
    secret_params: Mapping[str, str] = field(default_factory=dict, repr=False)  # an account in the query
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # an account in headers
    account: str = ""  # the variables of the environment that hold it, where they are not named after the site
    file_roots: tuple[str, ...] = ()  # of files inside the user's own network, besides the root's origin

    def __str__(self) -> str:
        return f"{self.name} ({self.root})"

    @property
    def account_variables(self) -> str:
        """The variables of the environment that hold its account."""
        return self.account or f"{variables(self.name)}_USERNAME and {variables(self.name)}_API_KEY"

    @property
    def patience(self) -> float:
        """First wait after trouble, in seconds; it doubles from there."""
        return max(0.25, 20 * self.pause)

    def shown(self, text: str) -> str:
        """What the site said, as a message may hold it: a site may repeat the account that it was sent."""
        basic = {b64encode(":".join(self.login).encode()).decode()} if self.login else set()
        return scrubbed_text(hidden(text, self.secrets | basic))

    @property
    def secrets(self) -> frozenset[str]:
        """What must not leave for another origin."""
        own = {self.login[1]} if self.login else set()
        return frozenset({*own, *self.secret_params.values(), *self.secret_headers.values()} - {""})


def agent(contact: str) -> str:
    """Charaloom's own User-Agent. `contact`: a URL or mail address where a site's owner reaches the user, or nothing;
    CHARALOOM_CONTACT of the environment comes first.

    Raises CharaloomError where it is a browser's name, which boards block, or cannot stand in a header.
    """
    contact = (os.environ.get("CHARALOOM_CONTACT", "") or contact).strip()
    if BROWSERS.search(contact):
        raise CharaloomError(
            f"contact `{contact[:80]}`: this is a browser's name, and sites block programs that pretend to be one. Set "
            "CHARALOOM_CONTACT, or contact in the config, to a URL or mail address of yours."
        )
    if not contact.isascii() or not contact.isprintable() or len(contact) > 200:
        raise CharaloomError("contact: use a URL or mail address of at most 200 printable ASCII characters.")
    return f"Charaloom/{__version__}" + (f" (+{contact})" if contact else "")


@dataclass(frozen=True)
class Account:
    """What the environment names of a board's account: its name (or number), and a key or a password."""

    name: str
    key: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def account_of(board: str, by_password: bool = False) -> Account | None:
    """The account that the environment names for a board; None where it names none.

    Raises CharaloomError where it names a part of one: what a user set is not left out in silence. `by_password`:
    whether the board takes a password.
    """
    prefix = variables(board)
    name, key, password = (os.environ.get(f"{prefix}_{end}", "") for end in ("USERNAME", "API_KEY", "PASSWORD"))
    if password and not by_password:
        raise CharaloomError(f"{prefix}_PASSWORD: {board} takes no password but a key; set {prefix}_API_KEY instead")
    missing = [end for end, value in (("USERNAME", name), ("API_KEY", key or password)) if not value]
    if len(missing) == 1:
        there = f"{prefix}_USERNAME" if name else f"{prefix}_API_KEY" if key else f"{prefix}_PASSWORD"
        raise CharaloomError(f"{there} is set, but not {prefix}_{missing[0]}: an account of {board} needs both")
    return None if missing else Account(name, key, password)


def variables(board: str) -> str:
    """First part of the names of a board's environment variables."""
    return "CHARALOOM_" + re.sub(r"\W", "_", board).upper()
