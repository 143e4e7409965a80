"""All picture models as one battery: a picture is decoded once, resized once for each size, and shown to all of them.

The models, their files and what is read out of them are dghs-imgutils'; so are the results (tests/unit/test_battery.py
compares each with imgutils' own function). imgutils decodes and resizes a picture anew for every model, which costs
more than a small model itself.

Each ONNX session computes with one thread, and many threads may use it: who wants more of a machine shows several
pictures side by side. So on processors neither the number of threads nor the company of a picture decides a bit.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.vision.models import CUDA, hub_file, open_session, provider

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Box = tuple[int, int, int, int]
Detection = tuple[Box, float]  # box in pixels of the picture, confidence
Scores = dict[str, float]

CCIP = ("deepghs/ccip_onnx", "ccip-caformer-24-randaug-pruned/model_feat.onnx")
TAGGER = ("deepghs/wd14_tagger_with_embeddings", "SmilingWolf/wd-swinv2-tagger-v3/model.onnx")
LABELS = ("SmilingWolf/wd-swinv2-tagger-v3", "selected_tags.csv")
CLASSIFIERS = {
    "classes": ("deepghs/anime_classification", "mobilenetv3_v1.5_dist"),
    "rating": ("deepghs/anime_rating", "mobilenetv3_v1_pruned_ls0.1"),
    "monochrome": ("deepghs/monochrome_detect", "mobilenetv3_large_100_dist_safe2"),
    "ai": ("deepghs/anime_ai_check", "mobilenetv3_sce_dist"),
    "aesthetic": ("deepghs/anime_aesthetic", "swinv2pv3_v0_448_ls0.2_x"),
}
DETECTORS = {  # repo, model, confidence and overlap that imgutils' function has by default
    "person": ("deepghs/anime_person_detection", "person_detect_v1.1_m", 0.3, 0.5),
    "halfbody": ("deepghs/anime_halfbody_detection", "halfbody_detect_v1.0_s", 0.5, 0.7),
    "head": ("deepghs/anime_head_detection", "head_detect_v2.0_s", 0.4, 0.7),
    "face": ("deepghs/anime_face_detection", "face_detect_v1.4_s", 0.25, 0.7),
}
AESTHETIC_LABELS = ("worst", "low", "normal", "good", "great", "best", "masterpiece")
RATING, GENERAL = "9", "0"  # categories of the tagger's labels
CCIP_SIDE, CLASSIFIER_SIDE, DETECTOR_SIDE = 384, 384, 640  # where a graph names none
SCALINGS = {  # mean and deviation of each channel that a family of models was trained with
    "plain": ((0.0,) * 3, (1.0,) * 3),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "ccip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
END_TO_END_OVERLAP = 0.7  # of detectors that tell boxes apart themselves
GPU_PICTURES = 16  # shown at once where a GPU computes


class Shown:
    """A picture or a cut of one, RGB, resized at most once to each size and way that a model asks for."""

    def __init__(self, image: "Image.Image"):
        self.image = image
        self.made: dict[tuple[Any, ...], np.ndarray] = {}

    def resized(self, width: int, height: int, resample: int) -> "np.ndarray":
        """uint8 [height, width, 3], out of shape."""
        import numpy as np

        key = width, height, resample
        if key not in self.made:
            self.made[key] = np.asarray(self.image.resize((width, height), resample))
        return self.made[key]

    def planes(self, width: int, height: int, resample: int, scaling: str) -> "np.ndarray":
        """float32 [3, height, width], its bytes scaled by one of SCALINGS."""
        import numpy as np

        key = width, height, resample, scaling
        if key not in self.made:
            pixels, table = self.resized(width, height, resample), scaled(scaling)
            self.made[key] = np.stack([table[channel].take(pixels[:, :, channel]) for channel in range(3)])
        return self.made[key]

    def squared(self, side: int) -> "np.ndarray":
        """uint8 [side, side, 3], in the middle of a white square."""
        import numpy as np
        from PIL import Image

        image, edge = self.image, max(self.image.size)
        square = Image.new("RGB", (edge, edge), (255, 255, 255))
        square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
        return np.asarray(square if edge == side else square.resize((side, side), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Tagged:
    """What the tagger says of a view: ratings, general tags above the floor, and its embedding, float32."""

    rating: Scores
    tags: Scores
    embedding: "np.ndarray"


class Battery:
    """One session per model from the hub cache `hub`, for as long as it lives. Raises what a missing or broken file
    raises."""

    def __init__(self, hub: Path):
        self.detectors = {kind: Detector(hub, *place) for kind, place in DETECTORS.items()}
        self.classifiers = {name: Classifier(hub, *place) for name, place in CLASSIFIERS.items()}
        self.ccip = open_session(hub_file(hub, *CCIP))
        self.tagger = Tagger(hub)

    def detect(self, pictures: Sequence[Shown]) -> list[dict[str, list[Detection]]]:
        """Persons, half bodies, heads and faces of each picture at imgutils' own thresholds."""
        found = {kind: detector.detect(pictures) for kind, detector in self.detectors.items()}
        return [{kind: boxes[index] for kind, boxes in found.items()} for index in range(len(pictures))]

    def classify(self, pictures: Sequence[Shown]) -> list[dict[str, Scores]]:
        """Scores by label of each classifier, for each picture."""
        found = {name: classifier.scores(pictures) for name, classifier in self.classifiers.items()}
        return [{name: scores[index] for name, scores in found.items()} for index in range(len(pictures))]

    def aesthetic(self, scores: Scores) -> float:
        """Share of pictures that the aesthetic model likes less, 0 to 1."""
        return self.classifiers["aesthetic"].percentile(sum(scores[n] * i for i, n in enumerate(AESTHETIC_LABELS)))

    def identify(self, views: Sequence[Shown]) -> "np.ndarray":
        """CCIP embeddings, float32 [n, 768]."""
        from PIL import Image

        how = Image.Resampling.BILINEAR
        (embeddings,) = run(self.ccip, ["output"], [v.planes(CCIP_SIDE, CCIP_SIDE, how, "ccip") for v in views])
        return embeddings

    def tag(self, views: Sequence[Shown], floor: float) -> list[Tagged]:
        return self.tagger.tag(views, floor)


