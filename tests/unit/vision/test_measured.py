"""Measuring with stand-in models: rows as imgutils gives them, the cache, bad pictures, same bytes."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from charaloom.artifacts.files import sha256_bytes
from charaloom.artifacts.tables import RAW, read_table, write_table
from charaloom.config.params import Measured, Models
from charaloom.errors import CharaloomError
from charaloom.images.decoding import open_picture
from charaloom.images.fingerprints import perceptual_hash
from charaloom.vision import measured
from charaloom.vision.measured import MeasuredInputs, Measurer, measure, owner
from charaloom.vision.models import fetch_models, picture_models
from tests.standins import read_lock, write_models

PARAMS = Measured(version=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a filled hub cache and its manifest."""
    folder = tmp_path_factory.mktemp("models")
    params = Models.of({"lock": read_lock(), "hub": str(write_models(folder / "source"))})
    fetch_models(params, folder / "hub", folder / "models.manifest.json")
    return folder


def sheet(*boxes: tuple[int, int, int, int], colour: str = "#c02040") -> Image.Image:
    image = Image.new("RGB", (320, 320), "white")
    for box in boxes:
        ImageDraw.Draw(image).rectangle(box, fill=colour)
    return image


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


ONE = png(sheet((20, 20, 150, 300)))
TWO = png(sheet((20, 20, 150, 300), (170, 20, 300, 300)))
BROKEN = png(sheet((20, 20, 150, 300), colour="#101010"))[:400]


def write_raw(folder: Path, pictures: list[bytes]) -> Path:
    rows = [
        {"picture": sha256_bytes(data), "bytes": data, "size": len(data), "format": "PNG", "problem": None, "posts": []}
        for data in pictures
    ]
    missing = {"picture": "missing:danbooru:7", "bytes": None, "size": None, "format": None, "posts": []}
    rows.append({**missing, "problem": "no file"})
    write_table(folder / "raw.parquet", rows, RAW, "picture")
    (folder / "raw.manifest.json").write_text("{}")
    return folder


def run(folder: Path, models: Path, work: Path, threads: int = 1) -> list[dict]:
    measure(
        character="hana",
        params=PARAMS,
        inputs=MeasuredInputs(
            raw=folder / "raw.parquet",
            models_manifest=models / "models.manifest.json",
            hub=models / "hub",
            upstream=[models / "models.manifest.json"],
        ),
        table=folder / "measured.parquet",
        manifest=folder / "measured.manifest.json",
        work=work,
        threads=threads,
    )
    return read_table(folder / "measured.parquet")


def test_rows_hold_the_numbers_of_imgutils(models: Path, tmp_path: Path) -> None:
    rows = run(write_raw(tmp_path, [ONE, TWO, BROKEN]), models, tmp_path / "work")
    by_view = {row["view"]: row for row in rows}
    one = by_view[f"{sha256_bytes(ONE)}/picture/0"]
    with picture_models(models / "hub", 1):
        from imgutils.detect import detect_person
        from imgutils.metrics import ccip_extract_feature, laplacian_score
        from imgutils.tagging import get_wd14_tags
        from imgutils.validate import anime_classify_score, get_monochrome_score

        image = Image.open(io.BytesIO(ONE))
        (box, _, confidence), *more = detect_person(image)
        assert not more
        person = by_view[f"{sha256_bytes(ONE)}/person/0"]
        assert tuple(person[key] for key in ("x0", "y0", "x1", "y1")) == box
        assert person["confidence"] == pytest.approx(confidence, abs=1e-4)
        assert np.array_equal(np.float32(one["ccip"]), ccip_extract_feature(image))
        assert person["ccip"] is person["tags"] is None, "alone in the picture: the picture's row has them"
        several = Image.open(io.BytesIO(TWO))
        second = by_view[f"{sha256_bytes(TWO)}/person/1"]
        cut = several.crop(tuple(second[key] for key in ("x0", "y0", "x1", "y1")))
        assert np.array_equal(np.float32(second["ccip"]), ccip_extract_feature(cut))
        tags = get_wd14_tags(image, general_threshold=0.05, fmt="general")
        assert {pair["name"]: pair["score"] for pair in one["tags"]} == pytest.approx(tags, abs=1e-4)
        assert one["monochrome"] == pytest.approx(get_monochrome_score(image), abs=1e-4)
        classes = {pair["name"]: pair["score"] for pair in one["classes"]}
        assert classes == pytest.approx(anime_classify_score(image), abs=1e-4)
        assert one["sharpness"] == pytest.approx(laplacian_score(image), abs=1e-3)
    assert (one["persons"], one["heads"], one["faces"]) == (1, 1, 1)
    assert one["generated"] is False
    assert one["person"] is None
    assert by_view[f"{sha256_bytes(ONE)}/head/0"]["person"] == 0
    assert by_view[f"{sha256_bytes(ONE)}/head/0"]["ccip"] is None


