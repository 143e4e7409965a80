"""Captions as people and programs write them: tags in boards' spelling, or sentences, without the syntax of prompts.

`(smile:1.2)`, `<lora:x:1>`, `\\(`, `{a|b}` and generation settings are read as A1111 and NovelAI read or write them.
"""

import re
import unicodedata
from dataclasses import dataclass, field

from charaloom.sources.folders.ratings import rating_of_tag, rating_within

FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # `，` as `,`, `（` as `(`
SPACES = dict.fromkeys((0x3000, 0xA0, 0x09), " ")
INVISIBLE = dict.fromkeys(
    [*range(9), *range(11, 13), *range(14, 32), 0x7F, 0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF]
)
CHARACTERS = str.maketrans({**FULL_WIDTH, **SPACES, **INVISIBLE, 0x3001: ","})

SETTINGS = re.compile(r"negative prompt\s*:|\bsteps\s*:\s*\d+\s*,\s*(sampler|cfg|size|seed)", re.I)  # up to the end
SETTING = re.compile(
    r"(steps|sampler|schedule type|cfg scale|seed|size|model|model hash|clip skip|denoising strength|version|vae|"
    r"hires [a-z ]+|lora hashes|ti hashes|ensd|parameters)\s*:.*",
    re.I,
)
NETWORK = re.compile(r"<\s*(?:lora|lyco|hypernet|hypernetwork|embedding)\s*:[^<>]*>", re.I)
SPECIAL = re.compile(r"<\|[^<>|]{1,40}\|>")  # a tokenizer's own words, at which a text encoder may end
CHOICE = re.compile(
    r"\{[^{}]{0,300}\|[^{}]{0,300}\}|\[[^\[\]]{0,300}[|:][^\[\]]{0,300}\]"
)  # one of several, or another one after some steps
WILDCARD = re.compile(r"__[^,\s]{1,100}__")
NOVELAI_WEIGHT = re.compile(r"(?<!\d)-?\d{1,3}(?:\.\d{1,6})?::([^:]{1,300})::")
WEIGHT = re.compile(r"(?<=\S)\s*:\s*-?\d{0,6}\.?\d{1,6}\s*$")
BARE_WEIGHT = re.compile(r"(?<=\w)\s*:\s*\d{1,6}\.\d{1,6}\s*$")
NO_TAG = re.compile(r"(BREAK|AND|ADDCOMM|ADDBASE|ADDCOL|ADDROW)|(?:https?://|embedding\s*:|file:).*", re.I)
KEYWORD = re.compile(r"BREAK|AND|ADDCOMM|ADDBASE|ADDCOL|ADDROW")
BETWEEN = re.compile(
    r"(?<=[a-z0-9)\]_] )(?:BREAK|AND|ADDCOMM|ADDBASE|ADDCOL|ADDROW)(?= [a-z0-9(\[])"
)  # parts of prompts
LOOSE_WEIGHT = re.compile(r":\s*-?\d{1,6}\.\d{1,6}\s*$")  # at the end of brackets, which are then an emphasis
QUOTED = re.compile(r"([\"'`])([^\"'`]+)\1")
EYES = re.compile(r"[<>]?[:;=8xX][-'~^]?")  # of an emoticon, whose mouth may be a bracket
WINK = re.compile(r";[-'~^]?[()dDpPoOqQ3<>|/](?=\s*(?:[,;\n\r]|$))")
FACES = ("(o)_(o)",)  # emoticons that begin with a bracket
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])|\n+")
LONGEST_TEXT = 2**16  # characters of a caption, set by hand
LONGEST_EYES = 4  # characters
LONGEST_TAG = 120  # characters; boards' longest tags have about 100
PROSE_WORDS = 6  # of one part, from which it is no tag: boards' tags have five at most, a few names apart
SHORT_PROSE_WORDS = 3  # a part on average, in a line that ends as a sentence does
LITTLE_WORDS = frozenset({"a", "an", "the", "with", "and", "is", "in", "on", "of", "at", "her", "his", "their"})
COUNTED = re.compile(r"\d\+?(girl|boy|other)s?|solo|multiple_(girls|boys)")


@dataclass
class Caption:
    """Tags in their order (a sentence counts as one, with blanks), ratings among them, and what was left out."""

    tags: list[str] = field(default_factory=list)
    ratings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read_caption(text: str, safe: bool = False) -> Caption:
    """The tags of a caption; `safe`: the rating `s` means safe there."""
    caption = Caption()
    text = cleaned(text, caption)
    for chunk in SENTENCE_END.split(text):
        prose, rest = split_prose(chunk)
        if prose:
            caption.tags.append(prose)
            caption.ratings += filter(None, [rating_within(prose, safe)])
        for part in spread(parts_of(rest)):
            take(part, caption, safe)
    caption.tags = list(dict.fromkeys(caption.tags))
    return caption


def read_tags(names: list[str], safe: bool = False) -> Caption:
    """The tags of a list, of which each is one."""
    caption = Caption()
    for name in names:
        for part in parts_of(cleaned(name, caption).replace("\n", " ")):
            take(part, caption, safe)
    caption.tags = list(dict.fromkeys(caption.tags))
    return caption


