"""What a preview shows, measured by the models that measured the pictures it was learned from.

Rating first: a picture above the allowed rating is not looked at any further. Then who it shows (CCIP distance to
held-out pictures), which outfit (the nearest views by their clothes), which of the prompt's tags are seen, its faults,
and which training picture it repeats. Every number is of one picture; `scores` counts.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.tables import picture_shards, read_table, stream_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Previews
from charaloom.errors import CharaloomError
from charaloom.evaluation.outfit_matcher import SEEN, OutfitMatcher
from charaloom.evaluation.training_pictures import TrainingPictures
from charaloom.images.decoding import open_picture
from charaloom.runtime.hub import hub_file
from charaloom.vision.ccip import CcipMetric
from charaloom.vision.model_set import (
    CCIP,
    CCIP_SIDE,
    CLASSIFIERS,
    DETECTORS,
    Classifier,
    Detection,
    Detector,
    ModelInput,
    Tagger,
    TaggerOutput,
    run,
)
from charaloom.vision.models import open_session

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


FLOOR = 0.05  # tagger score below which a tag is ignored, as in measured.parquet
HELD_OUT_BATCH = 16  # held-out pictures in memory at a time
FAULTS = {  # tags of broken or wrong pictures, by the fault they prove
    "anatomy": ("bad_anatomy", "bad_proportions", "deformed", "extra_arms", "extra_legs", "missing_limb"),
    "hands": ("bad_hands", "extra_digits", "fewer_digits", "missing_finger"),
    "several people": ("2girls", "2boys", "3girls", "multiple_girls", "multiple_boys", "multiple_views"),
    "text": ("text_focus", "speech_bubble", "watermark", "signature", "artist_name", "english_text"),
    "style": ("comic", "monochrome", "greyscale", "sketch", "unfinished"),
    "quality": ("blurry", "jpeg_artifacts", "lowres", "scan_artifacts"),
}
UNSEEN: Row = {  # columns of a picture that was withheld
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


class Judge:
    """The models of the hub cache, and everything of the character that previews are compared with.

    CCIP sees the person that the detector finds, in previews and held-out pictures alike, as the filters compare person
    with person; the whole picture where it finds none.
    """

    def __init__(
        self,
        hub: PathLike,
        held_out: list[Path],
        core: Sequence[str],
        measured: PathLike,
        clustered: PathLike,
        params: Previews,
    ):
        self.hub, self.held_out, self.core = Path(hub), held_out, tuple(core)
        self.rating_model, self.memorised = params.rating_model, params.memorised
        self.threshold = ccip_threshold(self.hub)
        self.measured, self.views = measured, read_table(clustered, ["view", "picture", "kind", "split", "outfit"])

    # What follows is opened for the first picture: a run whose batches are all stored needs none of it.

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
        """CCIP embeddings [n, 768] of the held-out pictures."""
        import numpy as np

        pictures = (ModelInput(open_picture(data)) for data in held_out_pictures(self.held_out))
        parts = []
        while batch := list(islice(pictures, HELD_OUT_BATCH)):
            parts.append(self.identify(batch, self.persons(batch)))
        return np.concatenate(parts)

    @cached_property
    def outfits(self) -> OutfitMatcher:
        return OutfitMatcher(self.measured, self.views)

    @cached_property
    def training(self) -> TrainingPictures:
        return TrainingPictures(self.measured, self.views)

    def judged(self, pictures: Sequence["Image.Image"], prompt_tags: Sequence[Sequence[str]]) -> list[Row]:
        """The measured columns of `scores.parquet`, per picture; `prompt_tags`: what the prompt of each asks for."""
        shown = [ModelInput(picture) for picture in pictures]
        ratings = self.classifier.scores(shown)
        kept = [rating["r15"] + rating["r18"] < self.rating_model for rating in ratings]
        rows = [{"kept": allowed, "rating": scored(rating)} for allowed, rating in zip(kept, ratings, strict=True)]
        allowed_places = [index for index, allowed in enumerate(kept) if allowed]
        measured = self.measures(
            [shown[index] for index in allowed_places], [prompt_tags[index] for index in allowed_places]
        )
        for index, measures in zip(allowed_places, measured, strict=True):
            rows[index] |= measures
        return [{**UNSEEN, "asked": list(tags), **row} for row, tags in zip(rows, prompt_tags, strict=True)]

    def measures(self, shown: Sequence[ModelInput], prompt_tags: Sequence[Sequence[str]]) -> list[Row]:
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
                    "outfit_drawn": self.outfits.outfit_of(tagged.tags),
                    "seen": [tag for tag in prompt_tags[index] if tagged.tags.get(tag, 0.0) >= SEEN],
                    "core_seen": self.core_seen(tagged.tags),
                    "faults": faults(tagged, persons[index], heads[index], prompt_tags[index]),
                    "training_likeness": likeness,
                    "training_view": view,
                    "memorised": likeness >= self.memorised,
                    "embedding_vector": [round(float(value), 4) for value in tagged.embedding],
                }
            )
        return rows

    def persons(self, shown: Sequence[ModelInput]) -> list[list[Detection]]:
        return self.detectors["person"].detect(shown)

    def identify(self, shown: Sequence[ModelInput], persons: Sequence[list[Detection]]) -> "np.ndarray":
        """CCIP embeddings [n, 768] of the largest person of each picture."""
        from PIL import Image

        cut = [ModelInput(largest_person(picture.image, boxes)) for picture, boxes in zip(shown, persons, strict=True)]
        how = Image.Resampling.BILINEAR
        (features,) = run(self.ccip, ["output"], [picture.planes(CCIP_SIDE, CCIP_SIDE, how, "ccip") for picture in cut])
        return features

    def core_seen(self, tags: dict[str, float]) -> float | None:
        """Share of the character's core tags that the tagger sees; None where there are none."""
        if not self.core:
            return None
        return rounded(sum(tags.get(tag, 0.0) >= SEEN for tag in self.core) / len(self.core))


