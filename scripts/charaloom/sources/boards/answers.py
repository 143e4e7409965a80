"""Answers of boards, read without trust: JSON and XML as rows, values as what they should be."""

import html
import json
import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from charaloom.sources.posts import is_number

Row = dict[str, Any]
DATES = ("%a %b %d %H:%M:%S %z %Y", "%Y-%m-%d %H:%M:%S")  # of Gelbooru's kin, of Shimmie


class NotAListError(Exception):
    """The answer is no list of posts; says in a few words what it is instead."""


def json_of(body: bytes) -> Any:
    """The JSON of an answer; Zerochan leaves control characters in texts."""
    try:
        return json.loads(body, strict=False)
    except (ValueError, RecursionError) as error:
        raise NotAListError("something that is not JSON (a login page, a challenge, or another dialect)") from error


def rows_of(value: Any) -> list[Row]:
    """The rows of a list, or of a single row that a board sends bare; whatever else is in a list is left out."""
    if isinstance(value, dict) and "id" in value:
        return [value]
    if not isinstance(value, list):
        raise NotAListError(f"no list of posts: {str(value)[:200]}")
    return [row for row in value if isinstance(row, dict)]


def member(value: Any, name: str) -> list[Row]:
    """The rows of a list that stands under a name; none where the name is missing or null."""
    if not isinstance(value, dict):
        raise NotAListError(f"no list of posts: {str(value)[:200]}")
    if value.get(name) is None:
        if value.get("success") is False or "error" in value:
            raise NotAListError(f"no list of posts: {str(value)[:200]}")
        return []
    return rows_of(value[name])


def xml_of(body: bytes, name: str = "posts") -> tuple[Row, list[Row]]:
    """Attributes of the root of an XML list, and those of its children.

    A document with declarations of its own is refused: entities are how a small one becomes a large one.
    """
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise NotAListError("a web page instead of a list" if b"<html" in body.lower() else "XML with declarations")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise NotAListError("something that is not XML (a login page, a challenge, or another dialect)") from error
    if root.tag != name:
        raise NotAListError(f"no list of posts: {(root.text or root.tag).strip()[:200]}")
    return dict(root.attrib), [dict(child.attrib) for child in root]


def whole(value: Any) -> int | None:
    """A number, also where the board writes it as text."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    return value if is_number(value) else None


def inner(row: Row, *names: str) -> Any:
    """A value inside of groups; None where one of them is missing."""
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def flat_tags(value: Any) -> str | list[Any] | None:
    """Tags as text or list; the entities that Gelbooru's kin leaves in them are replaced."""
    return html.unescape(value) if isinstance(value, str) else value if isinstance(value, list) else None


def moment(value: Any) -> str | None:
    """A time in ISO 8601 where it can be read: boards write it in many ways."""
    number = whole(value)
    try:
        if number is not None:
            return datetime.fromtimestamp(number, UTC).isoformat()
        for form in DATES if isinstance(value, str) else ():
            try:
                return datetime.strptime(value, form).isoformat()
            except ValueError:
                continue
    except (ValueError, OverflowError, OSError):
        return None
    return value if isinstance(value, str) and value else None


def as_texts(value: Any) -> list[str]:
    """Names of tags or people, however a site lists them: text with blanks, texts, or rows with a name."""
    if isinstance(value, str):
        return value.split()
    names = [item.get("name") or item.get("tag") if isinstance(item, dict) else item for item in as_list(value)]
    return ["_".join(name.split()) for name in names if isinstance(name, str) and name.strip()]


def as_row(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
