"""Outfits that share a garment: told apart by colour, by the one piece that differs, and by boards' official names.

Density finds what is worn together; two kimonos in two colours, or with and without a sash, are one dense place. Within
a group, names and colours that enough views agree on are outfits of their own. Every view then goes to the one that
explains its tags best (a mixture of naive Bayes models, by expectation maximisation; Nigam et al. 2000), or to none: a
group also has strangers in it, clothes that were drawn once, in any colour.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charaloom.artifacts.types import Row
from charaloom.tagging.merging import BOARD, BOTH, TAGGER
from charaloom.tagging.vocabulary import has_colour, is_clothing, piece_of_colour

if TYPE_CHECKING:
    import numpy as np

# All set by hand, on the hard demo worlds of seeds 11 and 12.
LEAST_NAMED = 3  # views with an official name, from which it is an outfit of its own
COLOURED = 0.3  # of a group's views whose main piece has a colour, from which colours count
STRAY = 0.04  # of a group's views that one wrong colour may have
COLOURS = 10  # among which clothes that were drawn once spread
CLEAR, MISTAKEN = 0.4, 0.15  # share from which a piece's colour is its own; of the colours that are seen wrongly
LIKENESS = 20.0  # log odds of a cosine of 1 more than with the other parts
SMOOTHING = 2.0  # views that the group's share of a tag is worth within an outfit
ROUNDS = 8
SURE = 0.5  # probability from which a view belongs to an outfit
LEAST_TAG = 3  # views of a group that show a tag, by one witness, for it to count


@dataclass(frozen=True)
class Worn:
    """What a view wears: how surely a witness saw a tag of clothes, by (witness, tag); colours of pieces; official
    names."""

    tags: dict[tuple[str, str], float]
    colours: dict[str, str]
    names: frozenset[str]


def worn_by(view: Row) -> Worn:
    """Clothes of a view, a coloured piece also as the plain one; of each piece the colour with most evidence.

    A witness that sees a piece in several colours is sure of none.
    """
    scores: dict[tuple[str, str], float] = {}
    votes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for tag in view["tags"]:
        name, origin = tag["name"], tag["origin"]
        if not is_clothing(name):
            continue
        for witness in {BOTH: (TAGGER, BOARD)}.get(origin, (origin,)):
            score = tag["score"] if witness == TAGGER else 1.0
            scores[witness, name] = score
            if has_colour(name):
                scores.setdefault((witness, name.split("_", 1)[1]), 1.0)
            if piece := piece_of_colour(name):
                votes[piece][name] += score
    colours = {piece: min(names, key=lambda name: (-names[name], name)) for piece, names in votes.items()}
    seen: dict[tuple[str, str], float] = defaultdict(float)
    for (witness, name), score in scores.items():
        seen[witness, piece_of_colour(name) or name] += score if piece_of_colour(name) else 0.0
    tags = {
        (witness, name): score**2 / seen[witness, piece] if (piece := piece_of_colour(name)) else 1.0
        for (witness, name), score in scores.items()
    }
    return Worn(tags, colours, frozenset(view["variants"]))


def told_apart(worn: list[Worn], labels: "np.ndarray", alike: "np.ndarray", least: int) -> "np.ndarray":
    """Group number of every view, -1 for none, from groups of similar clothes `labels` [n] and cosines [n, n]."""
    import numpy as np

    result = np.full(len(labels), -1)
    number = 0
    for label in sorted(set(labels.tolist()) - {-1}):
        members = np.flatnonzero(labels == label)
        parts = parts_of([worn[index] for index in members], alike[np.ix_(members, members)], least)
        for part in range(max(parts) + 1):
            chosen = members[[index for index, own in enumerate(parts) if own == part]]
            if len(chosen) >= least:
                result[chosen] = number
                number += 1
    return result


def parts_of(worn: list[Worn], alike: "np.ndarray", least: int) -> list[int]:
    """Part of every view of one group, -1 for none."""
    piece = main_piece(worn)
    colours = [view.colours.get(piece) for view in worn]
    seeds = seeds_of(worn, colours, least)
    if seeds is None:
        return [0] * len(worn)
    return mixture(worn, seeds, alike) if max(seeds) >= 0 else [-1] * len(worn)


def main_piece(worn: list[Worn]) -> str:
    """The piece of clothing that most views give a colour."""
    counts = Counter(piece for view in worn for piece in view.colours)
    return min(counts, key=lambda piece: (-counts[piece], piece), default="")


def seeds_of(worn: list[Worn], colours: list[str | None], least: int) -> list[int] | None:
    """The part that each view begins in, -1 for none yet; None where nothing tells parts apart."""
    names = Counter(name for view in worn for name in view.names)
    named = sorted(name for name, count in names.items() if count >= LEAST_NAMED)
    counts = Counter(colour for colour in colours if colour)
    coloured = sum(counts.values()) >= COLOURED * len(worn)
    if not coloured and len(named) < 2:
        return None
    parts = {name: place for place, name in enumerate(named)}
    taken = set()
    for name in named:
        own = Counter(c for view, c in zip(worn, colours, strict=True) if c and name in view.names)
        if own:
            taken.add(min(own, key=lambda c: (-own[c], c)))
    unnamed = Counter(c for view, c in zip(worn, colours, strict=True) if c and not parts.keys() & view.names)
    enough = max(least, STRAY * len(worn))
    for colour in sorted(c for c, count in unnamed.items() if count >= enough and c not in taken and coloured):
        parts[colour] = len(parts)
    seeds = []
    for view, seen in zip(worn, colours, strict=True):
        given = sorted(parts.keys() & view.names)
        seeds.append(parts[given[0]] if given else parts.get(seen or "", -1))
    return seeds


def mixture(worn: list[Worn], seeds: list[int], alike: "np.ndarray") -> list[int]:
    """The part that explains each view best, -1 where none does better than clothes that were drawn once.

    A colour speaks where a witness gives the piece one; whether it is seen at all depends on how much of the figure
    the picture shows.
    """
    import numpy as np

    parts = max(seeds) + 1
    fixed = np.array([bool(view.names) and seed >= 0 for view, seed in zip(worn, seeds, strict=True)])
    weights = np.zeros((len(worn), parts + 1))
    for index, (view, seed) in enumerate(zip(worn, seeds, strict=True)):
        weights[index, seed if seed >= 0 else parts] = 1.0
        if seed < 0 and not view.colours:
            weights[index] = 1 / (parts + 1)
    certain = weights.copy()
    groups = witnesses(worn)
    for _ in range(ROUNDS):
        sizes = weights.sum(axis=0) + 1
        odds = np.tile(np.log(sizes / sizes.sum()), (len(worn), 1))
        for shown, exclusive in groups:
            odds += testimony(shown, weights, exclusive)
        odds[:, :parts] += likeness(alike, weights[:, :parts])
        chances = np.exp(odds - odds.max(axis=1, keepdims=True))
        weights = np.where(fixed[:, None], certain, chances / chances.sum(axis=1, keepdims=True))
    best = weights.argmax(axis=1)
    return [int(part) if part < parts and weights[index, part] >= SURE else -1 for index, part in enumerate(best)]


def witnesses(worn: list[Worn]) -> list[tuple["np.ndarray", bool]]:
    """Tables [n, tags] of what each witness sees: of every piece its colours, which exclude each other; and the pieces
    that come without a colour, each for itself."""
    import numpy as np

    counts = Counter(tag for view in worn for tag in view.tags)
    columns: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for witness, tag in sorted(counts):
        columns[witness, piece_of_colour(tag) or ""].append((witness, tag))
    coloured = {piece for _, piece in columns}
    tables = []
    for (_, piece), tags in sorted(columns.items()):
        chosen = tags if piece else [tag for tag in tags if tag[1] not in coloured and counts[tag] >= LEAST_TAG]
        if chosen and sum(counts[tag] for tag in chosen) >= LEAST_TAG:
            shown = np.array([[view.tags.get(tag, 0.0) for tag in chosen] for view in worn])
            tables.append((shown, bool(piece)))
    return tables


def testimony(shown: "np.ndarray", weights: "np.ndarray", exclusive: bool) -> "np.ndarray":
    """Log likelihood [n, parts and one more] of tags under every part and under clothes that were drawn once."""
    import numpy as np

    here = weights[:, :-1]
    if exclusive:
        usual = np.full(shown.shape[1], 1 / COLOURS)
        counted = here.T @ shown
        shares = (counted + SMOOTHING * usual) / (counted.sum(axis=1, keepdims=True) + SMOOTHING)
        first = shares.argmax(axis=1)
        clear = shares.max(axis=1) >= CLEAR  # a piece has one colour in an outfit: the others are mistakes
        one = np.full(shares.shape, MISTAKEN / COLOURS)
        one[np.arange(len(one)), first] += 1 - MISTAKEN
        shares[clear] = one[clear]
        return shown @ np.log(np.vstack([shares, usual])).T
    overall = (shown.sum(axis=0) + 0.5) / (len(shown) + 1)
    shares = (here.T @ shown + SMOOTHING * overall) / (here.sum(axis=0)[:, None] + SMOOTHING)
    shares = np.vstack([shares, overall]).clip(0.01, 0.99)
    return shown @ np.log(shares).T + (1 - shown) @ np.log(1 - shares).T


def likeness(alike: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    """What the cosines [n, n] say for each part [n, parts]: nothing where a view is as much like all of them."""
    import numpy as np

    others = alike @ weights - alike.diagonal()[:, None] * weights
    like = others / np.maximum(weights.sum(axis=0) - weights, 1)
    return LIKENESS * (like - like.max(axis=1, keepdims=True))
