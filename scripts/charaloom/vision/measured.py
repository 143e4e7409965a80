"""Measured: whatever needs pixels or a neural network, once per picture; every later decision reads this table.

A picture is decoded once and shown to all picture models (battery.py). Its rows are kept in `work` by its SHA-256,
under a key of the model files and of this stage's version: a killed run keeps what it has, and a picture that two
characters share, or a new threshold anywhere below, measures nothing again.
"""

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import digest
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.tables import MEASURED, read_table, stream_table, write_stream, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.stages import STAGE_VERSION
from charaloom.errors import CharaloomError
from charaloom.images.boxes import area, box_of, overlap
from charaloom.images.decoding import open_picture
from charaloom.images.fingerprints import perceptual_hash, thumbnail
from charaloom.images.generated import generation_parameters
from charaloom.vision.model_set import Battery, Box, Detection, Shown, Tagged, pictures_at_once

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


TAG_FLOOR = 0.05
VECTORS = ("ccip", "tag_embedding")
WAITING = 2  # handfuls of pictures per thread that are read ahead: memory holds no more
SECONDS_BETWEEN_LINES = 10.0


def measure(
    character: str,
    params: dict[str, Any],
    raw: PathLike,
    raw_manifest: PathLike,
    models_manifest: PathLike,
    hub: PathLike,
    table: PathLike,
    manifest: PathLike,
    work: PathLike,
    threads: int = 1,
) -> None:
    """Write one row per view of every picture of `raw` (schema MEASURED), and at least one row per row of `raw`.

    `hub` is the cache that `fetch_models` filled; `work` a folder that survives failures; characters may share it.
    `threads` pictures are looked at side by side, which changes no number.
    Raises CharaloomError where a model is missing or broken; a picture that cannot be measured only gets a `problem`.
    """
    inputs = {"raw": os.fspath(raw_manifest), "models": os.fspath(models_manifest)}
    origin = lineage("measured", character, params, inputs)
    look = Measuring(Path(work) / cache_key(read_manifest(models_manifest)), Path(hub))
    progress = Progress(character, sum(1 for _ in stream_table(raw, ["picture"])))
    counts: Counter[str] = Counter(pictures=0, problems=0, views=0, persons=0)
    pictures = stream_table(raw, ["picture", "bytes", "problem"])

    def rows() -> Iterator[Row]:
        for found, fresh in in_order(look, pictures, threads):
            for row in found:
                counts.update(views=1, pictures=row["kind"] == "picture", persons=row["kind"] == "person")
                counts.update(problems=row["problem"] is not None)
            yield from sorted(found, key=lambda row: row["view"])
            progress.step(fresh)

    write_stream(table, rows(), MEASURED, origin)
    write_manifest(manifest, origin, {"table": table}, dict(counts))


def cache_key(models: dict[str, Any]) -> str:
    """What the numbers of a picture depend on besides its bytes."""
    return digest({"models": models["models"], "version": STAGE_VERSION["measured"]})[:16]


Found = tuple[list[Row], bool]  # rows of one picture, and whether they were measured now


