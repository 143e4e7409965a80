"""The template of captions and prompts, which training, previews and cards share.

    <trigger>, <outfit trigger>, <count tags>, <other tags as given>

A training step reads a variation of it (`training_caption`). Tags have underscores, as boards write them; captions have
spaces instead. Triggers stay as they are. Core tags are not in captions: the trigger stands for them.
"""

import re
from collections.abc import Collection, Iterable
from random import Random

from charaloom.tagging.vocabulary import is_count

SEPARATOR = ", "
ALONE = "solo"  # the tag of a view with one person


def caption(trigger: str, outfit_trigger: str | None, tags: Iterable[str]) -> str:
    """A caption: trigger, outfit trigger (None: no outfit), count tags with `solo` last, other tags as given."""
    unique = list(dict.fromkeys(tags))
    counts = sorted((tag for tag in unique if is_count(tag)), key=lambda tag: (tag == ALONE, tag))
    others = [tag for tag in unique if tag not in counts]
    parts = [trigger, outfit_trigger, *map(as_words, counts + others)]
    return SEPARATOR.join(part for part in parts if part)


def as_words(tag: str) -> str:
    """`red_kimono` as `red kimono`; emoticons such as `o_o` and `>_<` keep their underscore."""
    parts = tag.split("_")
    emoticon = len(parts) > 1 and all(len(re.findall(r"\w", part)) <= 1 for part in parts)
    return tag if emoticon else " ".join(parts)


def tags_in(text: str, triggers: Iterable[str]) -> list[str]:
    """The tags of a caption, as boards write them."""
    excluded = set(triggers)
    return [part.replace(" ", "_") for part in text.split(SEPARATOR) if part not in excluded]


def with_embedding(text: str, word: str) -> str:
    """The caption or prompt with the embedding's word before the text trigger."""
    return f"{word}{SEPARATOR}{text}"


def with_quality(text: str, prefix: str, suffix: str) -> str:
    """The caption or prompt with the quality tags of a base around it; one without a word stays so."""
    return SEPARATOR.join(part for part in (prefix, text, suffix) if part) if text else ""


def training_caption(
    text: str,
    triggers: Collection[str],
    word: str | None,
    rng: Random,
    text_only: float,
    dropout: float,
    tag_dropout: float,
    prefix: str = "",
    suffix: str = "",
) -> str:
    """The caption of one training step: its triggers, then its tags shuffled, between the base's `prefix` and `suffix`.

    With probability `dropout` it is empty; each tag is left out with probability `tag_dropout`. The embedding's `word`
    (None: no embedding) comes first, except with probability `text_only`, so that the text trigger works without it.
    """
    if rng.random() < dropout:
        return ""
    parts = text.split(SEPARATOR)
    tags = [part for part in parts if part not in triggers and rng.random() >= tag_dropout]
    rng.shuffle(tags)
    varied = SEPARATOR.join([*(part for part in parts if part in triggers), *tags])
    called = with_embedding(varied, word) if word and rng.random() >= text_only else varied
    return with_quality(called, prefix, suffix)
