"""Tags of one view: merged from tagger and board, with the reason where one leaves the captions; official variants."""

import re
from collections.abc import Callable
from fnmatch import translate
from functools import cache

from charaloom.artifacts.types import Row
from charaloom.config.params import Tagged
from charaloom.tagging.captions import ALONE
from charaloom.tagging.vocabulary import COSPLAY, COSPLAY_ENDING, Vocabulary, contradictions, kind_of, piece_of_colour

Tags = dict[str, tuple[float, str]]  # name -> (score, origin)

BOARD, TAGGER, BOTH = "board", "tagger", "both"
SEVERAL_PEOPLE = frozenset({"2girls", "2boys", "multiple_girls", "multiple_boys"})


def merge(scored: list[Row] | None, posts: list[Row], kind: str, params: Tagged) -> Tags:
    """General tags of a view by name. Boards tag whole pictures, so a cropped person has the tagger's tags alone."""
    scores = {pair["name"]: pair["score"] for pair in scored or []}
    tagger = {name for name, score in scores.items() if score >= params.thresholds[kind_of(name)]}
    board: set[str] = set()
    if params.board_tags and kind == "picture":
        board = {tag for post in posts for tag in post["tags_general"] or []}
    origins = {name: BOTH if name in board else TAGGER for name in tagger} | dict.fromkeys(board - tagger, BOARD)
    # People saw what the board's tags say: such a tag scores no less than the tagger's threshold.
    return {
        name: (round(max(scores.get(name, 0.0), params.thresholds[kind_of(name)]), 4), origin)
        for name, origin in sorted(origins.items())
    }


def drop_reasons(
    tags: Tags, posts: list[Row], core: set[str], params: Tagged, vocabulary: Vocabulary
) -> dict[str, str]:
    """The reason of each tag that is left out of a view's caption."""
    names_of_boards = {
        tag for post in posts for kind in ("character", "copyright", "artist", "meta") for tag in tags_of(post, kind)
    }
    implied = vocabulary.implied(tags)
    is_blacklisted = blacklist_matcher(tuple(params.blacklist))
    dropped = {}
    for name in tags:
        if name in names_of_boards or name.endswith(COSPLAY_ENDING):
            dropped[name] = "not a general tag"
        elif is_blacklisted(name):
            dropped[name] = "blacklist"
        elif name in core:
            dropped[name] = "core"
        elif name in implied:
            dropped[name] = "implied"
    remaining = {name: facts for name, facts in tags.items() if name not in dropped}
    return dropped | dict.fromkeys(contradicted(remaining, core), "contradicted")


@cache
def blacklist_matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    """A function that is true of a tag that one of the patterns matches; `*` stands for anything."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)").match


def contradicted(tags: Tags, core: set[str]) -> set[str]:
    """The tags that lose to one that excludes them: to a core tag if only the tagger has them, to others by evidence.

    Evidence is that board and tagger agree, then the score.
    """
    lost: set[str] = set()
    for rivals in contradictions(tags.keys() | core):
        if not core.isdisjoint(rivals):
            lost |= {name for name in rivals if name in tags and tags[name][1] == TAGGER}
    for rivals in contradictions(tags.keys() - lost):
        lost |= set(rivals) - {max(rivals, key=lambda name: (tags[name][1] == BOTH, tags[name][0], name))}
    if ALONE in tags and not SEVERAL_PEOPLE.isdisjoint(tags):
        lost.add(ALONE)
    return lost | wrong_colours(tags)


def wrong_colours(tags: Tags) -> set[str]:
    """Coloured pieces of clothing of the tagger alone, where board and tagger agree on another colour of the piece."""
    agreed = {piece_of_colour(name) for name, (_, origin) in tags.items() if origin == BOTH} - {None}
    return {name for name, (_, origin) in tags.items() if origin == TAGGER and piece_of_colour(name) in agreed}


def variants(tag: str | None, posts: list[Row]) -> list[str]:
    """The boards' names of the character's official outfits: `swimsuit` of `name_(swimsuit)_(series)`.

    `tag` is the character's: `name_(series)`.
    """
    if not tag:
        return []
    name, _, series = tag.partition("_(")
    ending = f"_({series}" if series else ""
    pattern = re.compile(re.escape(name) + r"_\(([^()]+)\)" + re.escape(ending))
    matches = [pattern.fullmatch(character) for post in posts for character in tags_of(post, "character")]
    return sorted({match[1] for match in matches if match} - {COSPLAY})


def tags_of(post: Row, category: str) -> list[str]:
    column = "artists" if category == "artist" else f"tags_{category}"
    return post[column] or []
