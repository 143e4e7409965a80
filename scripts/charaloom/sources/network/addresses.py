"""Which addresses are asked: the user's own site, and the public network.

One parser reads an address, and what it read is what is connected to; `ssrfguard` knows which networks are public.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import (  # type: ignore[attr-defined]
    getproxies_environment,
    proxy_bypass_environment,
)

from ssrfguard import Address as Checked
from ssrfguard import BlockedAddressError, Policy, SSRFGuardError, Target, resolve

from charaloom.errors import CharaloomError

PORTS = frozenset({80, 443, *range(1024, 65536)})  # of strangers: those below belong to other protocols
PUBLIC = Policy(allowed_ports=PORTS)
NAMED = Policy(allowed_ports=frozenset(range(1, 65536)), allowed_networks=("0.0.0.0/0", "::/0"))  # type: ignore[arg-type]
NUMBER = re.compile(r"(^|\.)(0x[0-9a-f]*|[0-9]+)\.?$")  # the last label of an IPv4 address in an odd notation
SAFE = "!#$%&'()*+,/:;=?@[]~"  # what stays as it is in a path or a query
OUTSIDE = "address: not on the public network"


class AddressError(Exception):
    """An address that is not asked; the message is the reason as a table may hold it."""


@dataclass(frozen=True)
class Address:
    """An address as it is connected to and as it is asked."""

    scheme: str
    host: str
    port: int
    target: str  # path and query, as the request names them

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host.rstrip("."), self.port

    @property
    def root(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == standard_port(self.scheme) else f":{self.port}")

    @property
    def url(self) -> str:
        return self.root + self.target


def standard_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def parsed(url: str) -> Address:
    """Raises AddressError for all but http and https, and for what two programs could read in two ways: a user name, a
    backslash, blanks, control characters, numbers in an odd notation."""
    if "\\" in url:
        raise AddressError(OUTSIDE)
    try:
        read = NAMED.check_url(url)
        parts = urlsplit(url)
    except (SSRFGuardError, ValueError) as error:
        raise AddressError(OUTSIDE) from error
    if not read.is_literal_address and NUMBER.search(read.host):
        raise AddressError(OUTSIDE)
    target = quote(parts.path or "/", SAFE) + (f"?{quote(parts.query, SAFE)}" if parts.query else "")
    return Address(read.scheme, read.host, read.port, target)


class Places:
    """Where requests may go. `roots`: what the user named, allowed wherever it is; all else must be public."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self.named = {parsed(root).origin for root in roots}
        self.inside: dict[tuple[str, str, int], bool] = {}
        self.lock = threading.Lock()

    def checked(self, url: str) -> Address:
        """The address as it may be asked; its name is looked up when it is connected to. Raises AddressError."""
        address = parsed(url)
        if address.origin not in self.named:
            try:
                PUBLIC.check_url(address.url)
            except SSRFGuardError as error:
                raise AddressError(OUTSIDE) from error
        return address

    def looked_up(self, scheme: str, host: str, port: int, lookup: Callable[..., Any]) -> tuple[list[Checked], Policy]:
        """What a host may be connected at, by one lookup, and the policy that it passed.

        Raises AddressError where one of its addresses is not public, OSError where there is no answer. A host that the
        user named may be inside; one that was public at the first look of this run stays so.
        """
        origin = (scheme, host.rstrip("."), port)
        found = resolve(Target(scheme, host, port, host), policy=NAMED, resolver=lookup)
        public = all(PUBLIC.permits_address(address.ip) for address in found)
        with self.lock:
            if origin in self.named and self.inside.setdefault(origin, not public):
                return list(found), NAMED
        if not public:
            raise AddressError(OUTSIDE)
        return list(found), PUBLIC


def proxy_of(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host, as an http or https address."""
    proxies = getproxies_environment()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass_environment(host, proxies):  # type: ignore[call-arg]
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise CharaloomError(
            f"proxy `{urlsplit(proxy).scheme}` of the environment: only proxies that speak HTTP are supported. Set "
            "https_proxy and http_proxy to one, or unset all_proxy."
        )
    return proxy


def reject_inside(address: Address) -> None:
    """Behind a proxy, which looks names up itself: refuse what this machine knows to be inside."""
    try:
        resolve(PUBLIC.check_url(address.root), policy=PUBLIC)
    except BlockedAddressError as error:
        raise AddressError(OUTSIDE) from error
    except (OSError, SSRFGuardError):
        return


def certificates() -> str | None:
    """The file of trusted certificates that the environment names."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
