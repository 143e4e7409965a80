"""What a tag describes: clothes, traits of the person, how many people; its frequency on boards and what it implies.

The lists are data: data/clothing.json, data/exclusive.json, and two files of the hub that are locked with the picture
models: the tagger's vocabulary (names and counts of Danbooru's tags) and the implications that imgutils reads.
"""

import csv
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from charaloom.artifacts.types import PathLike, Row
from charaloom.runtime.hub import hub_file

DATA = Path(__file__).parent / "data"
TAGS = ("SmilingWolf/wd-swinv2-tagger-v3", "selected_tags.csv")
IMPLICATIONS = ("alea31415/tag_filtering", "overlap_tags_simplified.json", "dataset")
GENERAL = "0"  # category of the tagger's vocabulary
COSPLAY, COSPLAY_ENDING = "cosplay", "_(cosplay)"  # general tag; ending of the tag of the character who is cosplayed
ALTERNATE_TAGS = frozenset({"alternate_costume", "official_alternate_costume", "adapted_costume"})
CLOTHING, PERSON, PEOPLE, OTHER = "clothing", "person", "people", "other"  # kinds of tags


class Vocabulary:
    """Counts and implications of the boards' tags, from the hub cache `hub`.

    `counts`: posts of each general tag on Danbooru, from the tagger's vocabulary; `implications`: the tags that a tag
    implies.
    """

    def __init__(self, hub: PathLike):
        with hub_file(Path(hub), *TAGS).open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["category"] == GENERAL]
        self.counts = {row["name"]: int(row["count"]) for row in rows}
        implications = json.loads(hub_file(Path(hub), *IMPLICATIONS).read_text(encoding="utf-8"))
        self.implications = {tag: frozenset(implied_tags) for tag, implied_tags in implications.items()}

    def implied(self, tags: Iterable[str]) -> set[str]:
        """The tags that another of them implies, by the boards' implications or by its words."""
        present = set(tags)
        by_boards = {other for tag in present for other in self.implications.get(tag, ()) if other != tag}
        return (by_boards & present) | implied_by_words(present)


@cache
def _lists() -> Row:
    return json.loads((DATA / "clothing.json").read_text(encoding="utf-8"))


@cache
def _exclusive() -> Row:
    return json.loads((DATA / "exclusive.json").read_text(encoding="utf-8"))["groups"]


def contradictions(tags: Iterable[str]) -> list[list[str]]:
    """Groups of the tags of which only one can be true, each sorted."""
    present = set(tags)
    groups = [group["tags"] for group in _exclusive().values() if present.isdisjoint(group["unless"])]
    rivals = [sorted(present & set(group)) for group in groups]
    return [group for group in rivals if len(group) > 1]


@cache
def _endings(group: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(entry.split("_")) for entry in _lists()[group])


def ends_in(tag: str, endings: Iterable[tuple[str, ...]]) -> bool:
    """Whether the last words of a tag are one of these word tuples."""
    words, known_endings = tuple(tag.split("_")), frozenset(endings)
    return any(words[start:] in known_endings for start in range(len(words)))


def _starts_with(tag: str, prefixes: Iterable[str]) -> bool:
    return tag.split("_")[0] in set(prefixes)


def _worn(tag: str) -> bool:
    exceptions = _lists()["not_worn"]
    return tag not in exceptions["tags"] and not _starts_with(tag, exceptions["prefixes"])


@cache
def is_headwear(tag: str) -> bool:
    return _worn(tag) and ends_in(tag, _endings("headwear"))


@cache
def is_garment(tag: str) -> bool:
    return _worn(tag) and ends_in(tag, _endings("garments"))


@cache
def is_clothing(tag: str) -> bool:
    """Whether the tag names something worn that changes with the outfit: a garment, an accessory, headwear."""
    return _worn(tag) and (is_garment(tag) or is_headwear(tag) or ends_in(tag, _endings("accessories")))


@cache
def is_identity(tag: str) -> bool:
    """Whether the tag names a trait that holds in any clothes (hair, eyes, horns …) or a thing worn in hair or face."""
    passing = _lists()["passing"]
    if tag in passing["tags"] or _starts_with(tag, passing["prefixes"]) or ends_in(tag, _endings("never_core")):
        return False
    return not is_clothing(tag) and (ends_in(tag, _endings("identity")) or ends_in(tag, _endings("adornments")))


@cache
def is_count(tag: str) -> bool:
    return tag in _lists()["counts"]


@cache
def has_colour(tag: str) -> bool:
    return any(tag.startswith(f"{colour}_") for colour in (*_lists()["colours"], *_lists()["patterns"]))


@cache
def piece_of_colour(tag: str) -> str | None:
    """The piece of clothing in a tag with a plain colour: `kimono` of `red_kimono`; None for any other tag."""
    colour = max((c for c in _lists()["colours"] if tag.startswith(f"{c}_")), key=len, default=None)
    return tag[len(colour) + 1 :] if colour and is_clothing(tag) else None


@cache
def hidden_by_headwear(tag: str) -> bool:
    return ends_in(tag, frozenset(tuple(entry.split("_")) for entry in _lists()["hides"]["headwear"]))


@cache
def _of_the_eyes(tag: str) -> bool:
    return ends_in(tag, frozenset((entry,) for entry in _lists()["hides"]["eyes_out_of_sight"]["hides"]))


@cache
def _out_of_sight() -> frozenset[str]:
    return frozenset(_lists()["hides"]["eyes_out_of_sight"]["tags"])


@cache
def _of_the_face(tag: str) -> bool:
    return ends_in(tag, frozenset((entry,) for entry in _lists()["hides"]["face_out_of_sight"]["hides"]))


@cache
def _from_behind() -> frozenset[str]:
    return frozenset(_lists()["hides"]["face_out_of_sight"]["tags"])


def hidden(tag: str, view_tags: Iterable[str]) -> bool:
    """Whether the tags of a view say that this trait is out of sight: a hairband under a hat, closed eyes, bangs from
    behind."""
    if hidden_by_headwear(tag) and any(map(is_headwear, view_tags)):
        return True
    if _of_the_face(tag) and not _from_behind().isdisjoint(view_tags):
        return True
    return _of_the_eyes(tag) and not _out_of_sight().isdisjoint(view_tags)


def implied_by_words(tags: Iterable[str]) -> set[str]:
    """The tags that are the last words of another of them: `kimono` beside `red_kimono`."""
    words = {tag: tuple(tag.split("_")) for tag in tags}
    tails = {longer[start:] for longer in words.values() for start in range(1, len(longer))}
    return {tag for tag, tag_words in words.items() if tag_words in tails}


@cache
def kind_of(tag: str) -> str:
    """What a tag describes: `people` (how many), `clothing`, `person` (traits), `other`."""
    if is_count(tag):
        return PEOPLE
    return CLOTHING if is_clothing(tag) else PERSON if is_identity(tag) else OTHER


def blocked_tags(tags: Iterable[str], blocked: Iterable[str]) -> set[str]:
    """Those of `tags` that are blocked: equal to one of `blocked`, or with one as whole words of theirs."""
    held = [f"_{tag}_" for tag in blocked]
    return {tag for tag in tags if any(words in f"_{tag}_" for words in held)}