def test_people_bad_and_missing_pictures(models: Path, tmp_path: Path) -> None:
    rows = run(write_raw(tmp_path, [TWO, BROKEN]), models, tmp_path / "work")
    two = [row for row in rows if row["picture"] == sha256_bytes(TWO)]
    assert [row["kind"] for row in two if row["kind"] == "person"] == ["person", "person"]
    assert sorted(row["person"] for row in two if row["kind"] == "head") == [0, 1]
    broken = [row for row in rows if row["picture"] == sha256_bytes(BROKEN)]
    assert len(broken) == 1
    assert "cannot be measured" in broken[0]["problem"]
    missing = [row for row in rows if row["picture"] == "missing:danbooru:7"]
    assert [row["problem"] for row in missing] == ["no file"]
    counts = json.loads((tmp_path / "measured.manifest.json").read_text())["counts"]
    assert counts == {"pictures": 3, "problems": 2, "views": len(rows), "persons": 2}


def test_a_picture_is_measured_once(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(write_raw(tmp_path, [ONE, TWO]), models, tmp_path / "work")
    first = (tmp_path / "measured.parquet").read_bytes()

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Measurer, "measured", refuse)
    run(tmp_path, models, tmp_path / "work")
    assert (tmp_path / "measured.parquet").read_bytes() == first
    another = tmp_path / "another"
    another.mkdir()
    run(write_raw(another, [TWO]), models, tmp_path / "work")  # another character with a picture already seen


def test_threads_and_cached_rows_change_no_byte(models: Path, tmp_path: Path) -> None:
    pictures = [png(sheet((20, 20, 150, 200 + number))) for number in range(9)] + [TWO, BROKEN]
    run(write_raw(tmp_path, pictures), models, tmp_path / "work")
    first = (tmp_path / "measured.parquet").read_bytes()
    cached = sorted((tmp_path / "work").rglob("*.parquet"))
    for path in cached[::2]:
        path.unlink()
    run(tmp_path, models, tmp_path / "work", threads=3)
    assert (tmp_path / "measured.parquet").read_bytes() == first
    assert sorted((tmp_path / "work").rglob("*.parquet")) == cached


