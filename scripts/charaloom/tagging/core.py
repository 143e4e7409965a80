"""Core tags: traits of the character that hold in every outfit, by confidence intervals of counts."""

from collections import Counter
from math import sqrt
from typing import TYPE_CHECKING

from charaloom.artifacts.types import Row
from charaloom.config.params import Tagged
from charaloom.tagging.merging import BOARD, BOTH, TAGGER, Tags
from charaloom.tagging.vocabulary import (
    Vocabulary,
    contradictions,
    hidden,
    hidden_by_headwear,
    is_clothing,
    is_count,
    is_headwear,
    is_identity,
)

if TYPE_CHECKING:
    import numpy as np

Z = 1.959963984540054  # standard deviations of a 95 % interval
# The others are set by hand.
GROUP_MINIMUM = 5  # views with a piece of clothing, from which they can speak against a core tag
HAT_SHARE = 0.5  # share of the views with a piece of clothing that show headwear, from which all of them count as hats
LISTED_SHARE = 0.1  # share of the views from which core.json lists a tag
AGREEMENT = 0.2  # share of the tagger's hits that boards tag too, below which the tagger is wrong
THOROUGH = 8  # general tags of a board from which a missing trait counts as evidence

Groups = tuple[list[str], "np.ndarray"]  # pieces of clothing, and [pieces, views] as 0 and 1


def judge_core(merged: list[Tags], params: Tagged, vocabulary: Vocabulary) -> list[Row]:
    """One row per tag that is frequent or in `core_add`, core tags first, with the numbers that decided.

    A tag is core where it is a trait and the lower bound of its share of the views in which it could be seen is at
    least `core_share`. It is none where even the upper bound is below that among the views with some piece of clothing
    (it belongs to an outfit), where boards with many tags rarely have it although the tagger does, and where a tag that
    excludes it (another eye colour) is seen in more views.
    """
    views = [set(tags) for tags in merged]
    thorough = [tags for tags in merged if sum(origin in (BOARD, BOTH) for _, origin in tags.values()) >= THOROUGH]
    frequencies = Counter(tag for tags in views for tag in tags)
    forced, forbidden = set(params.core_add), set(params.core_forbid)
    groups = clothing_groups(views, frequencies)
    hats = hat_outfits(views, groups)
    rows = []
    for tag in sorted(frequencies.keys() | forced):
        if frequencies[tag] >= LISTED_SHARE * len(views) or tag in forced:
            row = {**evidence(tag, views, groups, hats), "boards": agreement(tag, thorough)}
            why = verdict(row, params.core_share, forced, forbidden)
            rows.append({**row, "core": why in CORE_VERDICTS, "why": why})
    implied = vocabulary.implied([row["tag"] for row in rows if row["core"]]) - forced
    for row in rows:
        if row["core"] and row["tag"] in implied:
            row |= {"core": False, "why": "implied by another core tag"}
    settle_contradictions(rows, forced)
    return sorted(rows, key=lambda row: (not row["core"], -row["share"], row["tag"]))


def settle_contradictions(rows: list[Row], forced: set[str]) -> None:
    """Of core tags that exclude each other, keep the forced one, else the one with the largest share."""
    core = {row["tag"]: row for row in rows if row["core"]}
    for rivals in contradictions(core):
        best = max(rivals, key=lambda tag: (tag in forced, core[tag]["share"], core[tag]["low"], tag))
        for tag in set(rivals) - {best} - forced:
            core[tag] |= {"core": False, "why": f"{best} has more evidence"}


CORE_VERDICTS = ("added by core_add", "holds in every outfit")


def verdict(row: Row, least: float, forced: set[str], forbidden: set[str]) -> str:
    """Why a tag is core, or why not."""
    tag, weakest = row["tag"], row["weakest"]
    if tag in forbidden:
        return "forbidden by core_forbid"
    if tag in forced:
        return "added by core_add"
    if is_count(tag) or not is_identity(tag):
        return "not a trait of the person"
    if row["low"] < least:
        return "too rare"
    if row["boards"] and row["boards"]["high"] < AGREEMENT:
        return "boards do not say it"
    return "belongs to an outfit" if weakest and weakest["high"] < least else "holds in every outfit"


def clothing_groups(views: list[set[str]], frequencies: Counter[str]) -> Groups:
    """Each piece of clothing of at least GROUP_MINIMUM views, with those views."""
    import numpy as np

    worn = sorted(tag for tag, count in frequencies.items() if count >= GROUP_MINIMUM and is_clothing(tag))
    members = [[tag in tags for tags in views] for tag in worn]
    return worn, np.array(members, dtype=np.int64).reshape(len(worn), len(views))


def hat_outfits(views: list[set[str]], groups: Groups) -> set[str]:
    """Pieces of clothing that are mostly worn with headwear, which the tagger misses in some of the views."""
    import numpy as np

    hats = np.array([any(map(is_headwear, tags)) for tags in views], dtype=np.int64)
    names, members = groups
    shares = (members @ hats) / np.maximum(members.sum(axis=1), 1)
    return {name for name, share in zip(names, shares.tolist(), strict=True) if share >= HAT_SHARE}


def evidence(tag: str, views: list[set[str]], groups: Groups, hats: set[str]) -> Row:
    """A tag's share of the views in which it could be seen, with its interval; of a trait also its weakest group's."""
    import numpy as np

    hits = np.array([tag in tags for tags in views], dtype=np.int64)
    under_hats = hats if hidden_by_headwear(tag) else set()
    seen = np.array([tag in tags or not (hidden(tag, tags) or under_hats & tags) for tags in views], dtype=np.int64)
    names, members = groups if is_identity(tag) else ([], np.zeros((0, len(views)), dtype=np.int64))
    by_group = [
        {"given": name, **interval(int(hit), int(trials))}
        for name, hit, trials in zip(names, members @ hits, members @ seen, strict=True)
        if name != tag
    ]
    weakest = min(by_group, key=lambda numbers: (numbers["high"], numbers["given"]), default=None)
    return {"tag": tag, **interval(int(hits.sum()), int(seen.sum())), "weakest": weakest}


def agreement(tag: str, thorough: list[Tags]) -> Row | None:
    """The share of the thoroughly tagged views with a tagger's tag in which boards have it too; None without a view."""
    origins = [tags[tag][1] for tags in thorough if tag in tags and tags[tag][1] in (TAGGER, BOTH)]
    return interval(sum(origin == BOTH for origin in origins), len(origins)) if origins else None


def interval(hits: int, trials: int) -> Row:
    """95 % interval of a share: Wilson's score interval (1927), sound for few trials and for shares near 0 and 1."""
    if not trials:
        return {"share": 0.0, "low": 0.0, "high": 1.0, "views": 0}
    share, square = hits / trials, Z * Z
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    spread = Z * sqrt(share * (1 - share) / trials + square / (4 * trials * trials)) / (1 + square / trials)
    low, high = max(centre - spread, 0.0), min(centre + spread, 1.0)
    return {"share": round(share, 4), "low": round(low, 4), "high": round(high, 4), "views": trials}
