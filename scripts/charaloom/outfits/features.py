"""What a view wears, as a direction: tags of clothes, rare ones weighing more, a coloured piece also counting as the
plain one; and what the tagger's embedding tells beyond all other tags, so that identity, pose, framing and background
have no say.
"""

from collections import Counter
from typing import TYPE_CHECKING

from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.views import read_vectors
from charaloom.tagging.vocabulary import has_colour, is_clothing

if TYPE_CHECKING:
    import numpy as np

Scores = dict[str, float]  # of tags by name

LEAST_WEIGHT = 0.3  # of a tag that every view shows: with one outfit alone, all views are alike
ANCHOR_WEIGHT = 4.0  # of a board's name for an official outfit; a tag of clothes weighs 2 or less
EMBEDDING_WEIGHT = 0.8  # length of the embedding's part, where the tags' part has length 1
RIDGE = 1.0  # penalty of the regression that takes the other tags out of the embedding


def directions(views: list[Row], measured: PathLike) -> "np.ndarray":
    """What the views wear: directions [n, d], as `features` makes them."""
    other_tags = [{tag["name"]: tag["score"] for tag in view["tags"] if not is_clothing(tag["name"])} for view in views]
    for view, tags in zip(views, other_tags, strict=True):
        tags.update((tag["name"], 1.0) for tag in view["dropped"] if not is_clothing(tag["name"]))
    return features([clothes(view) for view in views], anchors_of(views), other_tags, embeddings_of(views, measured))


def anchors_of(views: list[Row]) -> list[set[str]]:
    """The boards' names of official outfits, of each view."""
    return [set(view["variants"]) for view in views]


def embeddings_of(views: list[Row], measured: PathLike) -> "np.ndarray":
    """The tagger's embeddings [n, e] of these views; e is 0 where any was measured without one."""
    import numpy as np

    vectors = read_vectors(measured, "tag_embedding")
    if not all(view["view"] in vectors for view in views):
        return np.zeros((len(views), 0))
    return np.array([vectors[view["view"]] for view in views], dtype=np.float64)


def clothes(view: Row) -> Scores:
    """Scores of what a view wears; `red_kimono` is also a `kimono`."""
    scores: Scores = {}
    for tag in view["tags"]:
        name = tag["name"]
        if is_clothing(name):
            plain = [name.split("_", 1)[1]] if has_colour(name) else []
            for piece in (name, *plain):
                scores[piece] = max(scores.get(piece, 0.0), tag["score"])
    return scores


def features(
    worn: list[Scores], anchors: list[set[str]], other_tags: list[Scores], embeddings: "np.ndarray"
) -> "np.ndarray":
    """Directions [n, d] of what views wear, of length 1; zero for those that show no clothes.

    `anchors`: the boards' names of official outfits; `other_tags`: all tags of a view that are no clothes;
    `embeddings`
    [n, e] of the tagger (e may be 0).
    """
    import numpy as np

    named = score_table([dict.fromkeys(names, 1.0) for names in anchors])
    table = np.column_stack([weighted(worn), ANCHOR_WEIGHT * named])
    beyond = EMBEDDING_WEIGHT * unit(residuals(embeddings, score_table(other_tags)))
    shown = np.linalg.norm(table, axis=1) > 0
    return unit(np.column_stack([unit(table), beyond])) * shown[:, None]


def unit(table: "np.ndarray") -> "np.ndarray":
    """Rows of length 1; rows of nothing stay nothing."""
    import numpy as np

    return table / np.maximum(np.linalg.norm(table, axis=1), 1e-9)[:, None]


def weighted(worn: list[Scores]) -> "np.ndarray":
    """[n, tags]: scores times the weight of a tag's rarity, of tags that more than one view shows.

    The square root: with the logarithm itself, mistakes, which are rare, split an outfit that is common.
    """
    import numpy as np

    table = score_table(worn)
    counts = (table > 0).sum(axis=0)
    return table * (np.sqrt(np.log(len(worn) / np.maximum(counts, 1))) + LEAST_WEIGHT)


def score_table(views: list[Scores]) -> "np.ndarray":
    """[n, tags]: scores of the tags that more than one view has, by name."""
    import numpy as np

    counts = Counter(tag for tags in views for tag in tags)
    names = sorted(tag for tag, count in counts.items() if count > 1)
    column = {name: index for index, name in enumerate(names)}
    table = np.zeros((len(views), len(names)))
    for index, tags in enumerate(views):
        for name, score in tags.items():
            if name in column:
                table[index, column[name]] = score
    return table


def residuals(embeddings: "np.ndarray", other_tags: "np.ndarray") -> "np.ndarray":
    """What an embedding [n, e] says beyond the tags [n, t] that are no clothes: residuals of a ridge regression."""
    import numpy as np

    if not embeddings.size:
        return np.zeros((len(embeddings), 0))
    centred = embeddings - embeddings.mean(axis=0)
    tags = other_tags - other_tags.mean(axis=0)
    inner = tags.T @ tags + RIDGE * np.eye(tags.shape[1])
    return centred - tags @ np.linalg.solve(inner, tags.T @ centred)
