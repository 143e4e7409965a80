"""Drawings of demo characters in every expression, and copies of some: how duplicates are told from variants."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from PIL import Image

from charaloom.artifacts.files import sha256_bytes
from charaloom.artifacts.tables import RAW, write_table
from charaloom.config.layers import DEFAULTS, read_config
from charaloom.config.named_files import read_lock
from charaloom.config.params import Filtered, Measured, Models
from charaloom.curation.duplicates import drop_duplicates
from charaloom.curation.views import read_views
from charaloom.demo.world.building import SIZES, cast_of
from charaloom.demo.world.cast import BACKGROUNDS, EXPRESSIONS, STYLES, draw_staging
from charaloom.demo.world.drawing import draw_group
from charaloom.vision.measured import MeasuredInputs, measure
from charaloom.vision.models import fetch_models

HUB = Path(__file__).parents[1] / "resources" / "demo" / "models"
COPIES = ("encoded", "resized", "cropped")


@dataclass(frozen=True)
class Drawn:
    """A file: which drawing it is of, in which expression, and how it was copied (empty: it was not)."""

    drawing: int
    expression: str
    copied: str
    data: bytes


@dataclass(frozen=True)
class Counts:
    """What the filter made of them."""

    variants: int
    kept: int
    copies: int
    found: int
    missed: tuple[str, ...]


def draw(number: int, seed: int) -> list[Drawn]:
    """Each drawing in every expression, one of them also in each kind of copy."""
    rng = Random(seed)
    stars, others = cast_of(rng, 4)
    cast = [*stars, *others]
    drawn = []
    for drawing in range(number):
        somebody, staging, style = cast[drawing % len(cast)], draw_staging(rng), STYLES[drawing % len(STYLES)]
        outfit, background = rng.choice(somebody.outfits), rng.choice(BACKGROUNDS)
        times, base, noise = rng.choice((1, 1, 2)), rng.choice(SIZES), rng.random()
        size = (base[0] * times, base[1] * times)
        for expression in EXPRESSIONS:
            people = [(somebody, outfit, replace(staging, expression=expression))]
            picture, _ = draw_group(people, background, style, size, Random(noise))
            drawn.append(Drawn(drawing, expression, "", encoded(picture, "PNG")))
            if expression == EXPRESSIONS[drawing % len(EXPRESSIONS)]:
                drawn += [Drawn(drawing, expression, kind, copy_of(picture, kind, rng)) for kind in COPIES]
    return drawn


def copy_of(picture: Image.Image, kind: str, rng: Random) -> bytes:
    """A copy as boards and messengers make them."""
    if kind == "encoded":
        return encoded(picture, rng.choice(("JPEG", "WEBP")), quality=rng.randint(60, 90))
    if kind == "resized":
        share = rng.uniform(0.6, 0.97)
        smaller = picture.resize(
            (round(picture.width * share), round(picture.height * share)), Image.Resampling.BICUBIC
        )
        return encoded(smaller, "JPEG", quality=rng.randint(70, 90))
    left, top, right, bottom = (rng.uniform(0, 0.09) * side for side in (*picture.size, *picture.size))
    return encoded(
        picture.crop((round(left), round(top), round(picture.width - right), round(picture.height - bottom)))
    )


def encoded(picture: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def measured(drawn: list[Drawn], folder: Path) -> None:
    """Write raw.parquet and measured.parquet of the files, by the demo's picture models."""
    rows = [
        {"picture": sha256_bytes(file.data), "bytes": file.data, "size": len(file.data), "format": "PNG", "posts": []}
        for file in drawn
    ]
    write_table(folder / "raw.parquet", rows, RAW, "picture")
    lock = read_lock(str(HUB.with_suffix(".yaml")))
    fetch_models(Models.of({"lock": lock, "hub": str(HUB)}), folder / "hub", folder / "models.manifest.json")
    manifest = folder / "models.manifest.json"
    measure(
        character="hana",
        params=Measured(version=1),
        inputs=MeasuredInputs(folder / "raw.parquet", manifest, folder / "hub", [manifest]),
        table=folder / "measured.parquet",
        manifest=folder / "measured.manifest.json",
        work=folder / "work",
        threads=2,
    )


def counted(drawn: list[Drawn], folder: Path, variants: bool = True) -> Counts:
    """Variants that stay apart, and copies that share the group of what they copy."""
    config = read_config([DEFAULTS])["filtered"]
    facts = {"seed": 1, "tag": None, "ratings": ["general"], "version": 1, "variants": variants}
    params = Filtered.of({**config, **facts})
    views = [
        view for view in read_views(folder / "raw.parquet", folder / "measured.parquet", params) if view.is_candidate
    ]
    drop_duplicates(views, folder / "measured.parquet", params)
    group = {view.row["picture"]: view.duplicate_group for view in views if view.row["kind"] == "picture"}
    drawn = [file for file in drawn if sha256_bytes(file.data) in group]  # those in which one person is detected
    originals = {(file.drawing, file.expression): file for file in drawn if not file.copied}
    groups = {key: group[sha256_bytes(file.data)] for key, file in originals.items()}
    kept = {(drawing, group) for (drawing, _), group in groups.items()}
    copies = [file for file in drawn if file.copied and (file.drawing, file.expression) in groups]
    missed = [file for file in copies if group[sha256_bytes(file.data)] != groups[file.drawing, file.expression]]
    names = tuple(f"{file.drawing} {file.expression} {file.copied}" for file in missed)
    return Counts(len(originals), len(kept), len(copies), len(copies) - len(missed), names)


def report(number: int, seed: int, folder: Path) -> str:
    drawn = draw(number, seed)
    measured(drawn, folder)
    lines = {str(on): vars(counted(drawn, folder, on)) for on in (True, False)}
    return json.dumps(lines, indent=1)
