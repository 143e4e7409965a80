"""Judging: what a preview shows, measured by the same models that measured the pictures it was learned from.

Rating first: what is above the allowed rating is not looked at any further. Then who is drawn (CCIP distance to
pictures that never trained), which of her outfits (the nearest views by their clothes), which of the asked tags are
seen, what is broken, and which training picture it repeats. Every number is of one picture; `selection` counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.tables import read_table, stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.views import decided
from charaloom.errors import CharaloomError
from charaloom.evaluation.outfit_matcher import SEEN, Wardrobe
from charaloom.evaluation.training_pictures import Training
from charaloom.images.decoding import open_picture
from charaloom.vision.ccip import CcipMetric
from charaloom.vision.model_set import (
    CCIP,
    CLASSIFIERS,
    DETECTORS,
    Classifier,
    Detection,
    Detector,
    Shown,
    Tagged,
    Tagger,
    run,
)
from charaloom.vision.models import hub_file, open_session

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

FLOOR = 0.05  # below it a tag says nothing, as in measured.parquet
FAULTS = {  # what the tagger says of broken or wrong pictures, by the fault it proves
    "anatomy": ("bad_anatomy", "bad_proportions", "deformed", "extra_arms", "extra_legs", "missing_limb"),
    "hands": ("bad_hands", "extra_digits", "fewer_digits", "missing_finger"),
    "several people": ("2girls", "2boys", "3girls", "multiple_girls", "multiple_boys", "multiple_views"),
    "text": ("text_focus", "speech_bubble", "watermark", "signature", "artist_name", "english_text"),
    "style": ("comic", "monochrome", "greyscale", "sketch", "unfinished"),
    "quality": ("blurry", "jpeg_artifacts", "lowres", "scan_artifacts"),
}
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