class Classifier:
    """imgutils.generic.ClassifyModel: labels in meta.json, another preprocessing where preprocess.json says so."""

    def __init__(self, hub: Path, repo: str, model: str):
        import numpy as np

        self.session = open_session(hub_file(hub, repo, f"{model}/model.onnx"))
        self.labels: list[str] = json.loads(hub_file(hub, repo, f"{model}/meta.json").read_text())["labels"]
        shape = self.session.get_inputs()[0].shape
        self.height, self.width = (edge if isinstance(edge, int) else CLASSIFIER_SIDE for edge in shape[2:])
        self.preprocess = None
        special = hub_file(hub, repo, f"{model}/preprocess.json")
        if special.exists():
            from imgutils.preprocess import create_pillow_transforms

            self.preprocess = create_pillow_transforms(json.loads(special.read_text())["stages"])
        samples = hub_file(hub, repo, f"{model}/samples.npz")
        self.samples = np.load(samples)["arr_0"] if samples.exists() else None

    def scores(self, pictures: Sequence[Shown]) -> list[Scores]:
        (found,) = run(self.session, ["output"], [self.prepared(picture) for picture in pictures])
        return [dict(zip(self.labels, row, strict=True)) for row in found.tolist()]

    def prepared(self, picture: Shown) -> "np.ndarray":
        from PIL import Image

        if self.preprocess:
            return self.preprocess(picture.image)
        return picture.planes(self.width, self.height, Image.Resampling.BILINEAR, "half")

    def percentile(self, score: float) -> float:
        """As imgutils' AestheticModel reads `samples.npz`: [2, n], scores and the share of pictures below each."""
        import numpy as np

        assert self.samples is not None
        return float(np.interp(score, self.samples[0], self.samples[1]))


