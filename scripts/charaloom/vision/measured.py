"""Measured: whatever needs pixels or a neural network, once per picture; every later decision reads this table.

A picture is decoded once for all picture models (model_set.py). Its rows are cached in `work` by its SHA-256 and
the model files: neither a killed run, nor a picture that characters share, nor a new threshold measures one again.
"""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from charaloom.artifacts.files import digest
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.sealed import sealed_file, whole_sealed
from charaloom.artifacts.tables import MEASURED, read_table, stream_table, write_stream, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Measured
from charaloom.config.stages import STAGE_VERSION
from charaloom.errors import CharaloomError
from charaloom.images.boxes import area, box_of, overlap
from charaloom.images.decoding import open_drawn, open_lazily
from charaloom.images.fingerprints import perceptual_hash, thumbnail
from charaloom.images.generated import generation_parameters
from charaloom.vision.model_set import Box, Detection, ModelInput, ModelSet, Scores, TaggerOutput, pictures_per_batch

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


TAG_FLOOR = 0.05  # score above which a tag is stored, set by hand
VECTORS = ("ccip", "tag_embedding")
LARGE_PIXELS = 16_000_000  # a picture of 100 megapixels takes a gigabyte while it is decoded; set by hand
BATCHES_AHEAD = 2  # per thread, set by hand: bounds the pictures in memory
SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class MeasuredInputs:
    """The files that measuring reads; `hub` is the cache that `fetch_models` filled."""

    raw: PathLike
    models_manifest: PathLike
    hub: PathLike
    upstream: Sequence[PathLike]


def measure(
    character: str,
    params: Measured,
    inputs: MeasuredInputs,
    table: PathLike,
    manifest: PathLike,
    work: PathLike,
    threads: int = 1,
) -> None:
    """Write the views of every picture of `inputs.raw` (schema MEASURED): at least one row per picture.

    `work` is a cache that characters may share. `threads` pictures are measured side by side, which changes no number.
    Raises CharaloomError where a model is missing or broken; a picture that cannot be measured gets a `problem`.
    """
    origin = lineage("measured", character, params.plain(), inputs.upstream)
    measurer = Measurer(Path(work) / cache_key(read_manifest(inputs.models_manifest)), Path(inputs.hub))
    progress = Progress(character, sum(1 for _ in stream_table(inputs.raw, ["picture"])))
    counts: Counter[str] = Counter(pictures=0, problems=0, views=0, persons=0)
    pictures = stream_table(inputs.raw, ["picture", "bytes", "problem"])

    def rows() -> Iterator[Row]:
        for views, fresh in in_order(measurer, pictures, threads):
            for view in views:
                counts.update(views=1, pictures=view["kind"] == "picture", persons=view["kind"] == "person")
                counts.update(problems=view["problem"] is not None)
            yield from sorted(views, key=lambda view: view["view"])
            progress.step(fresh)

    write_stream(table, rows(), MEASURED)
    write_manifest(manifest, origin, {"table": table}, dict(counts))


def cache_key(models: Row) -> str:
    """A digest of everything besides its bytes that a picture's numbers depend on; `models` is the models manifest."""
    return digest({"models": models["models"], "version": STAGE_VERSION["measured"]})[:16]


def forget(work: Path, pictures: Iterable[str]) -> None:
    """Delete what the caches in `work` hold of pictures, by SHA-256."""
    for file in (file for picture in pictures for file in work.glob(f"*/{picture[:2]}/{picture}.*")):
        file.unlink(missing_ok=True)


Views = tuple[list[Row], bool]  # rows of one picture, and whether they were measured now