def cleaned(text: str, caption: Caption) -> str:
    """The text without invisible characters, generation settings, networks and choices, which are noted."""
    if len(text) > LONGEST_TEXT:
        caption.left_out.append(f"{len(text):,} characters, which are no caption")
        return ""
    text = unicodedata.normalize("NFC", text).translate(CHARACTERS).replace("\r", "\n")
    if match := SETTINGS.search(text):
        caption.left_out.append(brief(text[match.start() :]))
        text = text[: match.start()]
    for pattern in (NETWORK, SPECIAL, CHOICE, CHOICE, WILDCARD, BETWEEN):  # twice: a choice may hold another one
        caption.left_out += map(brief, pattern.findall(text))
        text = pattern.sub(",", text)
    return NOVELAI_WEIGHT.sub(r"\1", text)


def brief(text: str) -> str:
    """A few words of what was left out, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:37]}..."


# --- sentences


def is_prose(part: str) -> bool:
    """Whether a part of a caption is a sentence: more words than a tag has, or commas or a full stop in it."""
    return len(part.split()) >= PROSE_WORDS or ("," in part and " " in part)


def split_prose(chunk: str) -> tuple[str, str]:
    """A line's sentence, as one part, and what follows it. Commas of a sentence stand without a blank behind them: the
    text encoder reads the same, and no step takes the sentence apart."""
    parts = [" ".join(part.split()) for part in chunk.split(",")]
    words = [len(part.split()) for part in parts]
    ends = chunk.rstrip().endswith((".", "!", "?")) and sum(words) >= SHORT_PROSE_WORDS * max(len(parts), 2) - 2
    long = [place for place, count in enumerate(words) if count >= PROSE_WORDS and not is_list(parts[place])]
    if not (ends or long):
        return "", chunk
    last = len(parts) if ends else max(long) + 1
    return ",".join(filter(None, parts[:last])), ",".join(parts[last:])


# --- tags


def spread(parts: list[str]) -> list[str]:
    """Parts of a line; one that is a board's own list, of tags between blanks, is taken apart."""
    return parts[0].split() if len(parts) == 1 and is_list(parts[0]) else parts


def is_list(part: str) -> bool:
    """Whether a part without separators is several tags: it begins with a count of people, or two have underscores."""
    names = part.lower().split()
    if len(names) < 2 or LITTLE_WORDS & set(names):
        return False
    return bool(COUNTED.fullmatch(names[0])) or sum("_" in name for name in names) > 1


def parts_of(text: str) -> list[str]:
    """The parts between separators, without brackets of emphasis and their weights; `name_(series)` keeps its own."""
    parts: list[str] = []
    brackets: list[bool] = []  # that are open: whether they are of the text
    opened: list[int] = []  # where those of the text begin in the current part
    current, place = "", 0

    def finish() -> None:
        nonlocal current
        part = BARE_WEIGHT.sub("", current).strip()
        parts.append(QUOTED.sub(r"\2", part) if QUOTED.fullmatch(part) else part)
        current = ""
        opened.clear()
        while brackets and brackets[-1]:
            brackets.pop()

    while place < len(text):
        letter = text[place]
        if face := next((face for face in FACES if text.startswith(face, place)), None):
            current, place = current + face, place + len(face)
            continue
        if letter == "\\" and text[place + 1 : place + 2] in tuple("()[]{}\\"):
            current, place = current + text[place + 1], place + 2
            continue
        wink = WINK.match(text, place) if letter == ";" and current in ("", ">") else None
        if wink:
            current, place = current + wink[0], wink.end()
            continue
        if letter in ",;\n":
            finish()
        elif letter in "([{":
            of_text = letter == "(" and bool(current)
            brackets.append(of_text)
            if of_text:
                opened.append(len(current))
            current += letter if of_text else ""
        elif letter in ")]}":
            of_face = len(current) <= LONGEST_EYES and EYES.fullmatch(current)
            of_nothing = not brackets and letter == ")" and LOOSE_WEIGHT.search(current)
            of_text = not of_nothing and (brackets.pop() if brackets and not of_face else True)
            start = opened.pop() if of_text and opened and not of_face else None
            if start is not None and (weight := LOOSE_WEIGHT.search(current, start)):  # `foo (bar:1.2)`
                current = current[:start] + current[start + 1 : weight.start()]
            else:
                current = current + letter if of_text else WEIGHT.sub("", current)
        elif current or letter != " ":
            current += letter
        place += 1
    finish()
    return [part for part in parts if part]


def take(part: str, caption: Caption, safe: bool) -> None:
    """Add a part to the tags, the ratings, or what was left out."""
    if KEYWORD.fullmatch(part) or SETTING.fullmatch(part) or NO_TAG.fullmatch(part) or len(part) > LONGEST_TAG:
        caption.left_out.append(brief(part))
        return
    tag = "_".join(part.lower().split())
    if re.search(r"\w{2}", tag):
        tag = re.sub("_+", "_", tag.rstrip(".")).strip("_")
    if rating := rating_of_tag(tag, safe):
        caption.ratings.append(rating)
    elif tag:
        caption.tags.append(tag)