class Detector:
    """imgutils.generic.YOLOModel for one kind of thing; importing imgutils' own costs seconds and half a gigabyte."""

    def __init__(self, hub: Path, repo: str, model: str, confidence: float, overlap: float):
        self.session = open_session(hub_file(hub, repo, f"{model}/model.onnx"))
        self.confidence, self.overlap = confidence, overlap
        facts = self.session.get_modelmeta().custom_metadata_map
        size = json.loads(facts["imgsz"]) if "imgsz" in facts else (DETECTOR_SIDE, DETECTOR_SIDE)
        self.size: tuple[int, int] = (int(size[0]), int(size[1]))
        kind = hub_file(hub, repo, f"{model}/model_type.json")
        self.kind = json.loads(kind.read_text())["model_type"] if kind.exists() else "yolo"

    def detect(self, pictures: Sequence[Shown]) -> list[list[Detection]]:
        from PIL import Image

        how = Image.Resampling.BICUBIC
        (found,) = run(self.session, ["output0"], [picture.planes(*self.size, how, "plain") for picture in pictures])
        return [self.boxes(output, picture.image.size) for output, picture in zip(found, pictures, strict=True)]

    def boxes(self, output: "np.ndarray", size: tuple[int, int]) -> list[Detection]:
        """Boxes in pixels of the picture, the surest first, out of one of the three forms that detectors answer in."""
        import numpy as np

        if self.kind == "rtdetr":  # [n, 4 + kinds], centre and size as shares
            boxes, scores, scale, overlap = corners(output[:, :4]), output[:, 4:].max(1), (1.0, 1.0), self.overlap
        elif output.shape[-1] == 6:  # [n, 6], corners and score, already told apart
            boxes, scores, scale, overlap = output[:, :4], output[:, 4], self.size, END_TO_END_OVERLAP
        else:  # [4 + kinds, n], centre and size
            boxes, scores, scale, overlap = corners(output[:4].T), output[4:].max(0), self.size, self.overlap
        boxes, scores = boxes[scores > self.confidence], scores[scores > self.confidence]
        best = apart(boxes, scores, overlap)
        shown, own = np.float32([*scale, *scale]), np.float32([*size, *size])
        edges = (boxes[best] / shown * own).clip(0, own).round().astype(int)
        return [(tuple(box), float(score)) for box, score in zip(edges.tolist(), scores[best], strict=True)]


def corners(boxes: "np.ndarray") -> "np.ndarray":
    """Centre, width and height [n, 4] as left, top, right and bottom."""
    import numpy as np

    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)


def apart(boxes: "np.ndarray", scores: "np.ndarray", overlap: float) -> list[int]:
    """Indices of boxes [n, 4], the surest first, without those that lie on a surer one; sides count whole pixels."""
    import numpy as np

    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order, kept = scores.argsort()[::-1], []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        low, high = np.maximum(boxes[first, :2], boxes[rest, :2]), np.minimum(boxes[first, 2:], boxes[rest, 2:])
        both = np.maximum(0, high - low + 1).prod(1)
        order = rest[both / (areas[first] + areas[rest] - both) <= overlap]
    return kept


class Tagger:
    """The WD tagger as imgutils.tagging.get_wd14_tags reads it."""

    def __init__(self, hub: Path):
        self.session = open_session(hub_file(hub, *TAGGER))
        with hub_file(hub, *LABELS).open(encoding="utf-8", newline="") as file:
            labels = [(row["name"], row["category"]) for row in csv.DictReader(file)]
        self.rating = [(index, name) for index, (name, category) in enumerate(labels) if category == RATING]
        self.general = [(index, name) for index, (name, category) in enumerate(labels) if category == GENERAL]
        self.side: int = self.session.get_inputs()[0].shape[1]

    def tag(self, views: Sequence[Shown], floor: float) -> list[Tagged]:
        import numpy as np

        outputs = [output.name for output in self.session.get_outputs()]
        pixels = [view.squared(self.side)[:, :, ::-1].astype(np.float32) for view in views]
        predictions, embeddings = run(self.session, outputs, pixels)
        return [
            Tagged(
                {name: float(scores[index]) for index, name in self.rating},
                {name: float(scores[index]) for index, name in self.general if scores[index] > floor},
                embedding,
            )
            for scores, embedding in zip(predictions, embeddings, strict=True)
        ]


def run(session: Any, names: list[str], inputs: list["np.ndarray"]) -> list["np.ndarray"]:
    """Outputs for some inputs [n, …]: at once on a GPU where the graph has a dynamic batch axis, else one by one.

    A processor gains nothing from a batch, and sums may change their last bits in company.
    """
    import numpy as np

    given = session.get_inputs()[0]
    if on_gpu(session) and not isinstance(given.shape[0], int):
        return session.run(names, {given.name: np.stack(inputs)})
    each = [session.run(names, {given.name: one[None]}) for one in inputs]
    return [np.concatenate(parts) for parts in zip(*each, strict=True)]


def pictures_at_once() -> int:
    """How many pictures are worth showing together on this machine."""
    return GPU_PICTURES if provider() == CUDA else 1


def on_gpu(session: Any) -> bool:
    return session.get_providers()[0] == CUDA


@cache
def scaled(name: str) -> "np.ndarray":
    """What each of 256 byte values becomes in each of three channels, float32 [3, 256], by one of SCALINGS."""
    import numpy as np

    mean, std = SCALINGS[name]
    shares = (np.arange(256) / 255.0).astype(np.float32).astype(np.float64)  # imgutils goes through single precision
    return np.stack([(shares - m) / s for m, s in zip(mean, std, strict=True)]).astype(np.float32)
