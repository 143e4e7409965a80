"""Which of the character's trained outfits a picture shows, by the views whose clothes are most like its own."""

from collections import Counter
from math import log, sqrt
from statistics import median
from typing import TYPE_CHECKING

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.tables import stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.outfits.features import LEAST_WEIGHT, unit
from charaloom.tagging.vocabulary import has_colour, is_clothing

if TYPE_CHECKING:
    import numpy as np

SEEN = 0.35  # tagger score from which a tag counts as seen: imgutils' default for general tags
NEAREST = 5  # views of an outfit that a picture is compared with; set by hand
LEAST_LIKENESS = 0.5  # of an outfit's usual likeness, below which a picture does not show it; set by hand
LEAST_TAGS = 2  # pieces of clothing that must be seen before an outfit is named; set by hand


class OutfitMatcher:
    """The clothes of every view that belongs to an outfit.

    A view is the tagger's scores of clothes, rare ones weighing more, and a coloured piece also counts as the plain
    one, as in the grouping of outfits. Comparing with the nearest views allows for portraits, which show no skirt.
    """

    def __init__(self, measured: PathLike, views: list[Row]):
        import numpy as np

        outfits = {row["view"]: row["outfit"] for row in views if row["outfit"]}
        clothes_by_view = {
            row["view"]: clothes({tag["name"]: tag["score"] for tag in row["tags"] or []})
            for row in stream_table(measured, ["view", "tags"])
            if row["view"] in outfits
        }
        names = sorted(clothes_by_view)
        self.outfits = [outfits[name] for name in names]
        counts = Counter(tag for tags in clothes_by_view.values() for tag in tags)
        self.weights = {tag: sqrt(log(len(names) / count)) + LEAST_WEIGHT for tag, count in sorted(counts.items())}
        self.rarest = max(self.weights.values(), default=1.0)
        self.place = {tag: index for index, tag in enumerate(self.weights)}
        self.table = np.stack([self.vector(clothes_by_view[name]) for name in names]) if names else np.zeros((0, 1))
        self.usual = self.usual_likeness()

    def vector(self, tags: dict[str, float]) -> "np.ndarray":
        """Clothes as a vector [tags + 1] of length at most 1; the last number holds what no view of an outfit wears."""
        import numpy as np

        values = np.zeros(len(self.place) + 1)
        for tag, score in tags.items():
            if tag in self.place:
                values[self.place[tag]] = score * self.weights[tag]
            else:
                values[-1] = sqrt(values[-1] ** 2 + (score * self.rarest) ** 2)
        return unit(values[None])[0]

    def usual_likeness(self) -> dict[str, float]:
        """By outfit: the median likeness of its own views to it."""
        import numpy as np

        cosines = self.table @ self.table.T
        np.fill_diagonal(cosines, -1.0)
        by_outfit: dict[str, list[float]] = {}
        for index, outfit in enumerate(self.outfits):
            by_outfit.setdefault(outfit, []).append(self.likeness(cosines[index], outfit))
        return {outfit: median(values) for outfit, values in sorted(by_outfit.items())}

    def likeness(self, cosines: "np.ndarray", outfit: str) -> float:
        """Mean cosine to the NEAREST views of an outfit; `cosines`: to every view [views]."""
        own = sorted((float(cosines[k]) for k, worn in enumerate(self.outfits) if worn == outfit), reverse=True)
        return sum(own[:NEAREST]) / len(own[:NEAREST])

    def outfit_of(self, tags: dict[str, float]) -> str | None:
        """The outfit that a picture shows, by its tagger scores; None: no known one, or too little is seen."""
        worn = clothes(tags)
        if not self.usual or sum(score >= SEEN for score in worn.values()) < LEAST_TAGS:
            return None
        cosines = self.table @ self.vector(worn)
        likeness = {outfit: rounded(self.likeness(cosines, outfit)) for outfit in self.usual}
        best = max(likeness, key=lambda outfit: (likeness[outfit], outfit))
        return best if likeness[best] >= LEAST_LIKENESS * self.usual[best] else None


def clothes(tags: dict[str, float]) -> dict[str, float]:
    """Scores of clothing tags; `red_kimono` is also a `kimono`."""
    scores: dict[str, float] = {}
    for name, score in tags.items():
        if not is_clothing(name):
            continue
        pieces = [name, name.split("_", 1)[1]] if has_colour(name) else [name]
        for piece in pieces:
            scores[piece] = max(scores.get(piece, 0.0), score)
    return scores
