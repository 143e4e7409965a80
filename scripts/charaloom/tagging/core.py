"""Core tags: traits of the person that hold in every outfit, by confidence intervals of counts."""

from collections import Counter
from math import sqrt
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.types import Row
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

Params = dict[str, Any]

Z = 1.959963984540054  # of a 95 % interval
GROUP_MINIMUM = 5  # views with a piece of clothing, from which it can speak against a core tag
HAT_SHARE = 0.5  # of the views with a piece of clothing that show headwear, from which all of them count as hats
TOLD_SHARE = 0.1  # share from which a tag's numbers are told in core.json
AGREEMENT = 0.2  # share of the tagger's hits that boards would say too, were they true
TALKATIVE = 8  # general tags of a board from which its silence about a trait says something


def judge_core(merged: list[Tags], params: Params, vocabulary: Vocabulary) -> list[Row]:
    """One row per tag that is frequent or forced, core ones first, with the numbers that decided.

    A tag is core where it speaks of the person and the lower bound of its share over all views in which it could be
    seen is at least `core_share`; unless some piece of clothing has a group of views in which even the upper bound is
    below: such a tag belongs to an outfit; or boards that say much are silent where the tagger says it; or a tag that
    excludes it (another eye colour) is seen in more views.
    """
    views = [set(tags) for tags in merged]
    talkative = [tags for tags in merged if sum(origin != TAGGER for _, origin in tags.values()) >= TALKATIVE]
    told = Counter(tag for tags in views for tag in tags)
    forced, forbidden = set(params["core_add"]), set(params["core_forbid"])
    groups = clothing_groups(views, told)
    hats = hat_outfits(views, groups)
    rows = []
    for tag in sorted(told.keys() | forced):
        if told[tag] >= TOLD_SHARE * len(views) or tag in forced:
            row = {**evidence(tag, views, groups, hats), "boards": agreement(tag, talkative)}
            why = verdict(row, params["core_share"], forced, forbidden)
            rows.append({**row, "core": why in CORE_VERDICTS, "why": why})
    general = vocabulary.implied([row["tag"] for row in rows if row["core"]]) - forced
    for row in rows:
        if row["core"] and row["tag"] in general:
            row |= {"core": False, "why": "implied by another core tag"}
    settle(rows, forced)
    return sorted(rows, key=lambda row: (not row["core"], -row["share"], row["tag"]))


def settle(rows: list[Row], forced: set[str]) -> None:
    """Of core tags that exclude each other, leave the forced one, else the one that is seen most."""
    core = {row["tag"]: row for row in rows if row["core"]}
    for rivals in contradictions(core):
        best = max(rivals, key=lambda tag: (tag in forced, core[tag]["share"], core[tag]["low"], tag))
        for tag in set(rivals) - {best} - forced:
            core[tag] |= {"core": False, "why": f"{best} has more evidence"}


CORE_VERDICTS = ("added by core_add", "holds in every outfit")


def verdict(row: Row, least: float, forced: set[str], forbidden: set[str]) -> str:
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


def clothing_groups(views: list[set[str]], told: Counter[str]) -> tuple[list[str], "np.ndarray"]:
    """(names, [pieces, views] as 0 and 1): the views with each piece of clothing that enough of them show."""
    import numpy as np

    worn = sorted(tag for tag, count in told.items() if count >= GROUP_MINIMUM and is_clothing(tag))
    members = [[tag in tags for tags in views] for tag in worn]
    return worn, np.array(members, dtype=np.int64).reshape(len(worn), len(views))


def hat_outfits(views: list[set[str]], groups: tuple[list[str], "np.ndarray"]) -> set[str]:
    """Pieces of clothing that are mostly worn with headwear: the hat is there also where the tagger missed it."""
    import numpy as np

    hats = np.array([any(map(is_headwear, tags)) for tags in views], dtype=np.int64)
    names, members = groups
    shares = (members @ hats) / np.maximum(members.sum(axis=1), 1)
    return {name for name, share in zip(names, shares.tolist(), strict=True) if share >= HAT_SHARE}


def evidence(tag: str, views: list[set[str]], groups: tuple[list[str], "np.ndarray"], hats: set[str]) -> Row:
    """A tag's share of the views in which it could be seen, with its interval; for a trait also its weakest group's."""
    import numpy as np

    hits = np.array([tag in tags for tags in views], dtype=np.int64)
    under_hats = hats if hidden_by_headwear(tag) else set()
    seen = np.array([tag in tags or not (hidden(tag, tags) or under_hats & tags) for tags in views], dtype=np.int64)
    names, members = groups if is_identity(tag) else ([], np.zeros((0, len(views)), dtype=np.int64))
    within = [
        {"given": name, **interval(int(hit), int(trials))}
        for name, hit, trials in zip(names, members @ hits, members @ seen, strict=True)
        if name != tag
    ]
    weakest = min(within, key=lambda numbers: (numbers["high"], numbers["given"]), default=None)
    return {"tag": tag, **interval(int(hits.sum()), int(seen.sum())), "weakest": weakest}


def agreement(tag: str, talkative: list[Tags]) -> Row | None:
    """Of the views of which a board says much and in which the tagger sees a tag, of how many the board says it, too;
    None where there is no such view."""
    seen = [tags[tag][1] for tags in talkative if tag in tags and tags[tag][1] != BOARD]
    return interval(sum(origin == BOTH for origin in seen), len(seen)) if seen else None


def interval(hits: int, trials: int) -> Row:
    """95 % interval of a share (Wilson): honest also for few trials and for shares near 0 and 1."""
    if not trials:
        return {"share": 0.0, "low": 0.0, "high": 1.0, "views": 0}
    share, square = hits / trials, Z * Z
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    spread = Z * sqrt(share * (1 - share) / trials + square / (4 * trials * trials)) / (1 + square / trials)
    low, high = max(centre - spread, 0.0), min(centre + spread, 1.0)
    return {"share": round(share, 4), "low": round(low, 4), "high": round(high, 4), "views": trials}
