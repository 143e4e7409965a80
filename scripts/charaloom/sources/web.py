"""The one HTTP client of all sources (a stand-in: helper fetching writes it)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import requests

from charaloom.errors import CharaloomError
from charaloom.sources.sites import Site


@dataclass(frozen=True)
class Answer:
    """The answer to a list request; its body is decoded and capped."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Web:
    """The network as one run of a source sees it: polite, bounded, and no further than the user's own site and the
    public network. One per run of a source."""

    def __init__(self, site: Site, hosts: Path) -> None:
        self.site, self.hosts = site, hosts
        self.session = requests.Session()

    def __enter__(self) -> "Web":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.session.close()

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer of a page of a list. Raises CharaloomError with cause and cure where the site refuses or does not
        answer."""
        site = self.site
        time.sleep(site.pause)
        try:
            answer = self.session.get(
                url,
                params={**(params or {}), **site.secret_params},
                headers={"User-Agent": site.agent, **(headers or {}), **site.secret_headers},
                auth=site.login or (lambda request: request),
                timeout=30,
            )
        except requests.RequestException as error:
            raise CharaloomError(f"{site}: no answer ({type(error).__name__}).") from error
        return Answer(answer.status_code, answer.headers, answer.content, answer.url)
