"""Tags of one view: merged from tagger and board, with the reason where one leaves the captions; official variants."""

import re
from collections.abc import Callable
from fnmatch import translate
from functools import cache
from typing import Any

from charaloom.artifacts.types import Row
from charaloom.tagging.captions import ALONE
from charaloom.tagging.vocabulary import COSPLAY_ENDING, Vocabulary, contradictions, kind_of, piece_of_colour

Params = dict[str, Any]
Tags = dict[str, tuple[float, str]]  # name -> (score, origin)

BOARD, TAGGER, BOTH = "board", "tagger", "both"
SEVERAL = {"2girls", "2boys", "multiple_girls", "multiple_boys"}


def merge(scored: list[Row] | None, posts: list[Row], kind: str, params: Params) -> Tags:
    """General tags of a view by name. The board speaks of whole pictures, so only for them its tags are taken."""
    scores = {pair["name"]: pair["score"] for pair in scored or []}
    tagger = {name for name, score in scores.items() if score >= params["thresholds"][kind_of(name)]}
    board = {tag for post in posts for tag in post["tags_general"] or []}
    board = board if params["board_tags"] and kind == "picture" else set()
    origins = {name: BOTH if name in board else TAGGER for name in tagger} | dict.fromkeys(board - tagger, BOARD)
    # A person saw what the board says: it counts as much as the least that the tagger is believed.
    return {
        name: (round(max(scores.get(name, 0.0), params["thresholds"][kind_of(name)]), 4), origin)
        for name, origin in sorted(origins.items())
    }


def reasons(tags: Tags, posts: list[Row], core: set[str], params: Params, vocabulary: Vocabulary) -> dict[str, str]:
    """Why a tag is left out of this view's captions; tags not named stay."""
    other = {tag for post in posts for kind in ("character", "copyright", "artist", "meta") for tag in of(post, kind)}
    said = vocabulary.implied(tags)
    unwanted = blacklisted(tuple(params["blacklist"]))
    found = {}
    for name in tags:
        if name in other or name.endswith(COSPLAY_ENDING):
            found[name] = "not a general tag"
        elif unwanted(name):
            found[name] = "blacklist"
        elif name in core:
            found[name] = "core"
        elif name in said:
            found[name] = "implied"
    left = {name: facts for name, facts in tags.items() if name not in found}
    return found | dict.fromkeys(contradicted(left, core), "contradicted")


@cache
def blacklisted(patterns: tuple[str, ...]) -> Callable[[str], object]:
    """A function that says whether one of the patterns fits a tag; `*` stands for anything."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)").match


def contradicted(tags: Tags, core: set[str]) -> set[str]:
    """Tags that lose against another that excludes them: against a core tag where only the tagger says them, against
    others by origin and score."""
    lost: set[str] = set()
    for rivals in contradictions(tags.keys() | core):
        if not core.isdisjoint(rivals):
            lost |= {name for name in rivals if name in tags and tags[name][1] == TAGGER}
    for rivals in contradictions(tags.keys() - lost):
        lost |= set(rivals) - {max(rivals, key=lambda name: (tags[name][1] == BOTH, tags[name][0], name))}
    if ALONE in tags and not SEVERAL.isdisjoint(tags):
        lost.add(ALONE)
    return lost | wrong_colours(tags)


def wrong_colours(tags: Tags) -> set[str]:
    """Colours of a piece that the tagger alone sees, where the board and the tagger agree on another colour of it."""
    agreed = {piece_of_colour(name) for name, (_, origin) in tags.items() if origin == BOTH} - {None}
    return {name for name, (_, origin) in tags.items() if origin == TAGGER and piece_of_colour(name) in agreed}


def variants(tag: str | None, posts: list[Row]) -> list[str]:
    """What boards call her official outfit: `swimsuit` of `name_(swimsuit)_(series)` beside `name_(series)`."""
    if not tag:
        return []
    name, _, series = tag.partition("_(")
    ending = f"_({series}" if series else ""
    pattern = re.compile(re.escape(name) + r"_\(([^()]+)\)" + re.escape(ending))
    found = [pattern.fullmatch(other) for post in posts for other in of(post, "character")]
    return sorted({match[1] for match in found if match} - {"cosplay"})


def of(post: Row, category: str) -> list[str]:
    column = "artists" if category == "artist" else f"tags_{category}"
    return post[column] or []
