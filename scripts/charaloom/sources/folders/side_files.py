"""What stands in a file beside a picture: a caption, or a post as a program that fetched it writes one."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from charaloom.images.files import SIDECAR_END
from charaloom.sources.folders.captions import Caption, read_caption, read_tags
from charaloom.sources.folders.ratings import (
    RATING_KEYS,
    UNKNOWN,
    is_safe_board,
    rating_of,
    rating_of_tag,
    spelled,
    strictest,
)
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
# Of a user's own objects; sites call their remarks so.
CAPTION_KEYS = ("caption", "captions", "text", "txt", "prompt")
RATED = re.compile(rb"rating|safe|nsfw|sfw|r-?18|explicit|questionable|sensitive|mature|adult|restrict|over_18", re.I)
MOST_AROUND = 8  # objects around one that is read; what lies deeper leaves the rating open
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


def read_side_file(path: Path) -> list[Side]:
    """The content of a side file. Raises UnreadableError where it cannot be understood, OSError where not be read."""
    if path.stat().st_size > SIDE_FILE_BYTES:
        raise UnreadableError(f"is larger than {SIDE_FILE_BYTES:,} bytes")
    text = decoded(path.read_bytes())
    if path.name.lower().endswith(SIDECAR_END) and path.name.startswith("."):
        return sides_of_waifuc(json_object(text))
    if path.suffix.lower() == ".json":
        return [side_of_object(json_object(text))]
    return [side_of_caption(read_caption(text))]


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


def may_rate(data: bytes) -> bool:
    """Whether what cannot be read may hold a rating: its bytes have a word of one."""
    return bool(RATED.search(data.replace(b"\0", b"")))


def json_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises UnreadableError where it is none, or says one thing twice."""
    value = json_value(text)
    if not isinstance(value, dict):
        raise UnreadableError("is JSON, but no object with keys")
    return value


def json_value(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=unequal_keys)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"is no valid JSON ({error})" if str(error) else "is no valid JSON") from error


def unequal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands there twice")
    return content


def side_of_caption(caption: Caption) -> Side:
    return Side(tags=caption.tags, rating=strictest(caption.ratings), left_out=caption.left_out)


def side_of_object(content: dict[str, Any], depth: int = 0) -> Side:
    """A post of a board, of gallery-dl, or a few words of the user's own; or an object that holds one, in whose place
    it counts. `depth`: objects around this one."""
    given, safe = rating_of(content), is_safe_board(content)
    content = {str(key).lower(): value for key, value in content.items()}
    by_category = categories_of(content)
    captions = [read_tags(by_category.pop("general", []), safe)]
    if "category" not in content:
        captions += [read_caption(text, safe) for key in CAPTION_KEYS for text in texts_in(content.get(key))]
    ratings = [rating for caption in captions for rating in caption.ratings]
    ratings += [rating for tag in by_category.get("meta", []) if (rating := rating_of_tag(tag, safe))]
    facts = {key: value for key, value in content.items() if not str(key).startswith("tag")}
    post = post_of(facts, "", "", None) | {f"tags_{kind}": tags for kind, tags in by_category.items()}
    post["artists"] = post.pop("tags_artist", []) or words(content.get("artist") or content.get("artists"))
    own = Side(
        post={key: value for key, value in post.items() if value and key not in ("rating", "tags_general")},
        tags=list(dict.fromkeys(tag for caption in captions for tag in caption.tags)),
        rating=strictest([*ratings, *([given] if given else [])]),
        left_out=[part for caption in captions for part in caption.left_out],
    )
    return with_inner(own, list(objects_in(content)), depth)


def sides_of_waifuc(meta: dict[str, Any]) -> list[Side]:
    """What waifuc says of a picture: the posts of sites, each under its site's name, and the tags."""
    posts = [side_of_object({**row, "category": site}) for site, row in rows_of_waifuc(meta)]
    typed = {tag for side in posts for key, tags in side.post.items() if isinstance(tags, list) for tag in tags}
    own = side_of_object({key: value for key, value in meta.items() if not (isinstance(value, dict) and "id" in value)})
    return [*posts, replace(own, tags=[tag for tag in own.tags if tag not in typed])]