def scored(scores: dict[str, float]) -> list[Row]:
    return [{"name": name, "score": score} for name, score in sorted(scores.items())]


def ccip_threshold(hub: Path) -> float:
    """CCIP's own distance up to which two pictures show one character, from the pinned model's metrics.json."""
    repo, file = CCIP
    return float(json.loads(hub_file(hub, repo, f"{Path(file).parent}/metrics.json").read_text())["threshold"])


def largest_person(picture: "Image.Image", boxes: list[Detection]) -> "Image.Image":
    """The largest of the detected persons, cut from the picture; the whole picture where there is none."""
    if not boxes:
        return picture
    return picture.crop(max((box for box, _ in boxes), key=lambda box: ((box[2] - box[0]) * (box[3] - box[1]), box)))


def faults(
    tagged: TaggerOutput, persons: list[Detection], heads: list[Detection], prompt_tags: Sequence[str]
) -> list[str]:
    """What is wrong with a picture, in words; what its prompt asks for is no fault."""
    names = {
        fault
        for fault, tags in FAULTS.items()
        if any(tagged.tags.get(tag, 0.0) >= SEEN and tag not in prompt_tags for tag in tags)
    }
    if not persons and not heads:
        names.add("nobody")
    if len(heads) > 1 and len(persons) > 1:
        names.add("several people")
    return sorted(names)


# --- held-out pictures


def held_out_files(dataset: PathLike) -> list[Path]:
    """Shards of the dataset's held-out split. Raises CharaloomError where they hold no picture."""
    import pyarrow.parquet as pq

    shards = picture_shards(dataset, "held_out")
    if not sum(pq.read_metadata(path).num_rows for path in shards):
        raise CharaloomError(f"{dataset}: no held-out pictures to judge by. Raise filtered.held_out above 0.")
    return shards


def held_out_pictures(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        for row in stream_table(path, ["image"]):
            yield row["image"]["bytes"]
