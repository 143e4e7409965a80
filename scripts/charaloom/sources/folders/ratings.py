"""Ratings as side files write them. They fail closed: what is not understood is not allowed."""

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

GENERAL, SENSITIVE, QUESTIONABLE, EXPLICIT, UNKNOWN = "general", "sensitive", "questionable", "explicit", "unknown"
STRICTNESS = (GENERAL, SENSITIVE, QUESTIONABLE, EXPLICIT, UNKNOWN)  # the strictest last
WORDS = {  # without blanks, hyphens and underscores
    **dict.fromkeys(("g", "general", "safe", "sfw", "allages", "everyone", "r0", "全年齢", "全年龄"), GENERAL),
    "sensitive": SENSITIVE,
    **dict.fromkeys(("q", "questionable", "r15", "mature", "ecchi", "suggestive", "sketchy"), QUESTIONABLE),
    **dict.fromkeys(("e", "explicit", "r18", "r18g", "adult", "nsfw", "unsafe", "hentai"), EXPLICIT),
    **dict.fromkeys(("18+", "r18+", "x", "xxx", "xrated", "notsafeforwork", "18禁", "成人向け", "成人"), EXPLICIT),
}
# `s` is safe on boards of the Moebooru kin and of e621's, as their API pages say; on Danbooru it is sensitive.
SAFE_BOARDS = (
    *("yandere", "yande.re", "konachan", "sakugabooru", "lolibooru", "moebooru", "behoimi", "3dbooru"),
    *("e621", "e926"),
)
BOARD_KEYS = ("category", "site", "board", "source_site", "basecategory")  # of gallery-dl and its kin
URL_KEYS = ("file_url", "sample_url", "jpeg_url", "preview_url", "page_url", "post_url")
# Keys as `spelled` gives them: `content-rating`, `contentRating` and `Content Rating` are one.
RATING_KEYS = (
    "rating",
    "ratings",
    "agerating",
    "safety",
    "contentrating",
    "maturityrating",
    "レーティング",
    "年齢制限",
)
RESTRICTIONS = ("xrestrict",)  # of pixiv: 0 for all ages, 1 R-18, 2 R-18G
ADULT_FLAGS = ("nsfw", "isnsfw", "adult", "isadult", "mature", "ismature", "over18", "r18", "isr18", "explicit")
DOUBTFUL_FLAGS = ("sensitive", "possiblysensitive")
SAFE_FLAGS = ("sfw", "issfw", "safe", "issafe")
LEVEL_KEYS = ("nsfwlevel", "browsinglevel")  # of Civitai
LEVELS = {
    **dict.fromkeys(("none", "pg", "1"), GENERAL),
    **dict.fromkeys(("soft", "pg13", "2"), SENSITIVE),
    **dict.fromkeys(("mature", "r", "4"), QUESTIONABLE),
    **dict.fromkeys(("x", "xxx", "8", "16", "32"), EXPLICIT),
}
NO: tuple[object, ...] = (None, "", False, 0, "0", "false", "no", "none", "off", [], {})  # of a flag that is not set
OF_TAGS = {  # words that are a rating where they stand among tags, spelled as in WORDS
    **dict.fromkeys(("nsfw", "explicit", "r18", "r18g", "r18+", "18+", "xrated", "notsafeforwork"), EXPLICIT),
    **dict.fromkeys(("notsfw", "hentai", "18禁", "成人向け", "explicitcontent", "adultcontent"), EXPLICIT),
    **dict.fromkeys(("questionable", "r15"), QUESTIONABLE),
    "sensitive": SENSITIVE,
    **dict.fromkeys(("safe", "sfw"), GENERAL),
}
AROUND = " \t#\"'`<>[](){}.,!?*\\_-"  # signs that a word stands between
SEPARATORS = re.compile(r"[\s_\-]+")
PREFIX = re.compile(r"(?:ratings?|rated)[\s_]*[\\:=_\-][\\:=_\-\s]*(.+)")
WITHIN = re.compile(r"(?<![a-z])(?:nsfw|not[ _]safe[ _]for[ _]work)(?![a-z])|\brating\s*[:=]\s*(\w+)", re.I)  # a text


def strictest(ratings: Iterable[str]) -> str | None:
    """The strictest of some ratings; None of none."""
    return max(ratings, key=STRICTNESS.index, default=None)


def spelled(word: object) -> str:
    """A word or key in lower case, without blanks, hyphens and underscores."""
    return SEPARATORS.sub("", unicodedata.normalize("NFKC", str(word)).lower())


def rating_of(content: dict[str, Any]) -> str | None:
    """The strictest rating that a side file's object gives in any of its own keys; None where it gives none."""
    safe = is_safe_board(content)
    found = []
    for key, value in content.items():
        name = spelled(key)
        if name in RATING_KEYS and value not in (None, ""):
            found.append(rating_word(value, safe))
        elif name in RESTRICTIONS and value is not None:
            found.append(restriction(value))
        elif name in LEVEL_KEYS and value is not None:
            found.append(LEVELS.get(spelled(value), UNKNOWN))
        elif name in ADULT_FLAGS and flagged(value):
            found.append(EXPLICIT)
        elif name in DOUBTFUL_FLAGS and flagged(value):
            found.append(QUESTIONABLE)
        elif name in SAFE_FLAGS and value not in (None, "") and not flagged(value):
            found.append(EXPLICIT)
    return strictest(found)


def rating_word(value: object, safe: bool = False) -> str:
    """One word as a rating; `safe`: the board's `s` means safe. A dictionary of scores counts by its highest."""
    if isinstance(value, dict):
        scores = {key: score for key, score in value.items() if is_score(score)}
        return rating_word(max(scores, key=lambda key: scores[key]), safe) if scores and scores == value else UNKNOWN
    if not isinstance(value, str):
        return UNKNOWN
    word = value.lower().strip(AROUND)
    if match := PREFIX.fullmatch(word):
        word = match[1]
    word = spelled(word)
    if word == "s":
        return GENERAL if safe else SENSITIVE
    return WORDS.get(word, UNKNOWN)


def is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def restriction(value: object) -> str:
    """Pixiv's `x_restrict`."""
    number = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return {"0": GENERAL, "1": EXPLICIT, "2": EXPLICIT}.get(number, UNKNOWN)


def flagged(value: object) -> bool:
    """Whether a yes-or-no key is set; what is neither counts as set."""
    return (value.strip().lower() if isinstance(value, str) else value) not in NO


def is_safe_board(content: dict[str, Any]) -> bool:
    """Whether a post comes from a board on which `s` stands for safe."""
    fields = {str(key).lower(): value for key, value in content.items()}
    names = [str(fields.get(key) or "").lower() for key in BOARD_KEYS]
    return any(board in name for name in (*names, *map(host, map(fields.get, URL_KEYS))) for board in SAFE_BOARDS)


def host(url: object) -> str:
    try:
        return (urlsplit(url).hostname or "") if isinstance(url, str) else ""
    except ValueError:
        return ""


def rating_of_tag(tag: str, safe: bool = False) -> str | None:
    """The rating that a tag stands for: `rating:explicit`, `#nsfw`, `18+`; None for any other tag."""
    word = tag.lower().strip(AROUND)
    if match := PREFIX.fullmatch(word):
        return rating_word(match[1], safe)
    return OF_TAGS.get(spelled(word)) or rating_within(tag, safe)


def rating_within(text: str, safe: bool = False) -> str | None:
    """The rating that stands in a longer text: `…, nsfw.`; None of one without."""
    found = [rating_word(match[1], safe) if match[1] else EXPLICIT for match in WITHIN.finditer(text)]
    return strictest(found)
