"""Measured: whatever needs pixels or a neural network, once per picture; every later decision reads this table.

A picture is decoded once and shown to imgutils' own functions. Its rows are kept in `work` by its SHA-256, under a key
of the model files and of this stage's version: a killed run keeps what it has, and a picture that two characters share,
or a new threshold anywhere below, measures nothing again.
"""

import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.errors import CharaloomError
from charaloom.files import digest
from charaloom.manifest import lineage, read_manifest, write_manifest
from charaloom.models import picture_models
from charaloom.pictures import generation_parameters, open_picture
from charaloom.stages import STAGE_VERSION
from charaloom.tables import MEASURED, read_table, stream_table, write_table

if TYPE_CHECKING:
    from PIL import Image

PathLike = str | os.PathLike[str]
Row = dict[str, Any]
Box = tuple[int, int, int, int]
Detection = tuple[Box, float]  # box, confidence

TAG_FLOOR = 0.05
DECIMALS = 4  # of every score that a decision reads: the last bits differ between processors
HASH_SIDE = 32
VECTORS = ("ccip", "tag_embedding")
SECONDS_BETWEEN_LINES = 10.0
NOT_IN_LINEAGE = ("hub", "lock")  # the models manifest says what came of them


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
) -> None:
    """Write one row per view of every picture of `raw` (schema MEASURED), and at least one row per row of `raw`.

    `hub` is the cache that `fetch_models` filled; `work` a folder that survives failures; characters may share it.
    Raises CharaloomError where a model is missing or broken; a picture that cannot be measured only gets a `problem`.
    """
    facts = {key: value for key, value in params.items() if key not in NOT_IN_LINEAGE}
    inputs = {"raw": os.fspath(raw_manifest), "models": os.fspath(models_manifest)}
    origin = lineage("measured", character, facts, inputs)
    cache = Path(work) / cache_key(read_manifest(models_manifest), params["threads"])
    total = sum(1 for _ in stream_table(raw, ["picture"]))
    progress = Progress(character, total)
    rows: list[Row] = []
    with picture_models(hub, params["threads"]):
        prove_models.cache_clear()  # another run in this process may have used another hub
        for picture in stream_table(raw, ["picture", "bytes", "problem"]):
            found, fresh = measured_picture(picture, cache)
            rows.extend(found)
            progress.step(fresh)
    write_table(table, rows, MEASURED, "view", origin)
    whole = [row for row in rows if row["kind"] == "picture"]
    counts = {
        "pictures": len(whole),
        "problems": sum(row["problem"] is not None for row in whole),
        "views": len(rows),
        "persons": sum(row["kind"] == "person" for row in rows),
    }
    write_manifest(manifest, origin, {"table": table}, counts)


def cache_key(models: dict[str, Any], threads: int) -> str:
    """What the numbers of a picture depend on besides its bytes."""
    return digest({"models": models["models"], "version": STAGE_VERSION["measured"], "threads": threads})[:16]


def measured_picture(picture: Row, cache: Path) -> tuple[list[Row], bool]:
    """Rows of one picture and whether they were measured now; from the cache where they were measured before."""
    name = picture["picture"]
    if picture["problem"] is not None or picture["bytes"] is None:
        return [unmeasured(name, picture["problem"] or "no file")], False
    file = cache / name[:2] / f"{name}.parquet"
    known = read_kept(file)
    if known is not None:
        return known, False
    rows = views_of(name, picture["bytes"])
    if rows[0]["problem"] is None:
        write_table(file, rows, MEASURED, "view", {"picture": name})
    return as_arrays(rows), True


def read_kept(file: Path) -> list[Row] | None:
    """Rows of a picture measured before; None where there are none or the file is damaged."""
    import pyarrow as pa

    try:
        return as_arrays(read_table(file))
    except (FileNotFoundError, pa.ArrowInvalid, OSError):
        return None


def as_arrays(rows: list[Row]) -> list[Row]:
    """Vectors as float32 arrays: a tenth of the memory of lists of floats."""
    import numpy as np

    for row in rows:
        for name in VECTORS:
            if row[name] is not None:
                row[name] = np.asarray(row[name], dtype=np.float32)
    return rows


def unmeasured(picture: str, problem: str) -> Row:
    empty: Row = dict.fromkeys(MEASURED.names)
    return {**empty, "view": f"{picture}/picture/0", "picture": picture, "kind": "picture", "problem": problem}


def views_of(name: str, data: bytes) -> list[Row]:
    """All rows of one picture: itself, its persons, and the heads and half bodies in it."""
    prove_models()
    try:
        image = open_picture(data)
        found = detections(image)
        persons = [box for box, _ in found["person"]]
        rows = [picture_row(name, image, data, found)]
        for kind in ("person", "halfbody", "head"):
            for index, (box, confidence) in enumerate(found[kind]):
                row = view_row(name, kind, index, image, box)
                person = index if kind == "person" else owner(box, persons)
                rows.append({**row, "confidence": confidence, "person": person})
        return rows
    except Exception as error:  # decoders and models raise whatever they stumble on; the models themselves are proved
        return [unmeasured(name, f"cannot be measured: {type(error).__name__}: {error}")]


