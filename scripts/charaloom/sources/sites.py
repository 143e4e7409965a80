"""A site on the network: how it is addressed, at what pace, and under which name and account."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

RETRY_AFTER_SECONDS = 900.0  # that a site may ask us to wait, at most


@dataclass(frozen=True)
class Site:
    """A board as the config names it, with the credentials of the environment."""

    name: str
    root: str
    pause: float  # seconds between two requests
    agent: str
    login: tuple[str, str] | None = field(default=None, repr=False)  # of HTTP basic
    secret_params: Mapping[str, str] = field(default_factory=dict, repr=False)  # an account in the query
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # an account in headers
    file_roots: tuple[str, ...] = ()  # of files inside the user's own network, besides the root's origin

    def __str__(self) -> str:
        return f"{self.name} ({self.root})"

    @property
    def patience(self) -> float:
        """First wait after trouble, in seconds; it doubles from there."""
        return max(0.5, 20 * self.pause)


def seconds_asked(answer: requests.Response) -> float:
    """Retry-After (seconds or a date) of a 429 or 503, at most RETRY_AFTER_SECONDS; 0 where there is none."""
    value = answer.headers.get("Retry-After") if answer.status_code in (429, 503) else None
    try:
        return min(Retry().parse_retry_after(value), RETRY_AFTER_SECONDS) if value else 0.0
    except InvalidHeader:
        return 0.0
