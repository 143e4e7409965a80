"""What stands in a file beside a picture: a caption, or a post as a program that fetched it writes one."""

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charaloom.sources.folders.captions import Caption, read_caption, read_tags
from charaloom.sources.folders.ratings import UNKNOWN, is_safe_board, rating_of, rating_of_tag, strictest
from charaloom.sources.posts import Post, post_of, words

SIDE_FILE_BYTES = 2**20
LISTING_BYTES = 2**26
BYTE_ORDER_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
NOT_UTF8 = "is no UTF-8 text and says no other encoding; save it as UTF-8"
NUL_SHARE = 0.2  # of the bytes, from which a text is UTF-16 or UTF-32 without its mark
CAPTION_KEYS = ("caption", "text")  # of a user's own objects; posts of a site call their remarks so
CATEGORIES = ("artist", "character", "copyright", "meta")
KINDS_OF_SITES = {"series": "copyright", "species": "general", "lore": "general", "invalid": "meta", "medium": "meta"}


class UnreadableError(ValueError):
    """A side file that cannot be read; the message is the reason and the cure."""


@dataclass
class Side:
    """What side files add to a picture's post."""

    post: Post = field(default_factory=dict)  # tags by category and single facts
    tags: list[str] = field(default_factory=list)  # general tags in the order of the file
    rating: str | None = None
    left_out: list[str] = field(default_factory=list)  # of captions


def read_side_file(path: Path) -> Side:
    """The content of a side file. Raises UnreadableError where it cannot be understood, OSError where not be read."""
    if path.stat().st_size > SIDE_FILE_BYTES:
        raise UnreadableError(f"is larger than {SIDE_FILE_BYTES:,} bytes")
    text = decoded(path.read_bytes())
    if path.suffix.lower() == ".json":
        return side_of_object(json_object(text))
    return side_of_caption(read_caption(text))


def decoded(data: bytes) -> str:
    """Text by its byte order mark, else UTF-8; never guessed."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise UnreadableError(f"begins like {encoding.upper()} text and is none; save it as UTF-8") from error
    if data.count(0) > NUL_SHARE * len(data):
        raise UnreadableError("is UTF-16 or UTF-32 text without its mark; save it as UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(NOT_UTF8) from error


def rating_in_bytes(data: bytes) -> str | None:
    """The strictest rating among the tags of a caption whose encoding is not known: ratings are written in ASCII."""
    return strictest(read_caption(data.decode("latin-1").replace("\0", "")).ratings)


def json_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises UnreadableError where it is none, or says one thing twice."""
    try:
        value = json.loads(text, object_pairs_hook=unequal_keys)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"is no valid JSON ({error})" if str(error) else "is no valid JSON") from error
    if not isinstance(value, dict):
        raise UnreadableError("is JSON, but no object with keys")
    return value


def unequal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands there twice")
    return content


def side_of_caption(caption: Caption) -> Side:
    return Side(tags=caption.tags, rating=strictest(caption.ratings), left_out=caption.left_out)


def side_of_object(content: dict[str, Any]) -> Side:
    """A post of a board, of gallery-dl, or a few words of the user's own."""
    safe = is_safe_board({str(key).lower(): value for key, value in content.items()})
    by_category = categories_of(content)
    captions = [read_tags(by_category.pop("general", []), safe)]
    if "category" not in content:
        captions += [read_caption(text, safe) for key in CAPTION_KEYS if isinstance(text := content.get(key), str)]
    ratings = [rating for caption in captions for rating in caption.ratings]
    ratings += [rating for tag in by_category.get("meta", []) if (rating := rating_of_tag(tag, safe))]
    given = rating_of(content)
    facts = {key: value for key, value in content.items() if not str(key).startswith("tag")}
    post = post_of(facts, "", "", None) | {f"tags_{kind}": tags for kind, tags in by_category.items()}
    post["artists"] = post.pop("tags_artist", []) or words(content.get("artist") or content.get("artists"))
    return Side(
        post={key: value for key, value in post.items() if value and key not in ("rating", "tags_general")},
        tags=list(dict.fromkeys(tag for caption in captions for tag in caption.tags)),
        rating=strictest([*ratings, *([given] if given else [])]),
        left_out=[part for caption in captions for part in caption.left_out],
    )


def categories_of(content: dict[str, Any]) -> dict[str, list[str]]:
    """Tags by category (general, artist, character, copyright, meta), from whichever keys a site uses."""
    tags: dict[str, list[str]] = {}
    for kind in ("general", *CATEGORIES):
        listed = content.get(f"tag_string_{kind}") or content.get(f"tags_{kind}")
        if names := tag_names(listed):
            tags[kind] = names
    flat = content.get("tags") or content.get("tag_string")
    if isinstance(flat, dict) and all(isinstance(value, list | str | dict) for value in flat.values()):
        for kind, listed in flat.items():
            category = KINDS_OF_SITES.get(kind, kind if kind in CATEGORIES else "general")
            tags[category] = [*tags.get(category, []), *tag_names(listed)]
    elif not tags.keys() - {"general"} and "general" not in tags:
        tags["general"] = tag_names(flat)
    return {kind: list(dict.fromkeys(names)) for kind, names in tags.items()}


def tag_names(value: object) -> list[str]:
    """Tags of a list, of a text (with commas between them, else blanks), or of a dictionary by tag."""
    if isinstance(value, str):
        parts = value.split(",") if "," in value else value.split()
    elif isinstance(value, dict):
        parts = [str(name) for name in value]
    elif isinstance(value, list):
        parts = [name for entry in value if (name := name_in(entry))]
    else:
        parts = []
    names = ("_".join(part.encode("utf-8", "backslashreplace").decode().split()) for part in parts)
    return [name for name in names if name]


def name_in(entry: object) -> str | None:
    """The tag of one entry of a list, which may be an object with a name, or a pair with a score."""
    if isinstance(entry, dict):
        entry = next((entry[key] for key in ("name", "tag", "tagName") if isinstance(entry.get(key), str)), None)
    if isinstance(entry, list) and entry:
        entry = entry[0]
    return entry if isinstance(entry, str) else None


# --- listings: one file for the pictures of a folder


def listing_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, object or why it is none) of metadata.jsonl or metadata.csv. Raises UnreadableError, OSError."""
    if path.stat().st_size > LISTING_BYTES:
        raise UnreadableError(f"is larger than {LISTING_BYTES:,} bytes")
    text = decoded(path.read_bytes())
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        try:
            yield from ((rows.line_num, {key: value for key, value in row.items() if key}) for row in rows)
        except csv.Error as error:
            raise UnreadableError(f"is no valid CSV ({error})") from error
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json_object(line)
            except UnreadableError as error:
                yield number, str(error)


def merged(sides: list[Side], post: Post) -> tuple[Post, str | None]:
    """The post with what side files add, later ones behind earlier ones, and the strictest rating of them."""
    post = {**post, "tags_general": words([tag for side in sides for tag in side.tags])}
    for side in sides:
        for key, value in side.post.items():
            if isinstance(value, list):
                post[key] = words([*post[key], *value])
            elif post[key] is None:
                post[key] = value
    rating = strictest(side.rating for side in sides if side.rating)
    post["rating"] = None if rating == UNKNOWN else rating
    return post, rating