def in_order(measurer: "Measurer", pictures: Iterable[Row], threads: int) -> Iterator[Views]:
    """The views of each picture, in the order of `pictures`, measured in `threads` threads."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[list[Views]]] = deque()
        for batch in batches(pictures, measurer.batch):
            pending.append(pool.submit(measurer, batch))
            if len(pending) >= BATCHES_AHEAD * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def batches(pictures: Iterable[Row], size: int) -> Iterator[list[Row]]:
    remaining = iter(pictures)
    while batch := list(islice(remaining, size)):
        yield batch


class Measurer:
    """Measures pictures, or reads their rows from `cache`; opens the models for the first picture that is not there."""

    def __init__(self, cache: Path, hub: Path):
        import cv2

        cv2.setNumThreads(1)  # as the models: the parallel work is several pictures
        self.cache, self.hub = cache, hub
        self.batch = pictures_per_batch()
        self.lock, self.large = Lock(), Lock()

    @property
    def models(self) -> ModelSet:
        with self.lock:  # several threads may be the first to need them
            return self.opened

    @cached_property
    def opened(self) -> ModelSet:
        """The models, tried on a blank picture: an error there is a model's, not a picture's, and stops the run."""
        from PIL import Image

        try:
            models = ModelSet(self.hub)
            rows_of(models, [("sheet", b"", Image.new("RGB", (64, 64), (255, 255, 255)))])
        except Exception as error:  # a missing file, broken weights, wrong labels: each reader raises errors of its own
            raise CharaloomError(
                f"the picture models do not run: {type(error).__name__}: {error}. Check that the models rule ran with "
                f"the current models lock (config/models.yaml); its files are in `hub` below the work folder."
            ) from error
        return models

    def __call__(self, pictures: list[Row]) -> list[Views]:
        cached = {picture["picture"]: self.cached(picture) for picture in pictures}
        missing = [picture for picture in pictures if cached[picture["picture"]] is None]
        with self.large if any(is_large(picture["bytes"]) for picture in missing) else nullcontext():
            fresh = self.measured(missing) if missing else {}
        for name, rows in fresh.items():
            if rows[0]["problem"] is None:
                with sealed_file(self.file(name)) as part:
                    write_table(part, rows, MEASURED, "view")
        return [
            (cached[name] or as_arrays(fresh.get(name) or []), cached[name] is None)
            for name in (picture["picture"] for picture in pictures)
        ]

    def file(self, name: str) -> Path:
        return self.cache / name[:2] / f"{name}.parquet"

    def cached(self, picture: Row) -> list[Row] | None:
        """Rows of a picture that is in the cache, or that has no usable file; None where it has to be measured."""
        if picture["problem"] is not None or picture["bytes"] is None:
            return [unmeasured(picture["picture"], picture["problem"] or "no file")]
        try:
            file = whole_sealed(self.file(picture["picture"]))
            return as_arrays(read_table(file)) if file else None
        except OSError:  # another job measures it just now
            return None

    def measured(self, pictures: list[Row]) -> dict[str, list[Row]]:
        """Rows by picture; one that a decoder or a model fails on gets a row with the `problem`."""
        rows: dict[str, list[Row]] = {}
        decoded: list[Drawn] = []
        places: dict[str, tuple[int, int]] = {}  # of the drawn part in the picture
        for picture in pictures:
            name = picture["picture"]
            try:
                drawn, places[name] = drawn_part(picture["bytes"])
                decoded.append((name, picture["bytes"], drawn))
            except Exception as error:  # decoders raise errors of many kinds
                rows[name] = [unmeasured(name, problem_of(error))]
        models = self.models
        try:
            fresh = rows_of(models, decoded)
            rows |= {name: in_the_picture(fresh[name], *places[name]) for name in fresh}
        except Exception as error:  # a model fails on one of them: measure each alone
            if len(decoded) < 2:
                rows |= {name: [unmeasured(name, problem_of(error))] for name, _, _ in decoded}
            else:
                for picture in pictures:
                    rows |= self.measured([picture])
        return rows


def is_large(data: bytes) -> bool:
    """Whether a picture is one that no other large one may be in memory with."""
    try:
        with open_lazily(data) as image:
            return image.width * image.height > LARGE_PIXELS
    except Exception:  # `measured` says what is wrong with it
        return False


def problem_of(error: Exception) -> str:
    return f"cannot be measured: {type(error).__name__}: {error}"


def unmeasured(picture: str, problem: str) -> Row:
    """The only row of a picture that has a `problem`."""
    empty: Row = dict.fromkeys(MEASURED.names)
    return {**empty, "view": f"{picture}/picture/0", "picture": picture, "kind": "picture", "problem": problem}


def as_arrays(rows: list[Row]) -> list[Row]:
    """Vectors as float32 arrays: a tenth of the memory of lists of floats."""
    import numpy as np

    for row in rows:
        for name in VECTORS:
            if row[name] is not None:
                row[name] = np.asarray(row[name], dtype=np.float32)
    return rows


# --- the rows of a batch of pictures


Drawn = tuple[str, bytes, "Image.Image"]  # a picture's name and file, and what is drawn on it


def drawn_part(data: bytes) -> tuple["Image.Image", tuple[int, int]]:
    """What is drawn on a picture, and its place (left, top) there. Raises what Pillow raises where it is no picture."""
    picture, box = open_drawn(data)
    return picture if box == (0, 0, *picture.size) else picture.crop(box), box[:2]


def rows_of(models: ModelSet, pictures: list[Drawn]) -> dict[str, list[Row]]:
    """All rows of pictures: the drawn part, the persons in it, and their half bodies and heads.

    CCIP and tagger see the drawn part, and each of several persons: no decision reads them of a person who is alone.
    """
    import numpy as np

    inputs = [ModelInput(image) for _, _, image in pictures]
    rows: dict[str, list[Row]] = {}
    described: list[tuple[Row, ModelInput]] = []  # views that CCIP and tagger see
    for (name, data, image), whole, detections, scores in zip(
        pictures, inputs, map(ordered_by_kind, models.detect(inputs)), models.classify(inputs), strict=True
    ):
        grey = np.asarray(image.convert("L"))
        picture = view_row(name, "picture", 0, grey, (0, 0, *image.size))
        picture |= picture_facts(data, grey, detections, scores)
        picture["aesthetic"] = rounded(models.aesthetic(scores["aesthetic"]))
        rows[name] = [picture, *part_rows(name, image, grey, detections)]
        described.append((picture, whole))
        persons = [row for row in rows[name] if row["kind"] == "person"]
        if len(persons) > 1:
            described += [(row, ModelInput(image.crop(box_of(row)))) for row in persons]
    views = [view for _, view in described]
    for (row, _), ccip, tags in zip(described, models.identify(views), models.tag(views, TAG_FLOOR), strict=True):
        row.update({"ccip": ccip, **tag_columns(tags)})
    return rows


def in_the_picture(rows: list[Row], left: int, top: int) -> list[Row]:
    """Rows with their boxes in pixels of the picture, instead of those of its drawn part at (left, top)."""
    for row in rows:
        row.update(x0=row["x0"] + left, y0=row["y0"] + top, x1=row["x1"] + left, y1=row["y1"] + top)
    return rows


def ordered_by_kind(detections: dict[str, list[Detection]]) -> dict[str, list[Detection]]:
    return {kind: ordered(boxes) for kind, boxes in detections.items()}


def ordered(detections: list[Detection]) -> list[Detection]:
    """Detections with an area in a total order: confidence first, then the box."""
    solid = [((x0, y0, x1, y1), rounded(score)) for (x0, y0, x1, y1), score in detections if x1 > x0 and y1 > y0]
    return sorted(solid, key=lambda detection: (-detection[1], detection[0]))


def part_rows(name: str, image: "Image.Image", grey: "np.ndarray", detections: dict[str, list[Detection]]) -> list[Row]:
    """Persons, half bodies and heads, each with the person that it belongs to."""
    persons = [box for box, _ in detections["person"]]
    rows = []
    for kind in ("person", "halfbody", "head"):
        for index, (box, confidence) in enumerate(detections[kind]):
            person = index if kind == "person" else owner(box, persons)
            row = {**view_row(name, kind, index, grey, box), "confidence": confidence, "person": person}
            rows.append(row | head_thumbnail(image.crop(box)) if kind == "head" else row)
    return rows


def picture_facts(
    data: bytes, grey: "np.ndarray", detections: dict[str, list[Detection]], scores: dict[str, Scores]
) -> Row:
    """The columns of whole pictures."""
    height, width = grey.shape
    return {
        **thumbnail_columns(grey, (0, 0, width, height)),
        "classes": scored(scores["classes"]),
        "monochrome": rounded(scores["monochrome"]["monochrome"]),
        "rating": scored(scores["rating"]),
        "ai": rounded(scores["ai"]["ai"]),
        "generated": generation_parameters(data),
        "persons": len(detections["person"]),
        "heads": len(detections["head"]),
        "faces": len(detections["face"]),
    }


def thumbnail_columns(grey: "np.ndarray", box: Box) -> Row:
    """What copies are told by: the picture in grey, small."""
    x0, y0, x1, y1 = box
    small = thumbnail(grey[y0:y1, x0:x1])
    return {"thumbnail": small.tobytes(), "thumbnail_width": small.shape[1]}


def head_thumbnail(head: "Image.Image") -> Row:
    """What expressions are told apart by: luma, and below it the two colour differences of YCbCr."""
    import numpy as np

    planes = [thumbnail(np.asarray(plane)) for plane in head.convert("RGB").convert("YCbCr").split()]
    return {"thumbnail": np.concatenate(planes).tobytes(), "thumbnail_width": planes[0].shape[1]}


def view_row(name: str, kind: str, index: int, grey: "np.ndarray", box: Box) -> Row:
    """The columns of every view; `grey` is the whole picture, uint8 [h, w], `box` in its pixels."""
    x0, y0, x1, y1 = box
    view = grey[y0:y1, x0:x1]
    return {
        **dict.fromkeys(MEASURED.names),
        "view": f"{name}/{kind}/{index}",
        "picture": name,
        "kind": kind,
        **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
        "width": x1 - x0,
        "height": y1 - y0,
        "sharpness": rounded(sharpness(view)),
        "phash": perceptual_hash(view),
    }


def tag_columns(output: TaggerOutput) -> Row:
    return {
        "tags": scored(output.tags),
        "tag_rating": scored(output.rating),
        "tag_embedding": output.embedding,
    }


def owner(box: Box, persons: list[Box]) -> int | None:
    """Index of the person whose box covers most of `box`, if it covers half of it; of equals the smaller one."""
    covered = [(overlap(box, person), -area(person), -index) for index, person in enumerate(persons)]
    best = max(covered, default=None)
    return -best[2] if best and best[0] >= area(box) / 2 else None


def scored(scores: dict[str, float]) -> list[Row]:
    """Named scores in a total order, highest first."""
    pairs = [{"name": str(name), "score": rounded(score)} for name, score in scores.items()]
    return sorted(pairs, key=lambda pair: (-pair["score"], pair["name"]))


def sharpness(grey: "np.ndarray") -> float:
    """Variance of the Laplacian, imgutils.metrics.laplacian_score; 16-bit numbers hold it exactly."""
    import cv2

    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0] ** 2)


class Progress:
    """A line on the error stream every SECONDS_BETWEEN_LINES: pictures done, per second, minutes left."""

    def __init__(self, character: str, total: int) -> None:
        self.character, self.total, self.done, self.fresh = character, total, 0, 0
        self.started = self.last_line = time.monotonic()

    def step(self, fresh: bool) -> None:
        self.done += 1
        self.fresh += fresh
        now = time.monotonic()
        if self.done == self.total or now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            print(self.line(now - self.started), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        rate = self.fresh / seconds if seconds > 0 else 0.0
        left = f", {(self.total - self.done) / rate / 60:.1f} min left" if rate and self.done < self.total else ""
        return f"{self.character}: measured {self.done} of {self.total} ({self.fresh} now, {rate:.2f} per second{left})"
