"""The set of picture models: detectors, classifiers, CCIP and tagger share one decoded picture and its resized copies.

Files, preprocessing and results are those of dghs-imgutils (tests/unit/vision/test_model_set.py compares each model
with imgutils' own function), which decodes and resizes a picture again for every model: more work than a small model.

Each ONNX session computes with one thread and may be used by several: a machine is filled by pictures side by side. So
on a CPU neither the number of threads nor the other pictures of a batch change a bit of a result.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.errors import CharaloomError
from charaloom.runtime.hub import hub_file
from charaloom.vision.models import CUDA, open_session, provider

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

RIGHT_FILES = "take both files from one revision of the model (config/models.yaml, `models.hub`)"
Box = tuple[int, int, int, int]
Detection = tuple[Box, float]  # box in pixels of the picture, confidence 0 to 1
Scores = dict[str, float]  # 0 to 1, by label

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
DETECTORS = {  # repo, model, thresholds of confidence and of overlap (IoU): the defaults of imgutils' functions
    "person": ("deepghs/anime_person_detection", "person_detect_v1.1_m", 0.3, 0.5),
    "halfbody": ("deepghs/anime_halfbody_detection", "halfbody_detect_v1.0_s", 0.5, 0.7),
    "head": ("deepghs/anime_head_detection", "head_detect_v2.0_s", 0.4, 0.7),
    "face": ("deepghs/anime_face_detection", "face_detect_v1.4_s", 0.25, 0.7),
}
AESTHETIC_LABELS = ("worst", "low", "normal", "good", "great", "best", "masterpiece")
READ_LABELS = {  # of classifiers, that decisions read
    "rating": ("safe", "r15", "r18"),
    "monochrome": ("monochrome",),
    "ai": ("ai",),
    "aesthetic": AESTHETIC_LABELS,
}
RATING, GENERAL = "9", "0"  # categories of the tagger's labels in selected_tags.csv
CCIP_SIDE, CLASSIFIER_SIDE, DETECTOR_SIDE = 384, 384, 640  # pixels, as in imgutils, where a graph names none
NORMALISATIONS = {  # mean and standard deviation per channel, as in imgutils' preprocessing of each family of models
    "plain": ((0.0,) * 3, (1.0,) * 3),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "ccip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
END_TO_END_OVERLAP = 0.7  # IoU threshold of imgutils for detectors whose graph suppresses overlapping boxes itself
GPU_PICTURES = 16  # pictures per batch on a GPU, set by hand


class ModelInput:
    """A picture or a crop, RGB, that keeps each resized and normalised copy for the other models."""

    def __init__(self, image: "Image.Image"):
        self.image = image
        self.copies: dict[tuple[Any, ...], np.ndarray] = {}

    def resized(self, width: int, height: int, resample: int) -> "np.ndarray":
        """uint8 [height, width, 3], without regard to the aspect ratio."""
        import numpy as np

        key = width, height, resample
        if key not in self.copies:
            self.copies[key] = np.asarray(self.image.resize((width, height), resample))
        return self.copies[key]

    def planes(self, width: int, height: int, resample: int, normalisation: str) -> "np.ndarray":
        """float32 [3, height, width], resized and normalised by one of NORMALISATIONS."""
        import numpy as np

        key = width, height, resample, normalisation
        if key not in self.copies:
            pixels, table = self.resized(width, height, resample), normalisation_table(normalisation)
            self.copies[key] = np.stack([table[channel].take(pixels[:, :, channel]) for channel in range(3)])
        return self.copies[key]

    def padded(self, side: int) -> "np.ndarray":
        """uint8 [side, side, 3], centred on a white square and resized."""
        import numpy as np
        from PIL import Image

        image, edge = self.image, max(self.image.size)
        square = Image.new("RGB", (edge, edge), (255, 255, 255))
        square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
        return np.asarray(square if edge == side else square.resize((side, side), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class TaggerOutput:
    """Of one view: scores of the ratings, of the general tags above the floor, and the embedding, float32 [1024]."""

    rating: Scores
    tags: Scores
    embedding: "np.ndarray"


class ModelSet:
    """One session per model of the hub cache `hub`. A missing or broken file raises the error of its reader."""

    def __init__(self, hub: Path):
        self.detectors = {kind: Detector(hub, *place) for kind, place in DETECTORS.items()}
        self.classifiers = {name: Classifier(hub, *place) for name, place in CLASSIFIERS.items()}
        self.ccip = open_session(hub_file(hub, *CCIP))
        self.tagger = Tagger(hub)

    def detect(self, pictures: Sequence[ModelInput]) -> list[dict[str, list[Detection]]]:
        """Of each picture its persons, half bodies, heads and faces, at the thresholds of DETECTORS."""
        detections = {kind: detector.detect(pictures) for kind, detector in self.detectors.items()}
        return [{kind: boxes[index] for kind, boxes in detections.items()} for index in range(len(pictures))]

    def classify(self, pictures: Sequence[ModelInput]) -> list[dict[str, Scores]]:
        """Of each picture the scores by classifier and label."""
        scores = {name: classifier.scores(pictures) for name, classifier in self.classifiers.items()}
        return [{name: rows[index] for name, rows in scores.items()} for index in range(len(pictures))]

    def aesthetic(self, scores: Scores) -> float:
        """Share of pictures that the aesthetic model rates lower, 0 to 1; `scores` are those of its labels."""
        return self.classifiers["aesthetic"].percentile(sum(scores[n] * i for i, n in enumerate(AESTHETIC_LABELS)))

    def identify(self, views: Sequence[ModelInput]) -> "np.ndarray":
        """CCIP embeddings, float32 [n, 768]."""
        from PIL import Image

        resample = Image.Resampling.BILINEAR
        inputs = [view.planes(CCIP_SIDE, CCIP_SIDE, resample, "ccip") for view in views]
        (embeddings,) = run(self.ccip, ["output"], inputs)
        return embeddings

    def tag(self, views: Sequence[ModelInput], floor: float) -> list[TaggerOutput]:
        """Ratings, general tags with a score above `floor`, and embedding of each view."""
        return self.tagger.tag(views, floor)


class Classifier:
    """As imgutils.generic.ClassifyModel: labels in meta.json, preprocessing in preprocess.json where there is one."""

    def __init__(self, hub: Path, repo: str, model: str):
        import numpy as np

        self.session = open_session(hub_file(hub, repo, f"{model}/model.onnx"))
        meta = hub_file(hub, repo, f"{model}/meta.json")
        self.labels: list[str] = json.loads(meta.read_text())["labels"]
        check_labels(meta, self.labels, self.session, "output")
        kind = next((name for name, place in CLASSIFIERS.items() if place == (repo, model)), "")
        if missing := sorted(set(READ_LABELS.get(kind, ())) - set(self.labels)):
            raise CharaloomError(f"{meta}: has no label {', '.join(missing)}; {RIGHT_FILES}")
        shape = self.session.get_inputs()[0].shape
        self.height, self.width = (edge if isinstance(edge, int) else CLASSIFIER_SIDE for edge in shape[2:])
        self.preprocess = None
        preprocess = hub_file(hub, repo, f"{model}/preprocess.json")
        if preprocess.exists():
            from imgutils.preprocess import create_pillow_transforms

            self.preprocess = create_pillow_transforms(json.loads(preprocess.read_text())["stages"])
        samples = hub_file(hub, repo, f"{model}/samples.npz")
        self.samples = np.load(samples)["arr_0"] if samples.exists() else None
        if self.samples is not None and (self.samples.ndim != 2 or len(self.samples) != 2):
            raise CharaloomError(f"{samples}: is no table of two rows, scores and shares; {RIGHT_FILES}")

    def scores(self, pictures: Sequence[ModelInput]) -> list[Scores]:
        """Of each picture the scores by label."""
        (scores,) = run(self.session, ["output"], [self.prepared(picture) for picture in pictures])
        return [dict(zip(self.labels, row, strict=True)) for row in scores.tolist()]

    def prepared(self, picture: ModelInput) -> "np.ndarray":
        """float32 [3, height, width]."""
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
    """As imgutils.generic.YOLOModel with one class; importing imgutils' own costs seconds and half a gigabyte."""

    def __init__(self, hub: Path, repo: str, model: str, confidence: float, overlap: float):
        self.session = open_session(hub_file(hub, repo, f"{model}/model.onnx"))
        self.confidence, self.overlap = confidence, overlap
        facts = self.session.get_modelmeta().custom_metadata_map
        size = json.loads(facts["imgsz"]) if "imgsz" in facts else (DETECTOR_SIDE, DETECTOR_SIDE)
        self.size: tuple[int, int] = (int(size[0]), int(size[1]))
        kind = hub_file(hub, repo, f"{model}/model_type.json")
        self.kind = json.loads(kind.read_text())["model_type"] if kind.exists() else "yolo"

    def detect(self, pictures: Sequence[ModelInput]) -> list[list[Detection]]:
        """Of each picture its detections, most confident first."""
        from PIL import Image

        resample = Image.Resampling.BICUBIC
        inputs = [picture.planes(*self.size, resample, "plain") for picture in pictures]
        (outputs,) = run(self.session, ["output0"], inputs)
        return [self.boxes(output, picture.image.size) for output, picture in zip(outputs, pictures, strict=True)]

    def boxes(self, output: "np.ndarray", size: tuple[int, int]) -> list[Detection]:
        """Detections, most confident first, in a picture of `size` (width, height) pixels.

        `output` has one of three layouts: RT-DETR [n, 4 + classes], cxcywh as shares of the sides; end-to-end YOLO
        [n, 6], xyxy, confidence, class; YOLO [4 + classes, n], cxcywh; both in pixels of the model's input.
        """
        import numpy as np

        input_size: tuple[float, float] = self.size
        overlap = self.overlap
        if self.kind == "rtdetr":
            boxes, scores, input_size = cxcywh_to_xyxy(output[:, :4]), output[:, 4:].max(1), (1.0, 1.0)
        elif output.shape[-1] == 6:
            boxes, scores, overlap = output[:, :4], output[:, 4], END_TO_END_OVERLAP
        else:
            boxes, scores = cxcywh_to_xyxy(output[:4].T), output[4:].max(0)
        boxes, scores = boxes[scores > self.confidence], scores[scores > self.confidence]
        best = non_maximum_suppression(boxes, scores, overlap)
        from_scale, to_scale = np.float32([*input_size, *input_size]), np.float32([*size, *size])
        edges = (boxes[best] / from_scale * to_scale).clip(0, to_scale).round().astype(int)
        return [(tuple(box), float(score)) for box, score in zip(edges.tolist(), scores[best], strict=True)]