def test_a_picture_that_a_model_fails_on_spoils_no_other_of_its_batch(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a batch has several pictures: after a failure each is measured alone."""
    monkeypatch.setattr(measured, "pictures_per_batch", lambda: 3)
    undisturbed = run(write_raw(tmp_path, [ONE, TWO, BROKEN]), models, tmp_path / "work")
    rows_of = measured.rows_of

    def fail_on_two(models: object, pictures: list) -> dict:
        if any(data == TWO for _, data, _ in pictures):
            raise ValueError("a model fails")
        return rows_of(models, pictures)

    monkeypatch.setattr(measured, "rows_of", fail_on_two)
    rows = run(tmp_path, models, tmp_path / "other-work")
    assert [row for row in rows if row["picture"] == sha256_bytes(ONE)] == [
        row for row in undisturbed if row["picture"] == sha256_bytes(ONE)
    ]
    assert [row["problem"] for row in rows if row["picture"] == sha256_bytes(TWO)] == [
        "cannot be measured: ValueError: a model fails"
    ]


def test_a_damaged_cache_file_is_measured_again(models: Path, tmp_path: Path) -> None:
    run(write_raw(tmp_path, [ONE]), models, tmp_path / "work")
    first = (tmp_path / "measured.parquet").read_bytes()
    (cached,) = (tmp_path / "work").rglob("*.parquet")
    cached.write_bytes(cached.read_bytes()[:100])
    run(tmp_path, models, tmp_path / "work")
    assert (tmp_path / "measured.parquet").read_bytes() == first


def test_a_broken_model_stops_the_run(models: Path, tmp_path: Path) -> None:
    params = Models.of({"lock": read_lock(), "hub": str(write_models(tmp_path / "source"))})
    (tmp_path / "source/deepghs/anime_rating/mobilenetv3_v1_pruned_ls0.1/model.onnx").write_bytes(b"no model")
    fetch_models(params, tmp_path / "hub", tmp_path / "models.manifest.json")
    with pytest.raises(CharaloomError, match="picture models do not run"):
        run(write_raw(tmp_path, [ONE]), tmp_path, tmp_path / "work")


def test_owner_is_the_person_whose_box_covers_most_of_it() -> None:
    persons = [(0, 0, 100, 100), (90, 0, 200, 100)]
    assert owner((10, 10, 30, 30), persons) == 0
    assert owner((110, 10, 130, 30), persons) == 1
    assert owner((300, 10, 330, 30), persons) is None
    assert owner((10, 10, 30, 30), []) is None


def sprite(width: int, height: int, box: tuple[int, int, int, int], shadow: int = 0, orientation: int = 1) -> bytes:
    """A figure on a transparent canvas, with a half-transparent shadow below it."""
    image = Image.new("RGBA", (width, height), (255, 0, 255, 0))
    draw = ImageDraw.Draw(image)
    if shadow:
        draw.rectangle((box[0] - 10, box[3], box[2] + 10, box[3] + 9), fill=(0, 0, 0, shadow))
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(192, 32, 64, 255))
    image.putpixel((1, 1), (0, 0, 0, 255))  # a speck
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "drawn"),
    [
        (sprite(960, 540, (400, 100, 560, 500)), (384, 84, 576, 516)),
        (sprite(960, 540, (400, 100, 560, 500), shadow=90), (374, 84, 586, 526)),
        (sprite(960, 540, (400, 100, 560, 500), shadow=6), (384, 84, 576, 516)),
        (sprite(540, 960, (40, 400, 440, 560), orientation=6), (384, 24, 576, 456)),
        (sprite(300, 300, (0, 0, 300, 300)), (0, 0, 300, 300)),
    ],
)
def test_case_P8_a_transparent_canvas_is_cut_to_what_is_drawn(
    models: Path, tmp_path: Path, data: bytes, drawn: tuple[int, int, int, int]
) -> None:
    rows = run(write_raw(tmp_path, [data]), models, tmp_path / "work")
    picture = next(row for row in rows if row["kind"] == "picture" and not row["problem"])
    box = tuple(picture[edge] for edge in ("x0", "y0", "x1", "y1"))
    assert all(abs(ours - theirs) <= 4 for ours, theirs in zip(box, drawn, strict=True))
    assert (picture["width"], picture["height"]) == (box[2] - box[0], box[3] - box[1])
    parts = [row for row in rows if row["picture"] == picture["picture"] and row["kind"] != "picture"]
    for part in parts:
        assert box[0] <= part["x0"] < part["x1"] <= box[2]
        assert box[1] <= part["y0"] < part["y1"] <= box[3]
    cut = open_picture(data).crop(box)
    assert perceptual_hash(np.asarray(cut.convert("L"))) == picture["phash"]
