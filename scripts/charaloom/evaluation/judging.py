"""Judging: what a preview shows, measured by the same models that measured the pictures it was learned from.

Rating first: what is above the allowed rating is not looked at any further. Then who is drawn (CCIP distance to
pictures that never trained), which of her outfits (the nearest views by their clothes), which of the asked tags are
seen, what is broken, and which training picture it repeats. Every number is of one picture; `selection` counts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import log, sqrt
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.tables import read_table, stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.views import decided, read_vectors
from charaloom.errors import CharaloomError
from charaloom.images.decoding import open_picture
from charaloom.images.fingerprints import thumbnail
from charaloom.images.overlay import NEIGHBOURS, fitted, read_thumbnails
from charaloom.outfits.features import LEAST_WEIGHT, unit
from charaloom.tagging.vocabulary import has_colour, is_clothing
from charaloom.vision.ccip import CcipMetric
from charaloom.vision.model_set import CCIP, CLASSIFIERS, DETECTORS, Classifier, Detection, Detector, Tagger, run
from charaloom.vision.model_set import ModelInput as Shown
from charaloom.vision.model_set import TaggerOutput as Tagged
from charaloom.vision.models import hub_file, open_session

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


SEEN = 0.35  # of the tagger, from which a tag counts as seen: imgutils' own threshold
FLOOR = 0.05  # below it a tag says nothing, as in measured.parquet
NEAREST = 5  # views of an outfit that a preview is compared with
HERS = 0.5  # of the likeness that an outfit's own views have, below which none of hers is worn
WORN_TAGS = 2  # pieces of clothing that must be seen before an outfit is named
FAULTS = {  # what the tagger says of broken or wrong pictures, by the fault it proves
    "anatomy": ("bad_anatomy", "bad_proportions", "deformed", "extra_arms", "extra_legs", "missing_limb"),
    "hands": ("bad_hands", "extra_digits", "fewer_digits", "missing_finger"),
    "several people": ("2girls", "2boys", "3girls", "multiple_girls", "multiple_boys", "multiple_views"),
    "text": ("text_focus", "speech_bubble", "watermark", "signature", "artist_name", "english_text"),
    "style": ("comic", "monochrome", "greyscale", "sketch", "unfinished"),
    "quality": ("blurry", "jpeg_artifacts", "lowres", "scan_artifacts"),
}


@dataclass(frozen=True)
class Asked:
    """What a prompt wants to see: an outfit of hers (None: none), and tags."""

    outfit: str | None
    tags: tuple[str, ...]


class Judge:
    """The models of the hub cache, and everything of the character that previews are compared with.

    CCIP sees the person that the detector finds, in previews and held-out pictures alike, as the filters compare person
    with person; all of a picture where none is found.
    """

    def __init__(
        self,
        hub: PathLike,
        held_out: list[Path],
        core: Sequence[str],
        measured: PathLike,
        clustered: PathLike,
        params: Row,
    ):
        place = Path(hub)
        self.hub, self.held_out, self.core = place, held_out, tuple(core)
        self.rating_model, self.memorised = params["rating_model"], params["memorised"]
        self.threshold = ccip_threshold(place)
        self.measured, self.views = measured, read_table(clustered, ["view", "picture", "kind", "split", "outfit"])

    # What follows is opened when the first picture is judged: a finished run needs none of it.

    @cached_property
    def classifier(self) -> Classifier:
        return Classifier(self.hub, *CLASSIFIERS["rating"])

    @cached_property
    def detectors(self) -> dict[str, Detector]:
        return {kind: Detector(self.hub, *DETECTORS[kind]) for kind in ("person", "head")}

    @cached_property
    def tagger(self) -> Tagger:
        return Tagger(self.hub)

    @cached_property
    def ccip(self) -> Any:
        return open_session(hub_file(self.hub, *CCIP))

    @cached_property
    def metric(self) -> CcipMetric:
        return CcipMetric(self.hub)

    @cached_property
    def references(self) -> "np.ndarray":
        """CCIP features of the held-out pictures."""
        import numpy as np

        pictures = (Shown(open_picture(data)) for data in held_out_pictures(self.held_out))
        parts = []
        while some := list(islice(pictures, 16)):
            parts.append(self.identify(some, self.persons(some)))
        return np.concatenate(parts)

    @cached_property
    def wardrobe(self) -> "Wardrobe":
        return Wardrobe(self.measured, self.views)

    @cached_property
    def training(self) -> "Training":
        return Training(self.measured, self.views)

    def judged(self, pictures: Sequence["Image.Image"], asked: Sequence[Asked]) -> list[Row]:
        """The measured columns of `scores.parquet` for some pictures."""
        shown = [Shown(picture) for picture in pictures]
        ratings = self.classifier.scores(shown)
        kept = [rating["r15"] + rating["r18"] < self.rating_model for rating in ratings]
        rows = [{"kept": allowed, "rating": scored(rating)} for allowed, rating in zip(kept, ratings, strict=True)]
        looked = [index for index, allowed in enumerate(kept) if allowed]
        found = self.measures([shown[index] for index in looked], [asked[index] for index in looked])
        for index, measures in zip(looked, found, strict=True):
            rows[index] |= measures
        return [{**UNSEEN, "asked": list(one.tags), **row} for row, one in zip(rows, asked, strict=True)]

    def measures(self, shown: Sequence[Shown], asked: Sequence[Asked]) -> list[Row]:
        if not shown:
            return []
        persons, heads = self.persons(shown), self.detectors["head"].detect(shown)
        pairs = self.metric.differences(self.identify(shown, persons), self.references)
        rows = []
        for index, tagged in enumerate(self.tagger.tag(shown, FLOOR)):
            distance = round(float(median(pairs[index].tolist())), 4)
            likeness, view = self.training.nearest(shown[index], tagged.embedding)
            rows.append(
                {
                    "identity_distance": distance,
                    "recognised": distance <= self.threshold,
                    "outfit_drawn": self.wardrobe.worn(tagged.tags),
                    "seen": [tag for tag in asked[index].tags if tagged.tags.get(tag, 0.0) >= SEEN],
                    "core_seen": self.core_seen(tagged.tags),
                    "faults": faults(tagged, persons[index], heads[index], asked[index].tags),
                    "training_likeness": likeness,
                    "training_view": view,
                    "memorised": likeness >= self.memorised,
                    "embedding_vector": [round(float(value), 4) for value in tagged.embedding],
                }
            )
        return rows

    def persons(self, shown: Sequence[Shown]) -> list[list[Detection]]:
        return self.detectors["person"].detect(shown)

    def identify(self, shown: Sequence[Shown], persons: Sequence[list[Detection]]) -> "np.ndarray":
        """CCIP features [n, 768] of the largest person of each picture."""
        from PIL import Image

        cut = [Shown(person(one.image, boxes)) for one, boxes in zip(shown, persons, strict=True)]
        how = Image.Resampling.BILINEAR
        (features,) = run(self.ccip, ["output"], [one.planes(384, 384, how, "ccip") for one in cut])
        return features

    def core_seen(self, tags: dict[str, float]) -> float | None:
        """Share of her core tags that the tagger sees; None where she has none."""
        return decided(sum(tags.get(tag, 0.0) >= SEEN for tag in self.core) / len(self.core)) if self.core else None


UNSEEN: Row = {  # of a picture that was withheld
    "identity_distance": None,
    "recognised": False,
    "outfit_drawn": None,
    "seen": [],
    "core_seen": None,
    "faults": [],
    "training_likeness": None,
    "training_view": None,
    "memorised": False,
    "embedding_vector": None,
}


def scored(scores: dict[str, float]) -> list[Row]:
    return [{"name": name, "score": score} for name, score in sorted(scores.items())]


def ccip_threshold(hub: Path) -> float:
    """CCIP's own distance up to which two pictures show one character, from the pinned model's metrics.json."""
    import json

    repo, file = CCIP
    return float(json.loads(hub_file(hub, repo, f"{Path(file).parent}/metrics.json").read_text())["threshold"])


def person(picture: "Image.Image", boxes: list[Detection]) -> "Image.Image":
    """The largest person found in a picture, or all of it."""
    if not boxes:
        return picture
    return picture.crop(max((box for box, _ in boxes), key=lambda box: ((box[2] - box[0]) * (box[3] - box[1]), box)))


def faults(tagged: Tagged, persons: list[Detection], heads: list[Detection], asked: Sequence[str]) -> list[str]:
    """What is wrong with a picture, in words; what was asked for is no fault."""
    found = {
        fault
        for fault, tags in FAULTS.items()
        if any(tagged.tags.get(tag, 0.0) >= SEEN and tag not in asked for tag in tags)
    }
    if not persons and not heads:
        found.add("nobody")
    if len(heads) > 1 and len(persons) > 1:
        found.add("several people")
    return sorted(found)


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


class Training:
    """The pictures that trained, to tell a drawing that repeats one: the same test as for duplicates of the board."""

    def __init__(self, measured: PathLike, views: list[Row]):
        import numpy as np

        trained = {row["picture"]: row["view"] for row in views if row["split"] == "train" and row["kind"] == "picture"}
        wholes = {view: view for view in trained.values()}
        vectors = read_vectors(measured, "tag_embedding", ["picture"])
        self.thumbnails = read_thumbnails(measured, wholes)
        self.names = sorted(name for name in self.thumbnails if name in vectors)
        self.table = unit(np.stack([vectors[name] for name in self.names])) if self.names else np.zeros((0, 1))

    def nearest(self, shown: Shown, embedding: "np.ndarray") -> tuple[float, str | None]:
        """How alike (0 to 1) the training picture is that this one repeats most, and its view.

        Only the few that the tagger finds most alike are laid over it.
        """
        import numpy as np

        if not self.names:
            return 0.0, None
        grey = thumbnail(np.asarray(shown.image.convert("L")))
        cosine = (self.table @ (embedding / max(float(np.linalg.norm(embedding)), 1e-9))).round(4)
        order = sorted(range(len(self.names)), key=lambda k: (-cosine[k], self.names[k]))[:NEIGHBOURS]
        fits = [(decided(max(fitted(self.thumbnails[self.names[k]], grey).score, 0.0)), self.names[k]) for k in order]
        return max(fits, key=lambda fit: (fit[0], fit[1]))


# --- held-out pictures ------------------------------------------------------------------------------------------------


def held_out_files(dataset: PathLike) -> list[Path]:
    """Shards of the held-out split; it may be there and empty, and then there is nothing to judge by."""
    import pyarrow.parquet as pq

    found = sorted((Path(dataset) / "data").glob("held_out-*.parquet"))
    if not sum(pq.read_metadata(path).num_rows for path in found):
        raise CharaloomError(f"{dataset}: no held-out pictures to judge by. Raise filtered.held_out above 0.")
    return found


def held_out_pictures(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        for row in stream_table(path, ["image"]):
            yield row["image"]["bytes"]
