"""Held-out views: a share of the kept ones never trains and judges the checkpoints instead."""

from collections import defaultdict
from hashlib import sha256

from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.types import PathLike
from charaloom.curation.views import Params, View, tag_scores, tags_seen
from charaloom.tagging.vocabulary import has_colour, is_garment

HELD_OUT_MINIMUM = 4
WORN_SCORE = 0.35  # of the tagger's garment that stands for an outfit when pictures are put aside


def outfits_at_a_glance(kept: list[View], measured: PathLike) -> dict[str, str]:
    """What each kept view seems to be worn, before outfits are known: a variant tag, else the surest garment."""
    garments = [tag for tag in tags_seen(measured) if is_garment(tag)]
    seen = tag_scores(measured, garments)
    return {view.name: variant(view) or garment(seen.get(view.name, {})) for view in kept}


def variant(view: View) -> str:
    """`hana_(kimono)_(series)` beside `hana_(series)`: the character tag with most parts, where it has several."""
    tags = sorted(view.tags("character"), key=lambda tag: (-tag.count("_("), tag))
    return tags[0] if tags and tags[0].count("_(") > 1 else ""


def garment(scores: dict[str, float]) -> str:
    """The surest garment with a colour, else the surest garment."""
    worn = [tag for tag, score in scores.items() if score >= WORN_SCORE]
    return min(worn, key=lambda tag: (not has_colour(tag), -scores[tag], tag), default="")


def hold_out(character: str, kept: list[View], outfits: dict[str, str], params: Params) -> None:
    """Put a seeded share of the kept views aside, whole pictures at a time, from every outfit alike.

    Duplicates are dropped already, so no twin of a training view is among them.
    """
    wanted = min(max(HELD_OUT_MINIMUM, round(params["held_out"] * len(kept))), len(kept) // 2)
    by_picture: dict[str, list[View]] = defaultdict(list)
    for view in kept:
        by_picture[view.row["picture"]].append(view)
    held = 0
    for name in taking_turns(character, by_picture, outfits, params["seed"]):
        aside = held < wanted
        held += len(by_picture[name]) * aside
        for view in by_picture[name]:
            view.split = "held_out" if aside else "train"


def taking_turns(
    character: str, by_picture: dict[str, list[View]], outfits: dict[str, str], config_seed: int
) -> list[str]:
    """Pictures in a seeded order in which every outfit comes as often as it is worn, from the first few on."""
    seed = derive_seed(config_seed, character, "held_out")
    by_outfit: dict[str, list[str]] = defaultdict(list)
    for name, views in by_picture.items():
        by_outfit[outfits.get(views[0].name, "")].append(name)
    places = []
    for outfit, names in by_outfit.items():
        order = sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode()).hexdigest())
        # The k-th of n stands at (k + 1/2) / n of the whole: outfits mix in proportion.
        places += [((index + 0.5) / len(order), outfit, name) for index, name in enumerate(order)]
    return [name for _, _, name in sorted(places)]
