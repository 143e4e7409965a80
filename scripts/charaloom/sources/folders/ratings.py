"""Ratings as side files write them. They fail closed: what is not understood is not allowed."""

import math
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

GENERAL, SENSITIVE, QUESTIONABLE, EXPLICIT, UNKNOWN = "general", "sensitive", "questionable", "explicit", "unknown"
STRICTNESS = (GENERAL, SENSITIVE, QUESTIONABLE, EXPLICIT, UNKNOWN)  # the strictest last
WORDS = {
    **dict.fromkeys(("g", "general", "safe", "sfw", "all ages", "everyone", "r-0", "全年齢", "全年龄"), GENERAL),
    "sensitive": SENSITIVE,
    **dict.fromkeys(("q", "questionable", "r-15", "r15", "mature", "ecchi", "suggestive", "sketchy"), QUESTIONABLE),
    **dict.fromkeys(("e", "explicit", "r-18", "r18", "r-18g", "r18g", "adult", "nsfw", "unsafe", "hentai"), EXPLICIT),
}
# `s` is safe on boards of the Moebooru kin and of e621's, as their API pages say; on Danbooru it is sensitive.
SAFE_BOARDS = (
    *("yandere", "yande.re", "konachan", "sakugabooru", "lolibooru", "moebooru", "behoimi", "3dbooru"),
    *("e621", "e926"),
)
BOARD_KEYS = ("category", "site", "board", "source_site", "basecategory")  # of gallery-dl and its kin
URL_KEYS = ("file_url", "sample_url", "jpeg_url", "preview_url", "page_url", "post_url")
RATING_KEYS = ("rating", "age_rating", "safety", "content_rating")
RESTRICTIONS = ("x_restrict", "xrestrict")  # of pixiv: 0 for all ages, 1 R-18, 2 R-18G
ADULT_FLAGS = ("nsfw", "is_nsfw", "adult", "is_adult", "mature", "is_mature", "over_18", "r18", "is_r18")
DOUBTFUL_FLAGS = ("sensitive", "possibly_sensitive")
NO: tuple[object, ...] = (None, "", False, 0, "0", "false", "no", [], {})  # what a flag says that is not set
OF_TAGS = {  # words that are a rating where they stand among tags
    **dict.fromkeys(("nsfw", "explicit", "r-18", "r18", "r-18g", "r18g"), EXPLICIT),
    **dict.fromkeys(("questionable", "r-15", "r15"), QUESTIONABLE),
    "sensitive": SENSITIVE,
    **dict.fromkeys(("safe", "sfw"), GENERAL),
}
PREFIX = re.compile(r"rating\s*[:=_]\s*(.+)")


def strictest(ratings: Iterable[str]) -> str | None:
    """The strictest of some ratings; None of none."""
    return max(ratings, key=STRICTNESS.index, default=None)


def rating_of(content: dict[str, Any]) -> str | None:
    """The strictest rating that a side file's object gives in any of its keys; None where it gives none."""
    fields = {str(key).lower(): value for key, value in content.items()}
    safe = is_safe_board(fields)
    found = [rating_word(fields[key], safe) for key in RATING_KEYS if fields.get(key) not in (None, "")]
    found += [restriction(fields[key]) for key in RESTRICTIONS if fields.get(key) is not None]
    found += [EXPLICIT for key in ADULT_FLAGS if flagged(fields.get(key))]
    found += [QUESTIONABLE for key in DOUBTFUL_FLAGS if flagged(fields.get(key))]
    return strictest(found)


def rating_word(value: object, safe: bool = False) -> str:
    """One word as a rating; `safe`: the board's `s` means safe. A dictionary of scores counts by its highest."""
    if isinstance(value, dict):
        scores = {key: score for key, score in value.items() if is_score(score)}
        return rating_word(max(scores, key=lambda key: scores[key]), safe) if scores and scores == value else UNKNOWN
    if not isinstance(value, str):
        return UNKNOWN
    word = " ".join(value.lower().replace("_", " ").split())
    word = PREFIX.sub(r"\1", word)
    if word == "s":
        return GENERAL if safe else SENSITIVE
    return WORDS.get(word) or WORDS.get(word.replace(" ", "-")) or UNKNOWN


def is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def restriction(value: object) -> str:
    """Pixiv's `x_restrict`."""
    number = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return {"0": GENERAL, "1": EXPLICIT, "2": EXPLICIT}.get(number, UNKNOWN)


def flagged(value: object) -> bool:
    """Whether a yes-or-no key is set; what is neither counts as set."""
    return (value.strip().lower() if isinstance(value, str) else value) not in NO


def is_safe_board(fields: dict[str, Any]) -> bool:
    """Whether a post comes from a board on which `s` stands for safe."""
    names = [str(fields.get(key) or "").lower() for key in BOARD_KEYS]
    return any(board in name for name in (*names, *map(host, map(fields.get, URL_KEYS))) for board in SAFE_BOARDS)


def host(url: object) -> str:
    try:
        return (urlsplit(url).hostname or "") if isinstance(url, str) else ""
    except ValueError:
        return ""


def rating_of_tag(tag: str, safe: bool = False) -> str | None:
    """The rating that a tag stands for: `rating:explicit`, `nsfw`; None for any other tag."""
    word = tag.lower()
    if match := PREFIX.fullmatch(word):
        return rating_word(match[1], safe)
    return OF_TAGS.get(word.replace("_", "-"))
