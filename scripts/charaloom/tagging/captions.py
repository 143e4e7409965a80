"""The one template of captions: training, previews and cards write a view or a wish in the same words and order.

    <trigger>, <outfit trigger>, <count tags>, <other tags as given>

A training step draws from it (`training_caption`): triggers first, tags in any order.

Tags come with underscores, as boards write them, and leave with spaces; triggers stay as they are. Core tags are not in
captions: they are what the trigger means.
"""

import re
from collections.abc import Collection, Iterable
from random import Random

from charaloom.tagging.vocabulary import is_count

SEPARATOR = ", "
ALONE = "solo"


def caption(trigger: str, outfit_trigger: str | None, tags: Iterable[str]) -> str:
    """A caption: the trigger, the outfit's (None: no outfit asked for), how many people, then the tags as ordered."""
    told = list(dict.fromkeys(tags))
    counts = [tag for tag in told if is_count(tag)]
    ordered = [*sorted(counts, key=lambda tag: (tag == ALONE, tag)), *(tag for tag in told if tag not in counts)]
    parts = [trigger, *([outfit_trigger] if outfit_trigger else []), *map(as_words, ordered)]
    return SEPARATOR.join(part for part in parts if part)


def as_words(tag: str) -> str:
    """`red_kimono` as `red kimono`; emoticons such as `o_o` and `>_<` keep their underscore."""
    parts = tag.split("_")
    emoticon = len(parts) > 1 and all(len(re.findall(r"\w", part)) <= 1 for part in parts)
    return tag if emoticon else " ".join(parts)


def tags_in(text: str, triggers: Iterable[str]) -> list[str]:
    """The tags that a caption spells out, as boards write them."""
    skipped = set(triggers)
    return [part.replace(" ", "_") for part in text.split(SEPARATOR) if part not in skipped]


def with_embedding(text: str, word: str) -> str:
    """The same caption or prompt with the trained embedding's word in front of the text trigger."""
    return f"{word}{SEPARATOR}{text}"


def training_caption(
    text: str,
    triggers: Collection[str],
    word: str | None,
    rng: Random,
    text_only: float,
    dropout: float,
    tag_dropout: float,
) -> str:
    """What a training step reads of a caption: nothing (share `dropout`), or its triggers, then its tags in any order.

    Each tag is left out in the share `tag_dropout`. In front stands the embedding's `word` (None: there is none),
    except in the share `text_only`, so that the text trigger works without it.
    """
    if rng.random() < dropout:
        return ""
    parts = text.split(SEPARATOR)
    tags = [part for part in parts if part not in triggers and rng.random() >= tag_dropout]
    rng.shuffle(tags)
    drawn = SEPARATOR.join([*(part for part in parts if part in triggers), *tags])
    return with_embedding(drawn, word) if word and rng.random() >= text_only else drawn
