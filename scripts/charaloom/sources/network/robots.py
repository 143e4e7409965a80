"""What a site asks of programs: robots.txt (RFC 9309), X-Robots-Tag, the robots meta tag."""

import re
from collections.abc import Mapping
from typing import Protocol

NAME = "charaloom"  # that a robots.txt may call us by
NOAI = re.compile(r"\bno(image)?ai\b", re.IGNORECASE)
META = re.compile(rb"<meta\b[^>]{0,500}>", re.IGNORECASE)


class Robots(Protocol):
    def can_fetch(self, url: str, user_agent: str) -> bool: ...


def read_robots(status: int, body: bytes) -> Robots | None:
    """The rules of a robots.txt; None where there is none, which allows everything."""
    if status != 200:
        return None
    from protego import Protego

    return Protego.parse(body.decode("utf-8", "replace"))


def is_tagged(headers: Mapping[str, str]) -> bool:
    """Whether X-Robots-Tag says noai or noimageai, to whomever."""
    return NOAI.search(headers.get("X-Robots-Tag", "")) is not None


def is_tagged_page(body: bytes) -> bool:
    """Whether a web page has a robots meta tag with noai or noimageai."""
    metas = (tag.decode("latin-1") for tag in META.findall(body[:65536]))
    return any(re.search(rf"""name\s*=\s*["']?(robots|{NAME})\b""", tag, re.I) and NOAI.search(tag) for tag in metas)
