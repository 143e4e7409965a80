"""Held-out views: a share of the kept views that never trains; the checkpoints are judged by it."""

from collections import defaultdict
from hashlib import sha256

from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.types import PathLike
from charaloom.config.params import Filtered
from charaloom.curation.views import View, tag_scores, tags_seen
from charaloom.tagging.vocabulary import has_colour, is_garment

HELD_OUT_MINIMUM = 4  # views, set by hand
GARMENT_SCORE = 0.35  # of the tagger, from which a garment can stand for an outfit, set by hand


def likely_outfits(kept: list[View], measured: PathLike) -> dict[str, str]:
    """Guess the outfit of each kept view: its variant tag, else its most confident garment tag."""
    garments = [tag for tag in tags_seen(measured) if is_garment(tag)]
    scores = tag_scores(measured, garments)
    return {view.name: variant(view) or garment(scores.get(view.name, {})) for view in kept}


def variant(view: View) -> str:
    """The character tag with most parts in brackets, if more than one: `hana_(kimono)_(series)`; else nothing."""
    tags = sorted(view.tags("character"), key=lambda tag: (-tag.count("_("), tag))
    return tags[0] if tags and tags[0].count("_(") > 1 else ""


def garment(scores: dict[str, float]) -> str:
    """The garment with the highest score, those with a colour before others; nothing where none is confident."""
    worn = [tag for tag, score in scores.items() if score >= GARMENT_SCORE]
    return min(worn, key=lambda tag: (not has_colour(tag), -scores[tag], tag), default="")


def hold_out(character: str, kept: list[View], outfits: dict[str, str], params: Filtered) -> None:
    """Split the kept views: a seeded share is held out, whole pictures at a time, of every outfit alike.

    Duplicates are dropped before, so no copy of a training view is held out.
    """
    wanted = min(max(HELD_OUT_MINIMUM, round(params.held_out * len(kept))), len(kept) // 2)
    by_picture: dict[str, list[View]] = defaultdict(list)
    for view in kept:
        by_picture[view.row["picture"]].append(view)
    held_out = 0
    for name in interleaved(character, by_picture, outfits, params.seed):
        split = "held_out" if held_out < wanted else "train"
        if split == "held_out":
            held_out += len(by_picture[name])
        for view in by_picture[name]:
            view.split = split


def interleaved(
    character: str, by_picture: dict[str, list[View]], outfits: dict[str, str], config_seed: int
) -> list[str]:
    """Pictures in a seeded order of which every beginning has each outfit in its share."""
    seed = derive_seed(config_seed, character, "held_out")
    by_outfit: dict[str, list[str]] = defaultdict(list)
    for name, views in by_picture.items():
        by_outfit[outfits.get(views[0].name, "")].append(name)
    places = []
    for outfit, names in by_outfit.items():
        order = sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode()).hexdigest())
        # The k-th of n pictures of an outfit takes the place (k + 1/2) / n of 1: outfits mix in proportion.
        places += [((index + 0.5) / len(order), outfit, name) for index, name in enumerate(order)]
    return [name for _, _, name in sorted(places)]
