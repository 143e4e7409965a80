"""Which of the character's outfits a picture shows."""

from collections import Counter
from math import log, sqrt
from statistics import median
from typing import TYPE_CHECKING

from charaloom.artifacts.tables import stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.views import decided
from charaloom.outfits.grouping import LEAST_WEIGHT, unit
from charaloom.tagging.vocabulary import has_colour, is_clothing

if TYPE_CHECKING:
    import numpy as np

SEEN = 0.35  # of the tagger, from which a tag counts as seen: imgutils' own threshold
NEAREST = 5  # views of an outfit that a preview is compared with
HERS = 0.5  # of the likeness that an outfit's own views have, below which none of hers is worn
WORN_TAGS = 2  # pieces of clothing that must be seen before an outfit is named


class Wardrobe:
    """Which of her trained outfits a picture shows, by the views of hers that wear most like it.

    A view is the tagger's scores of clothes, rare ones weighing more, and a coloured piece also counts as the plain
    one, as when the outfits were found. Nearest neighbours know that a portrait shows no skirt.
    """

    def __init__(self, measured: PathLike, views: list[Row]):
        import numpy as np

        worn = {row["view"]: row["outfit"] for row in views if row["outfit"]}
        told = {
            row["view"]: clothes({tag["name"]: tag["score"] for tag in row["tags"] or []})
            for row in stream_table(measured, ["view", "tags"])
            if row["view"] in worn
        }
        names = sorted(told)
        self.outfits = [worn[name] for name in names]
        counts = Counter(tag for tags in told.values() for tag in tags)
        self.weights = {tag: sqrt(log(len(names) / count)) + LEAST_WEIGHT for tag, count in sorted(counts.items())}
        self.rarest = max(self.weights.values(), default=1.0)
        self.place = {tag: index for index, tag in enumerate(self.weights)}
        self.table = np.stack([self.row(told[name]) for name in names]) if names else np.zeros((0, 1))
        self.own = self.usual()

    def row(self, tags: dict[str, float]) -> "np.ndarray":
        """A direction of length 1 or less: clothes that none of her views wears lead away from all of them."""
        import numpy as np

        values = np.zeros(len(self.place) + 1)
        for tag, score in tags.items():
            if tag in self.place:
                values[self.place[tag]] = score * self.weights[tag]
            else:
                values[-1] = sqrt(values[-1] ** 2 + (score * self.rarest) ** 2)
        return unit(values[None])[0]

    def usual(self) -> dict[str, float]:
        """By outfit: how alike its own views are to their nearest ones, in the middle."""
        import numpy as np

        alike = self.table @ self.table.T
        np.fill_diagonal(alike, -1.0)
        found: dict[str, list[float]] = {}
        for index, outfit in enumerate(self.outfits):
            found.setdefault(outfit, []).append(self.likeness(alike[index], outfit))
        return {outfit: median(values) for outfit, values in sorted(found.items())}

    def likeness(self, alike: "np.ndarray", outfit: str) -> float:
        own = sorted((float(alike[k]) for k, worn in enumerate(self.outfits) if worn == outfit), reverse=True)
        return sum(own[:NEAREST]) / len(own[:NEAREST])

    def worn(self, tags: dict[str, float]) -> str | None:
        """The outfit that the tags of a picture show; None: none of hers, or too little is seen."""
        told = clothes(tags)
        if not self.own or sum(score >= SEEN for score in told.values()) < WORN_TAGS:
            return None
        alike = self.table @ self.row(told)
        shares = {outfit: decided(self.likeness(alike, outfit)) for outfit in self.own}
        best = max(shares, key=lambda outfit: (shares[outfit], outfit))
        return best if shares[best] >= HERS * self.own[best] else None


def clothes(tags: dict[str, float]) -> dict[str, float]:
    """Scores of what is worn; `red_kimono` is also a `kimono`."""
    scores: dict[str, float] = {}
    for name, score in tags.items():
        if is_clothing(name):
            for piece in (name, *([name.split("_", 1)[1]] if has_colour(name) else [])):
                scores[piece] = max(scores.get(piece, 0.0), score)
    return scores