def rows_of_waifuc(meta: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(site, its own JSON of the post)."""
    return [(key, value) for key, value in sorted(meta.items()) if isinstance(value, dict) and "id" in value]


def with_inner(own: Side, inner: list[dict[str, Any]], depth: int) -> Side:
    """What an object says with what those in it say: every rating, and tags and facts where it has none of its own."""
    if not inner:
        return own
    if depth == MOST_AROUND:
        return replace(own, rating=UNKNOWN)
    sides = [side_of_object(content, depth + 1) for content in inner]
    first = next((side for side in sides if side.tags or side.post), Side())
    has_tags = own.tags or any(isinstance(value, list) for value in own.post.values())
    return replace(
        own,
        post=own.post if has_tags else {**first.post, **own.post},
        tags=own.tags if has_tags else first.tags,
        rating=strictest(filter(None, [own.rating, *(side.rating for side in sides)])),
        left_out=own.left_out if has_tags else [*own.left_out, *first.left_out],
    )


def objects_in(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects that an object holds as values or in lists, but for its tags and ratings; each under its key as the
    name of its board."""
    for key, value in content.items():
        if spelled(key).startswith("tag") or spelled(key) in RATING_KEYS:
            continue
        for entry in value if isinstance(value, list) else [value]:
            inner = object_in_text(entry) if isinstance(entry, str) else entry
            if isinstance(inner, dict):
                yield {"category": str(key), **inner}


def object_in_text(text: str) -> dict[str, Any] | None:
    """The object that a text is, as columns of tables hold one; None of any other text."""
    if not text.lstrip().startswith("{"):
        return None
    with suppress(UnreadableError):
        return json_object(text)
    return None


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
        parts = [name for entry in value for name in names_in(entry)]
    else:
        parts = []
    names = ("_".join(part.encode("utf-8", "backslashreplace").decode().split()) for part in parts)
    return [name for name in names if name]


def names_in(entry: object, depth: int = 0) -> list[str]:
    """The tags of one entry of a list, which may be an object with a name, a pair with a score, or a list again."""
    if isinstance(entry, dict):
        names = [entry[key] for key in ("name", "tag", "tagName") if isinstance(entry.get(key), str | dict)]
        entry = names[0] if names else None
        return names_in(entry, depth + 1) if depth < MOST_AROUND else []
    if isinstance(entry, list):
        return [name for part in entry for name in names_in(part, depth + 1)] if depth < MOST_AROUND else []
    return [entry] if isinstance(entry, str) else []


def texts_in(value: object) -> list[str]:
    """A text, or those of a list."""
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


# --- listings: one file for the pictures of a folder


def listing_rows(path: Path) -> Iterator[tuple[str, "dict[str, Any] | Unread"]]:
    """(place, object or why it is none) of a listing. Raises UnreadableError, OSError."""
    if path.stat().st_size > LISTING_BYTES:
        raise UnreadableError(f"is larger than {LISTING_BYTES:,} bytes")
    data = path.read_bytes()
    match path.suffix.lower():
        case ".csv":
            rows = csv.DictReader(io.StringIO(decoded(data), newline=""))
            try:
                for row in rows:
                    yield f"line {rows.line_num}", {key: value for key, value in row.items() if key}
            except csv.Error as error:
                raise UnreadableError(f"is no valid CSV ({error})") from error
        case ".json":
            yield from entries_of(json_value(decoded(data)))
        case _:
            for number, line in enumerate(lines_of(data), 1):
                if line.strip():
                    try:
                        yield f"line {number}", json_object(decoded(line))
                    except UnreadableError as error:
                        yield f"line {number}", Unread(str(error), may_rate(line))


@dataclass(frozen=True)
class Unread:
    """Why a line cannot be read, and whether it may hold a rating."""

    why: str
    rates: bool


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a text, each to be decoded for itself where that is possible; JSON may hold other line ends."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or data.count(0) > NUL_SHARE * len(data)
    return (decoded(data).encode("utf-8", "surrogatepass") if wide else data).split(b"\n")


def entries_of(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list, or of kohya's object by name of picture; nothing of any other."""
    named = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for name, entry in named:
        if isinstance(entry, dict):
            yield f"entry {name}", {"file_name": name, **entry} if isinstance(name, str) else entry


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