@cache
def prove_models() -> None:
    """Every model runs on a plain sheet: what fails here is a model's fault and stops the run, not a picture's."""
    from PIL import Image

    sheet = Image.new("RGB", (64, 64), (255, 255, 255))
    try:
        picture_row("sheet", sheet, b"", detections(sheet))
    except Exception as error:  # a missing file, broken weights, wrong labels: hub, runtime and JSON raise their own
        raise CharaloomError(
            f"the picture models do not run: {type(error).__name__}: {error}. Check that the models rule ran with the "
            f"current models lock (config/models.yaml); its files are in `hub` below the work folder."
        ) from error


def detections(image: "Image.Image") -> dict[str, list[Detection]]:
    """Persons, half bodies, heads and faces by imgutils' detectors at their own thresholds, the surest first."""
    from imgutils.detect import detect_faces, detect_halfbody, detect_heads, detect_person

    detectors = {"person": detect_person, "halfbody": detect_halfbody, "head": detect_heads, "face": detect_faces}
    return {kind: ordered(detect(image)) for kind, detect in detectors.items()}


def ordered(found: list[tuple[Box, str, float]]) -> list[Detection]:
    """Boxes with an area in a total order: confidence first, then the box."""
    solid: list[Detection] = [
        ((int(x0), int(y0), int(x1), int(y1)), rounded(score))
        for (x0, y0, x1, y1), _, score in found
        if x1 > x0 and y1 > y0
    ]
    return sorted(solid, key=lambda item: (-item[1], item[0]))


def owner(box: Box, persons: list[Box]) -> int | None:
    """Index of the person whose box covers most of this one, if it covers half of it; the smaller one of equals."""
    covered = [(overlap(box, person), -area(person), -index) for index, person in enumerate(persons)]
    best = max(covered, default=None)
    return -best[2] if best and best[0] >= area(box) / 2 else None


def area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(one: Box, other: Box) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def picture_row(name: str, image: "Image.Image", data: bytes, found: dict[str, list[Detection]]) -> Row:
    from imgutils.validate import anime_classify_score, anime_rating_score, get_ai_created_score, get_monochrome_score

    return {
        **view_row(name, "picture", 0, image, (0, 0, image.width, image.height)),
        "classes": scored(anime_classify_score(image)),
        "monochrome": rounded(get_monochrome_score(image)),
        "rating": scored(anime_rating_score(image)),
        "ai": rounded(get_ai_created_score(image)),
        "generated": generation_parameters(data),
        "persons": len(found["person"]),
        "heads": len(found["head"]),
        "faces": len(found["face"]),
    }


def view_row(name: str, kind: str, index: int, image: "Image.Image", box: Box) -> Row:
    """What is measured of every view; who it is and what tags it has only of pictures and persons."""
    from imgutils.metrics import laplacian_score

    view = image if kind == "picture" else image.crop(box)
    row: Row = {
        **dict.fromkeys(MEASURED.names),
        "view": f"{name}/{kind}/{index}",
        "picture": name,
        "kind": kind,
        **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
        "width": view.width,
        "height": view.height,
        "sharpness": rounded(laplacian_score(view)),
        "phash": perceptual_hash(view),
    }
    return {**row, **who_and_what(view)} if kind in ("picture", "person") else row


def who_and_what(view: "Image.Image") -> Row:
    """CCIP embedding, tags and tagger embedding of a view."""
    from imgutils.metrics import ccip_extract_feature
    from imgutils.tagging import get_wd14_tags

    formats = ("rating", "general", "embedding")
    rating, tags, embedding = get_wd14_tags(view, general_threshold=TAG_FLOOR, fmt=formats)
    return {
        "ccip": ccip_extract_feature(view),
        "tags": scored(tags),
        "tag_rating": scored(rating),
        "tag_embedding": embedding,
    }


def rounded(score: float) -> float:
    return round(float(score), DECIMALS)


def scored(scores: dict[str, float]) -> list[Row]:
    """Named scores in a total order, the highest first."""
    pairs = [{"name": str(name), "score": rounded(score)} for name, score in scores.items()]
    return sorted(pairs, key=lambda pair: (-pair["score"], pair["name"]))


def perceptual_hash(image: "Image.Image") -> str:
    """64-bit pHash as 16 hex digits: signs of the lowest 8 x 8 cosine frequencies of a 32 px grey thumbnail."""
    import numpy as np
    from PIL import Image
    from scipy.fft import dctn

    grey = np.asarray(image.convert("L").resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX), dtype=np.float64)
    low = dctn(grey)[:8, :8]
    bits: np.ndarray = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()


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
