"""What the trainer reads of a regularisation folder: case P10 of issue 16."""

import json
from pathlib import Path

import numpy
import pytest
from PIL import Image

from charaloom.errors import CharaloomError
from tests.unit.images.test_decoding import drawn, encoded
from tests.unit.training.trainings import Pictures, write_dataset, write_inputs


def prepared(tmp_path: Path, pictures: Pictures, base: Path) -> dict[str, Image.Image]:
    """Pictures of the trainer's inputs by caption."""
    inputs = write_dataset(tmp_path, pictures)
    write_inputs(tmp_path / "workdir", inputs.dataset, base, regularisation=str(tmp_path / "reg"))
    folder = tmp_path / "workdir" / "inputs"
    captions = json.loads((folder / "regularisation.json").read_text())
    return {caption: Image.open(folder / "regularisation" / name) for name, caption in captions.items()}


def test_case_P10_one_reader_for_regularisation(
    tmp_path: Path, tiny_base: Path, drawn_pictures: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reg"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 255, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    grey = Image.fromarray(numpy.full((8, 8), 32768, numpy.uint16))
    written = {
        "turned.jpg": (encoded(drawn(), "JPEG", exif=exif), ".caption", b"turned"),
        "palette.png": (encoded(palette, "PNG", transparency=0), ".txt", "palette, red dress".encode("utf-16")),
        "grey.png": (encoded(grey, "PNG"), ".tags", b"grey"),
        "cmyk.jpg": (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), ".TXT", b"cmyk"),
        "film.bmp": (encoded(drawn(seed=5), "BMP"), ".json", b'{"tags": "bmp, (blue sky:1.2)"}'),
        "cut.png": (encoded(drawn(seed=6), "PNG")[:-60], ".txt", b"cut"),
        "rated.png": (encoded(drawn(seed=7), "PNG"), ".json", b'{"rating": "e"}'),
        "odd.png": (encoded(drawn(seed=8), "PNG"), ".json", b'{"rating": "R-18"}'),
    }
    for name, (data, ending, text) in written.items():
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(ending).write_bytes(text)
    (folder / "notes.docx").write_bytes(b"x")
    pictures = prepared(tmp_path, drawn_pictures, tiny_base)
    assert set(pictures) == {"turned", "palette, red dress", "grey", "cmyk", "bmp, blue sky"}
    assert {picture.mode for picture in pictures.values()} == {"RGB"}
    assert pictures["turned"].size == (64, 96)
    assert [pictures["palette, red dress"].getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 0, 0)]
    assert pictures["grey"].getpixel((0, 0)) == (128, 128, 128)
    red, green, _ = pictures["cmyk"].getpixel((4, 4))
    assert red > 245 > 10 > green
    printed = capsys.readouterr().err
    for name in ("cut.png", "rated.png", "odd.png", "notes.docx"):
        assert f"regularisation: not read: {name!r}: " in printed


def test_case_P10_a_folder_without_a_usable_picture_is_named(
    tmp_path: Path, tiny_base: Path, drawn_pictures: Pictures
) -> None:
    folder = tmp_path / "reg"
    folder.mkdir()
    (folder / "cut.png").write_bytes(drawn_pictures[0][1][:-60])
    with pytest.raises(CharaloomError, match="no pictures to regularise with \\(1 cannot be used"):
        prepared(tmp_path, drawn_pictures, tiny_base)
    with pytest.raises(CharaloomError, match=r"no such folder\. Correct training\.regularisation"):
        write_inputs(tmp_path / "other", tmp_path / "dataset", tiny_base, regularisation=str(tmp_path / "nowhere"))