def in_order(look: "Measuring", pictures: Iterable[Row], threads: int) -> Iterator[Found]:
    """What `look` finds of each picture, in their order, several looked at side by side."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[Found]]] = deque()
        for handful in handfuls(pictures, look.at_once):
            waiting.append(pool.submit(look, handful))
            if len(waiting) >= WAITING * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def handfuls(pictures: Iterable[Row], size: int) -> Iterator[list[Row]]:
    left = iter(pictures)
    while some := list(islice(left, size)):
        yield some


class Measuring:
    """Measures pictures, or finds what was measured before in `kept`. The models are opened when one is new."""

    def __init__(self, kept: Path, hub: Path):
        import cv2

        cv2.setNumThreads(1)  # as the models: whoever wants more looks at several pictures
        self.kept, self.hub = kept, hub
        self.at_once = pictures_at_once()
        self.lock = Lock()

    @property
    def battery(self) -> Battery:
        with self.lock:  # several threads may be the first to ask
            return self.opened

    @cached_property
    def opened(self) -> Battery:
        """The models, proved on a plain sheet: what fails there is a model's fault and stops the run, no picture's."""
        from PIL import Image

        try:
            battery = Battery(self.hub)
            looked_at(battery, [("sheet", b"", Image.new("RGB", (64, 64), (255, 255, 255)))])
        except Exception as error:  # a missing file, broken weights, wrong labels: runtime and JSON raise their own
            raise CharaloomError(
                f"the picture models do not run: {type(error).__name__}: {error}. Check that the models rule ran with "
                f"the current models lock (config/models.yaml); its files are in `hub` below the work folder."
            ) from error
        return battery

    def __call__(self, pictures: list[Row]) -> list[Found]:
        found = {picture["picture"]: self.known(picture) for picture in pictures}
        fresh = [picture for picture in pictures if found[picture["picture"]] is None]
        new = self.measured(fresh) if fresh else {}
        for name, rows in new.items():
            if rows[0]["problem"] is None:
                write_table(self.file(name), rows, MEASURED, "view", {"picture": name})
        rows_of = [(found[picture["picture"]], new.get(picture["picture"])) for picture in pictures]
        return [(known or as_arrays(rows or []), known is None) for known, rows in rows_of]

    def file(self, name: str) -> Path:
        return self.kept / name[:2] / f"{name}.parquet"

    def known(self, picture: Row) -> list[Row] | None:
        """Rows of a picture that was measured before, or never can be; None where it is new or its file damaged."""
        import pyarrow as pa

        if picture["problem"] is not None or picture["bytes"] is None:
            return [unmeasured(picture["picture"], picture["problem"] or "no file")]
        try:
            return as_arrays(read_table(self.file(picture["picture"])))
        except (FileNotFoundError, pa.ArrowInvalid, OSError):
            return None

    def measured(self, pictures: list[Row]) -> dict[str, list[Row]]:
        """Rows by picture; a picture that breaks a decoder or the models only says so."""
        rows: dict[str, list[Row]] = {}
        decoded: list[tuple[str, bytes, Image.Image]] = []
        for picture in pictures:
            name = picture["picture"]
            try:
                decoded.append((name, picture["bytes"], open_picture(picture["bytes"])))
            except Exception as error:  # decoders raise whatever they stumble on
                rows[name] = [unmeasured(name, in_words(error))]
        battery = self.battery
        try:
            rows |= looked_at(battery, decoded)
        except Exception as error:  # one of them upsets a model: find out which
            if len(decoded) < 2:
                rows |= {name: [unmeasured(name, in_words(error))] for name, _, _ in decoded}
            else:
                for picture in pictures:
                    rows |= self.measured([picture])
        return rows


def in_words(error: Exception) -> str:
    return f"cannot be measured: {type(error).__name__}: {error}"


def unmeasured(picture: str, problem: str) -> Row:
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


# --- one picture, or a handful


def looked_at(battery: Battery, pictures: list[tuple[str, bytes, "Image.Image"]]) -> dict[str, list[Row]]:
    """All rows of pictures (name, file, decoded): themselves, their persons, and the heads and half bodies in them.

    Whoever is alone in a picture is named and tagged once, by the whole picture: no decision looks at that crop.
    """
    import numpy as np

    shown = [Shown(image) for _, _, image in pictures]
    rows: dict[str, list[Row]] = {}
    cut: list[tuple[Row, Shown]] = []  # views that are named and tagged
    for (name, data, image), whole, found, scores in zip(
        pictures, shown, map(ordered_all, battery.detect(shown)), battery.classify(shown), strict=True
    ):
        grey = np.asarray(image.convert("L"))
        first = {**view_row(name, "picture", 0, grey, (0, 0, *image.size)), **picture_facts(data, grey, found, scores)}
        first["aesthetic"] = rounded(battery.aesthetic(scores["aesthetic"]))
        rows[name] = [first, *part_rows(name, grey, found)]
        cut.append((first, whole))
        persons = [row for row in rows[name] if row["kind"] == "person"]
        cut += [(row, Shown(image.crop(box_of(row)))) for row in persons if len(persons) > 1]
    views = [view for _, view in cut]
    for (row, _), ccip, tagged in zip(cut, battery.identify(views), battery.tag(views, TAG_FLOOR), strict=True):
        row.update({"ccip": ccip, **what(tagged)})
    return rows


def ordered_all(found: dict[str, list[Detection]]) -> dict[str, list[Detection]]:
    return {kind: ordered(boxes) for kind, boxes in found.items()}


def ordered(found: list[Detection]) -> list[Detection]:
    """Boxes with an area in a total order: confidence first, then the box."""
    solid = [((x0, y0, x1, y1), rounded(score)) for (x0, y0, x1, y1), score in found if x1 > x0 and y1 > y0]
    return sorted(solid, key=lambda item: (-item[1], item[0]))


def part_rows(name: str, grey: "np.ndarray", found: dict[str, list[Detection]]) -> list[Row]:
    """Persons, half bodies and heads, each with the person that it belongs to."""
    persons = [box for box, _ in found["person"]]
    rows = []
    for kind in ("person", "halfbody", "head"):
        for index, (box, confidence) in enumerate(found[kind]):
            person = index if kind == "person" else owner(box, persons)
            rows.append({**view_row(name, kind, index, grey, box), "confidence": confidence, "person": person})
    return rows


def picture_facts(
    data: bytes, grey: "np.ndarray", found: dict[str, list[Detection]], scores: dict[str, dict[str, float]]
) -> Row:
    """What is measured of whole pictures only."""
    small = thumbnail(grey)
    return {
        "thumbnail": small.tobytes(),
        "thumbnail_width": small.shape[1],
        "classes": scored(scores["classes"]),
        "monochrome": rounded(scores["monochrome"]["monochrome"]),
        "rating": scored(scores["rating"]),
        "ai": rounded(scores["ai"]["ai"]),
        "generated": generation_parameters(data),
        "persons": len(found["person"]),
        "heads": len(found["head"]),
        "faces": len(found["face"]),
    }


def view_row(name: str, kind: str, index: int, grey: "np.ndarray", box: Box) -> Row:
    """What is measured of every view; `grey` is the whole picture, uint8 [h, w]."""
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


def what(tagged: Tagged) -> Row:
    return {
        "tags": scored(tagged.tags),
        "tag_rating": scored(tagged.rating),
        "tag_embedding": tagged.embedding,
    }


def owner(box: Box, persons: list[Box]) -> int | None:
    """Index of the person whose box covers most of this one, if it covers half of it; the smaller one of equals."""
    covered = [(overlap(box, person), -area(person), -index) for index, person in enumerate(persons)]
    best = max(covered, default=None)
    return -best[2] if best and best[0] >= area(box) / 2 else None


def scored(scores: dict[str, float]) -> list[Row]:
    """Named scores in a total order, the highest first."""
    pairs = [{"name": str(name), "score": rounded(score)} for name, score in scores.items()]
    return sorted(pairs, key=lambda pair: (-pair["score"], pair["name"]))


def sharpness(grey: "np.ndarray") -> float:
    """Variance of the Laplacian, imgutils.metrics.laplacian_score; 16-bit numbers hold it exactly."""
    import cv2

    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0] ** 2)


class Progress:
    """A line every few seconds on the error stream: how many, how fast, how long still."""

    def __init__(self, character: str, total: int) -> None:
        self.character, self.total, self.done, self.fresh = character, total, 0, 0
        self.started = self.told = time.monotonic()

    def step(self, fresh: bool) -> None:
        self.done += 1
        self.fresh += fresh
        now = time.monotonic()
        if self.done == self.total or now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            print(self.line(now - self.started), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        rate = self.fresh / seconds if seconds > 0 else 0.0
        left = f", {(self.total - self.done) / rate / 60:.1f} min left" if rate and self.done < self.total else ""
        return f"{self.character}: measured {self.done} of {self.total} ({self.fresh} now, {rate:.2f} per second{left})"