def cxcywh_to_xyxy(boxes: "np.ndarray") -> "np.ndarray":
    """Boxes [n, 4] of centre x and y, width and height as left, top, right and bottom."""
    import numpy as np

    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)


def non_maximum_suppression(boxes: "np.ndarray", scores: "np.ndarray", overlap: float) -> list[int]:
    """Indices of boxes (xyxy [n, 4]), best score first, without those whose IoU with a better one is above `overlap`.

    As in imgutils, sides count whole pixels: right - left + 1.
    """
    import numpy as np

    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order, kept = scores.argsort()[::-1], []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        intersections = np.maximum(0, high - low + 1).prod(1)
        order = rest[intersections / (areas[best] + areas[rest] - intersections) <= overlap]
    return kept


class Tagger:
    """The WD tagger, as imgutils.tagging.get_wd14_tags runs it."""

    def __init__(self, hub: Path):
        self.session = open_session(hub_file(hub, *TAGGER))
        place = hub_file(hub, *LABELS)
        with place.open(encoding="utf-8", newline="") as file:
            labels = [(row["name"], row["category"]) for row in csv.DictReader(file)]
        check_labels(place, [name for name, _ in labels], self.session, self.session.get_outputs()[0].name)
        self.rating = [(index, name) for index, (name, category) in enumerate(labels) if category == RATING]
        self.general = [(index, name) for index, (name, category) in enumerate(labels) if category == GENERAL]
        self.side: int = self.session.get_inputs()[0].shape[1]

    def tag(self, views: Sequence[ModelInput], floor: float) -> list[TaggerOutput]:
        """Ratings, general tags with a score above `floor`, and embedding of each view."""
        import numpy as np

        outputs = [output.name for output in self.session.get_outputs()]
        pixels = [view.padded(self.side)[:, :, ::-1].astype(np.float32) for view in views]  # BGR, 0 to 255
        predictions, embeddings = run(self.session, outputs, pixels)
        return [
            TaggerOutput(
                {name: float(scores[index]) for index, name in self.rating},
                {name: float(scores[index]) for index, name in self.general if scores[index] > floor},
                embedding,
            )
            for scores, embedding in zip(predictions, embeddings, strict=True)
        ]


