"""Tags of one view: what the user wrote, then those of tagger and board; why one leaves the captions; variants."""

import re
from collections.abc import Callable
from fnmatch import translate
from functools import cache

from charaloom.artifacts.types import Row
from charaloom.config.params import Tagged
from charaloom.sources.folders.captions import is_prose
from charaloom.sources.folders.reader import OWN_SITES
from charaloom.tagging.captions import ALONE
from charaloom.tagging.vocabulary import COSPLAY, COSPLAY_ENDING, Vocabulary, contradictions, kind_of, piece_of_colour

Tags = dict[str, tuple[float, str]]  # name -> (score, origin)

BOARD, TAGGER, BOTH, OWN = "board", "tagger", "both", "own"  # origins; `own` is what the user wrote
MINE, MERGED = "mine", "merged"  # values of tagged.captions
SEVERAL_PEOPLE = frozenset({"2girls", "2boys", "multiple_girls", "multiple_boys"})


def merge(scored: list[Row] | None, posts: list[Row], kind: str, params: Tagged) -> Tags:
    """General tags of a view by name. Boards and side files tag whole pictures, so a cropped person has the tagger's
    tags alone. The user's own tags come first, in their order; of the tagger's, those that they rule out stay away."""
    scores = {pair["name"]: pair["score"] for pair in scored or []}
    tagger = {name for name, score in scores.items() if score >= params.thresholds[kind_of(name)]}
    own = own_tags(posts, kind, params)
    board: set[str] = set()
    if params.board_tags and kind == "picture":
        board = {tag for post in posts if not is_own(post, params) for tag in post["tags_general"] or []}
    origins = {name: BOTH if name in board else TAGGER for name in tagger} | dict.fromkeys(board - tagger, BOARD)
    # People saw what the board's tags say: such a tag scores no less than the tagger's threshold.
    merged = {
        name: (round(max(scores.get(name, 0.0), params.thresholds[kind_of(name)]), 4), origin)
        for name, origin in sorted(origins.items())
    }
    return dict.fromkeys(own, (1.0, OWN)) | {name: facts for name, facts in merged.items() if name not in own}


def is_own(post: Row, params: Tagged) -> bool:
    """Whether a post's tags are the user's own words, which win over others."""
    return post["site"] in OWN_SITES and params.captions != MERGED


def own_tags(posts: list[Row], kind: str, params: Tagged) -> list[str]:
    """What the user wrote of a picture, in their order, without the trigger, which stands first in any case."""
    if kind != "picture":
        return []
    written = [tag for post in posts if is_own(post, params) for tag in post["tags_general"] or []]
    return list(dict.fromkeys(filter(None, (without_trigger(tag, params.trigger) for tag in written))))


def without_trigger(tag: str, trigger: str) -> str:
    """A tag, or nothing where it is the trigger; of a sentence, its parts that are not."""
    parts = tag.split(",") if is_prose(tag.replace("_", " ")) else [tag]
    return ",".join(part for part in parts if comparable(part) != comparable(trigger))


def comparable(words: str) -> str:
    return "_".join(words.lower().replace("_", " ").split())


def overruled(tags: Tags) -> set[str]:
    """Tags that the user's own rule out: another hair colour, another colour of a piece of clothing."""
    lost: set[str] = set()
    for rivals in contradictions(tags):
        if any(tags[name][1] == OWN for name in rivals):
            lost |= {name for name in rivals if tags[name][1] != OWN}
    if tags.get(ALONE, (0, ""))[1] == OWN:
        lost |= {name for name in SEVERAL_PEOPLE & tags.keys() if tags[name][1] != OWN}
    pieces = {piece_of_colour(name) for name, (_, origin) in tags.items() if origin == OWN} - {None}
    return lost | {name for name, (_, origin) in tags.items() if origin != OWN and piece_of_colour(name) in pieces}


def drop_reasons(
    tags: Tags, posts: list[Row], core: set[str], params: Tagged, vocabulary: Vocabulary
) -> dict[str, str]:
    """The reason of each tag that is left out of a view's caption."""
    own = {name for name, (_, origin) in tags.items() if origin == OWN}
    if own and params.captions == MINE:
        return dict.fromkeys(tags.keys() - own, "not in your caption")
    names_of_boards = {
        tag for post in posts for kind in ("character", "copyright", "artist", "meta") for tag in tags_of(post, kind)
    }
    implied = vocabulary.implied(tags) - own
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

    Evidence is that board and tagger agree, then the score. What the user wrote never loses.
    """
    lost = overruled(tags)
    own = {name for name, (_, origin) in tags.items() if origin == OWN}
    for rivals in contradictions(tags.keys() | core):
        if not core.isdisjoint(rivals):
            lost |= {name for name in rivals if name in tags and tags[name][1] == TAGGER}
    for rivals in contradictions(tags.keys() - lost - own):
        lost |= set(rivals) - {max(rivals, key=lambda name: (tags[name][1] == BOTH, tags[name][0], name))}
    if ALONE in tags and not SEVERAL_PEOPLE.isdisjoint(tags):
        lost.add(ALONE)
    return (lost | wrong_colours(tags)) - own


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
