"""Strangers' text as it may enter the tables: one line, nothing invisible, of bounded length.

What comes in here goes into captions, prompts, cards, pages, logs and terminals. Each of these escapes what has a
meaning there; what has a meaning in all of them, and is no letter, does not come in.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
# Controls, marks that reorder or hide text, halves of letters, letters of nobody: they look like nothing.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
JOINERS = "\u200c\u200d"  # of scripts that need them, and of emoji
LONGEST_TAG = 170  # characters, as Danbooru allows; a longer one is none
LONGEST_TEXT = 2000  # of any other text, a URL for example; set by hand
TAG_LISTS = ("artists", "tags_general", "tags_character", "tags_copyright", "tags_meta")
TEXTS = ("post_id", "page_url", "file_url", "parent_id", "created", "source")


def safe_text(text: str, most: int = LONGEST_TEXT) -> str:
    """A text in one line, without what cannot be seen; cut where it is too long."""
    if text.isascii() and text.isprintable() and len(text) <= most:
        return text
    line = BREAKS.sub(" ", text[: 4 * most])
    seen = "".join(letter for letter in line if visible(letter))
    composed = unicodedata.normalize("NFC", seen).strip().strip(JOINERS)
    return composed if len(composed) <= most else composed[: most - 1] + "…"


def visible(letter: str) -> bool:
    return letter in JOINERS or unicodedata.category(letter) not in UNSEEN


def safe_tag(tag: str, sentence: bool = False) -> str | None:
    """A tag as boards write them: no blank, no comma, which parts the tags of a caption; None where nothing is left or
    it is too long for one. `sentence`: it may be a sentence of the user's, with blanks and commas."""
    text = safe_text(tag)
    if sentence:
        return text or None
    text = re.sub(r"[\s,]+", "_", text).strip("_" if re.search(r"[\s,]", tag) else "")
    return text if text and len(text) <= LONGEST_TAG else None


def safe_post(post: Mapping[str, Any], sentences: bool = True) -> dict[str, Any]:
    """A post with safe texts and tags. `sentences`: tags may be sentences, as people write them into captions."""
    tags = {key: safe_tags(post[key], sentences) for key in TAG_LISTS if post.get(key)}
    texts = {key: safe_text(post[key]) for key in TEXTS if isinstance(post.get(key), str)}
    if sentences:
        texts.pop("post_id", None)  # the name of a file of the user's, by which they ask for it
    return {**post, **texts, **tags}


def safe_tags(tags: list[str], sentences: bool) -> list[str]:
    return list(dict.fromkeys(tag for each in tags if (tag := safe_tag(each, sentences))))