def check_labels(file: Path, labels: Sequence[str], session: Any, output: str) -> None:
    """Refuse a label file of another length than the model's output: every score would get another one's name.

    Where the graph leaves the length open, the model is run on a blank picture.
    """
    import numpy as np

    length = next(each.shape[-1] for each in session.get_outputs() if each.name == output)
    if not isinstance(length, int):
        graph_input = session.get_inputs()[0]
        shape = [edge if isinstance(edge, int) else CLASSIFIER_SIDE for edge in graph_input.shape[1:]]
        (scores,) = session.run([output], {graph_input.name: np.zeros([1, *shape], dtype=np.float32)})
        length = scores.shape[-1]
    if length != len(labels):
        raise CharaloomError(f"{file}: {len(labels)} labels, its model gives {length} scores; {RIGHT_FILES}")


def run(session: Any, names: list[str], inputs: list["np.ndarray"]) -> list["np.ndarray"]:
    """The named outputs [n, …] for n inputs: one batch on a GPU if the graph's batch axis is dynamic, else one by one.

    A CPU gains nothing from a batch, whose size may change the last bits of sums.
    """
    import numpy as np

    graph_input = session.get_inputs()[0]
    if on_gpu(session) and not isinstance(graph_input.shape[0], int):
        return session.run(names, {graph_input.name: np.stack(inputs)})
    outputs = [session.run(names, {graph_input.name: single[None]}) for single in inputs]
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def pictures_per_batch() -> int:
    """How many pictures this machine measures together."""
    return GPU_PICTURES if provider() == CUDA else 1


def on_gpu(session: Any) -> bool:
    return session.get_providers()[0] == CUDA


@cache
def normalisation_table(name: str) -> "np.ndarray":
    """float32 [3, 256]: the normalised value of each byte in each channel, by one of NORMALISATIONS."""
    import numpy as np

    mean, std = NORMALISATIONS[name]
    shares = (np.arange(256) / 255.0).astype(np.float32).astype(np.float64)  # imgutils goes through single precision
    return np.stack([(shares - m) / s for m, s in zip(mean, std, strict=True)]).astype(np.float32)
