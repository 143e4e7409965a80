"""Formats by content, and where the first picture of a file ends: cases P4 and P5 of issue 16."""

import base64
import io
import struct
import time
import zlib

import numpy
import pytest
from PIL import Image, PngImagePlugin

from charaloom.images import formats
from charaloom.images.decoding import Limits, inspect, open_picture
from charaloom.images.formats import FORMATS
from charaloom.images.generated import generation_parameters
from tests.unit.images.test_decoding import drawn, encoded, png_chunk

LIMITS = Limits()
VIDEO = b"\0\0\0\x18ftypmp42" + bytes(numpy.random.default_rng(3).integers(0, 256, 2 * 2**20, dtype=numpy.uint8))
TRAILERS = {
    "a video": VIDEO,
    "a zip": b"PK\x03\x04" + b"\0" * 40,
    "scan marks": b"\xff\xda" * 1000,
    "a second picture": encoded(drawn(20, 20, 9), "JPEG"),
    "zeros": bytes(5000),
    "a line": b"\r\n",
}
WHOLE = {
    "JPEG": lambda: encoded(drawn(), "JPEG"),
    "JPEG progressive": lambda: encoded(drawn(), "JPEG", progressive=True),
    "JPEG with restarts": lambda: encoded(drawn(), "JPEG", restart_marker_rows=1),
    "PNG": lambda: encoded(drawn(), "PNG"),
    "GIF": lambda: encoded(drawn().quantize(64), "GIF"),
    "WEBP": lambda: encoded(drawn(), "WEBP"),
    "BMP": lambda: encoded(drawn(), "BMP"),
    "TIFF": lambda: encoded(drawn(), "TIFF"),
    "TIFF packed": lambda: encoded(drawn(), "TIFF", compression="tiff_lzw"),
    "AVIF": lambda: encoded(drawn(), "AVIF"),
}


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("name", [name for name in WHOLE if name.split()[0] in ("JPEG", "PNG", "GIF", "WEBP")])
def test_case_P4_what_follows_the_first_picture_is_passed_over(name: str, trailer: str) -> None:
    data = WHOLE[name]()
    assert inspect(data + TRAILERS[trailer], LIMITS) == (name.split()[0], None)
    assert open_picture(data + TRAILERS[trailer]).tobytes() == open_picture(data).tobytes()


@pytest.mark.parametrize("name", [name for name in WHOLE if name.split()[0] in ("JPEG", "PNG", "GIF")])
def test_case_P4_a_cut_picture_stays_cut_whatever_follows(name: str) -> None:
    data = WHOLE[name]()[:-40]
    assert inspect(data, LIMITS)[1].startswith("truncated")
    assert inspect(data + bytes(1000), LIMITS)[1] is not None


def test_case_P4_a_preview_with_its_own_end_is_no_end() -> None:
    preview = encoded(drawn(16, 16), "JPEG")
    data = WHOLE["JPEG"]()
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    embedded = data[:2] + segment + data[2:]
    assert inspect(embedded, LIMITS) == ("JPEG", None)
    assert inspect(embedded[:-200], LIMITS)[1].startswith("truncated")


@pytest.mark.parametrize("name", WHOLE)
def test_case_P5_formats_are_read_by_content(name: str) -> None:
    data = WHOLE[name]()
    assert inspect(data, LIMITS) == (name.split()[0], None)
    assert open_picture(data).size == (96, 64)
    accepted = [percent for percent in range(100) if inspect(data[: len(data) * percent // 100], LIMITS)[1] is None]
    assert accepted == []
    assert set(FORMATS) == {name.split()[0] for name in WHOLE}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 50, "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + b"\0" * 50, "HEIC"),
        (b"\xff\x0a\xfa" + b"\0" * 50, "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 50, "JPEG XL"),
        (b"8BPS\0\1" + b"\0" * 50, "PSD"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 50, "JPEG 2000"),
    ],
)
def test_case_P5_formats_that_are_not_read_are_named_with_the_cure(
    data: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "HEIF_DECODERS", ())
    formats.reads_heif.cache_clear()
    kind, problem = inspect(data, LIMITS)
    formats.reads_heif.cache_clear()
    assert kind is None
    assert problem
    assert problem.startswith(f"not read: {name}; save it as PNG, JPEG or WebP")
    assert ("pip install pi-heif" in problem) == (name == "HEIC")


HEIC = (  # 64 x 96, a red bar on white
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABegABAAAAAAAAAFMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAA"
    "AAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkA"
    "AAAwAAAwAeoCCBhZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAA"
    "YAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAFttZGF0AAAATygBr1ivWA6Ybzik4Owi4fn6f5jdcSO4qgwIoNkhNb"
    "DZk4JS9IfgHMFc5z7Ki1E/Ke80XxOmHlg0AaOPCJGABT8d+N9MRsmLYT+TcPB2D2A="
)


@pytest.mark.skipif(not formats.reads_heif(), reason="no decoder of HEIC: .venv/bin/pip install pi-heif")
def test_case_P5_heic_is_read_where_a_decoder_is_installed() -> None:
    data = base64.b64decode(HEIC)
    assert inspect(data, LIMITS) == ("HEIF", None)
    picture = open_picture(data)
    assert (picture.mode, picture.size) == ("RGB", (64, 96))
    red, white = picture.getpixel((18, 48)), picture.getpixel((50, 48))
    assert red[0] > 150 > 90 > red[1]
    assert min(white) > 230
    assert inspect(data, Limits(maximum_pixels=6000)) == ("HEIF", "too large: 64x96 pixels")
    accepted = [percent for percent in range(100) if inspect(data[: len(data) * percent // 100], LIMITS)[1] is None]
    assert accepted == []


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_case_P5_orientation_is_applied_once(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16), (255, 0, 0))
    upright.paste((0, 0, 255), (0, 0, 16, 8))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(encoded(stored, kind, exif=exif))
    assert picture.size == (32, 16)
    red, _, blue = picture.getpixel((4, 4))
    assert blue > 200 > 50 > red


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "iCCP"])
@pytest.mark.parametrize("key", ["workflow", "Remark"])
def test_texts_that_unpack_to_megabytes_do_not_cost_the_picture(chunk: str, key: str) -> None:
    text = zlib.compress(b"x" * 5 * 2**20)
    between = b"\1\0x-default\0\0" if chunk == "iTXt" else b"\0"
    data = WHOLE["PNG"]()
    bulk = png_chunk(chunk.encode(), key.encode() + b"\0" + between + text)
    bulky = data[:33] + bulk + data[33:]
    assert inspect(bulky, LIMITS) == ("PNG", None)
    assert open_picture(bulky).tobytes() == drawn().tobytes()
    assert generation_parameters(bulky) == (key == "workflow")


def test_a_long_text_beside_others_is_read() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Remark", "x" * 3 * 2**20, zip=True)
    info.add_text("parameters", "1girl\nSteps: 28, Sampler: Euler a", zip=True)
    buffer = io.BytesIO()
    drawn().save(buffer, "PNG", pnginfo=info)
    assert generation_parameters(buffer.getvalue())


def test_many_texts_are_unpacked_up_to_a_limit() -> None:
    data = WHOLE["PNG"]()
    text = png_chunk(b"zTXt", b"Remark\0\0" + zlib.compress(b"x" * (2**20 - 1)))
    start = time.monotonic()
    assert inspect(data[:33] + text * 2000 + data[33:], LIMITS) == ("PNG", None)
    assert time.monotonic() - start < 10
