"""Every rule of images.decoding and images.generated, on pictures drawn here."""

import io
import json
import random
import struct
import zlib

import numpy
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from charaloom.images.decoding import Limits, inspect, opacity, open_picture
from charaloom.images.generated import generation_parameters

LIMITS = Limits()


def drawn(width: int = 96, height: int = 64, seed: int = 1) -> Image.Image:
    """Noise over a gradient: no decoder can guess the missing part."""
    noise = numpy.random.default_rng(seed).integers(0, 60, (height, width, 3))
    ramp = numpy.linspace(0, 190, width)[None, :, None]
    return Image.fromarray((noise + ramp).astype(numpy.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with_header(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


SAMPLES = {
    "JPEG": lambda: encoded(drawn(), "JPEG", quality=90),
    "JPEG progressive": lambda: encoded(drawn(), "JPEG", quality=90, progressive=True),
    "PNG": lambda: encoded(drawn(), "PNG"),
    "WEBP": lambda: encoded(drawn(), "WEBP", quality=90),
    "WEBP lossless": lambda: encoded(drawn(), "WEBP", lossless=True),
    "GIF": lambda: encoded(drawn().quantize(64), "GIF"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_whole_pictures_pass(name):
    assert inspect(SAMPLES[name](), LIMITS) == (name.split()[0], None)


@pytest.mark.parametrize("name", SAMPLES)
def test_f1_cut_at_every_percent_is_refused(name):
    data = SAMPLES[name]()
    accepted = [percent for percent in range(100) if inspect(data[: len(data) * percent // 100], LIMITS)[1] is None]
    assert accepted == []
    assert inspect(data[:-1], LIMITS)[1] is not None


def test_f2_bit_flips_never_crash():
    rng = random.Random(2)
    for data in (SAMPLES[name]() for name in SAMPLES):
        for _ in range(100):
            mutant = bytearray(data)
            for _ in range(rng.randint(1, 8)):
                mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
            kind, problem = inspect(bytes(mutant), LIMITS)
            assert problem is None or ":" in problem
            if problem is None:
                assert kind in ("JPEG", "PNG", "WEBP", "GIF")
                assert open_picture(bytes(mutant)).mode == "RGB"
            generation_parameters(bytes(mutant))


def test_f4_pixel_bomb_is_refused_by_its_header():
    assert inspect(png_with_header(30000, 30000), LIMITS)[1].startswith("too large")
    assert inspect(png_with_header(20000, 6000), LIMITS) == ("PNG", "too large: 20000x6000 pixels")
    assert inspect(SAMPLES["PNG"](), Limits(maximum_pixels=96 * 64 - 1)) == ("PNG", "too large: 96x64 pixels")
    assert inspect(SAMPLES["PNG"](), Limits(maximum_bytes=10))[1].startswith("too large")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty: no bytes"),
        (b"<!DOCTYPE html><title>login</title>", "not a picture: a web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture: unknown format"),
        (b"%PDF-1.7", "not a picture: unknown format"),
        (b"SIMPLE  =                    T", "not a picture: unknown format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a picture: unknown format"),
        (b"BM" + b"\0" * 60, "not a picture: unknown format"),
    ],
)
def test_f5_only_four_formats_by_content(data, problem):
    assert inspect(data, LIMITS) == (None, problem)


def test_f5_a_zip_behind_a_jpeg_is_still_a_jpeg():
    assert inspect(SAMPLES["JPEG"]() + b"PK\x03\x04" + b"\0" * 40, LIMITS) == ("JPEG", None)


@pytest.mark.parametrize("size", [(1, 1), (65535, 1), (1, 3000)])
def test_f3_odd_sizes_open(size):
    data = encoded(Image.new("RGB", size, (1, 2, 3)), "PNG")
    assert inspect(data, LIMITS) == ("PNG", None)
    assert open_picture(data).size == size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_f3_exif_orientation_is_applied(orientation):
    upright = drawn(32, 16)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that the camera's turn was
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(encoded(stored, "PNG", exif=exif))
    assert picture.size == (32, 16)
    assert picture.tobytes() == upright.tobytes()


def test_f3_alpha_is_laid_on_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    clear.putpixel((1, 0), (0, 0, 0, 128))
    picture = open_picture(encoded(clear, "PNG"))
    assert picture.getpixel((0, 0)) == (255, 0, 0)
    assert picture.getpixel((1, 0)) == (127, 127, 127)
    assert picture.getpixel((3, 3)) == (255, 255, 255)


def test_f3_grey_with_alpha_and_palette_with_transparency():
    grey = Image.new("LA", (2, 1), (10, 0))
    grey.putpixel((1, 0), (10, 255))
    assert [open_picture(encoded(grey, "PNG")).getpixel((x, 0)) for x in (0, 1)] == [(255,) * 3, (10,) * 3]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        picture = open_picture(encoded(palette, kind, transparency=0))
        assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 0, 0)]


def test_f3_colour_key_is_transparent():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (7, 8, 9))
    picture = open_picture(encoded(image, "PNG", transparency=(1, 2, 3)))
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (7, 8, 9)]


def test_f3_sixteen_bits_are_scaled_not_clipped():
    values = numpy.array([[0, 128, 257, 32768, 65279, 65535]], dtype=numpy.uint16)
    picture = open_picture(encoded(Image.fromarray(values), "PNG"))
    assert [picture.getpixel((x, 0))[0] for x in range(6)] == [0, 0, 1, 128, 254, 255]


def test_f3_cmyk_is_converted():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(red, "JPEG", quality=100)
    assert inspect(data, LIMITS) == ("JPEG", None)
    r, g, b = open_picture(data).getpixel((8, 8))
    assert (r > 245, g < 10, b < 10) == (True, True, True)
    marker = data.index(b"\xff\xee\x00\x0eAdobe")
    plain = data[:marker] + data[marker + 16 :]  # the same values without Adobe's marker mean their opposite
    assert open_picture(plain).getpixel((8, 8)) == (0, 0, 0)


def test_f3_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert inspect(data, LIMITS) == (kind, None)
        assert open_picture(data).getpixel((4, 4)) == (255, 0, 0)


def test_f3_profile_is_applied_and_a_broken_one_ignored():
    image = Image.new("RGB", (4, 4), (200, 100, 50))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"no profile at all", lab, srgb):
        assert open_picture(encoded(image, "PNG", icc_profile=profile)).getpixel((0, 0)) == (200, 100, 50)
    swapped = bytearray(srgb)  # a valid profile with red's and blue's primaries exchanged
    swapped = bytes(swapped).replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")
    red, _, blue = open_picture(encoded(image, "PNG", icc_profile=swapped)).getpixel((0, 0))
    assert blue > 180 > 80 > red


def png_with_text(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    return encoded(drawn(16, 16), "PNG", pnginfo=info)


@pytest.mark.parametrize(
    "texts",
    [
        {"parameters": "1girl\nSteps: 28, Sampler: Euler a, Seed: 1"},
        {"prompt": json.dumps({"3": {"class_type": "KSampler"}})},
        {"workflow": json.dumps({"nodes": [1]})},
        {"Comment": json.dumps({"prompt": "1girl", "steps": 28, "sampler": "k_euler"})},
        {"Software": "NovelAI"},
    ],
)
def test_generation_parameters_in_png_text(texts):
    assert generation_parameters(png_with_text(**texts))


def test_generation_parameters_in_exif():
    text = "1girl\nSteps: 28, Sampler: Euler a"
    wide = [b"UNICODE\0" + text.encode(order) for order in ("utf-16-be", "utf-16-le")]
    for body in (*wide, b"ASCII\0\0\0" + text.encode()):
        exif = Image.Exif()
        exif[0x0112] = 1  # Pillow writes no EXIF into a PNG where only the sub-folder has entries
        exif.get_ifd(0x8769)[0x9286] = body
        for kind in ("JPEG", "WEBP", "PNG"):
            assert generation_parameters(encoded(drawn(16, 16), kind, exif=exif))
    graph = Image.Exif()
    graph[0x0110] = "prompt:" + json.dumps({"3": {"class_type": "KSampler"}})
    assert generation_parameters(encoded(drawn(16, 16), "WEBP", exif=graph))


def behind_the_pixels(png: bytes, chunk: bytes) -> bytes:
    """The same PNG with its first chunk of that name moved behind the picture data."""
    start = png.index(chunk) - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    close = png.index(b"IEND") - 4
    return png[:start] + png[end:close] + png[start:end] + png[close:]


def test_generation_parameters_behind_the_pixels():
    data = behind_the_pixels(png_with_text(parameters="1girl\nSteps: 28, Sampler: Euler a"), b"tEXt")
    assert data.index(b"IDAT") < data.index(b"tEXt")
    assert generation_parameters(data)
    exif = Image.Exif()
    exif[0x010F] = "workflow:" + json.dumps({"nodes": [1]})
    assert generation_parameters(behind_the_pixels(encoded(drawn(16, 16), "PNG", exif=exif), b"eXIf"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_says_nothing_is_not_decoded_again(kind, monkeypatch):
    data = encoded(drawn(16, 16), kind)
    decoded = []
    for reader in ("PIL.ImageFile.ImageFile.load", "PIL.WebPImagePlugin.WebPImageFile.load"):
        monkeypatch.setattr(reader, lambda *_: decoded.append(kind))
    assert not generation_parameters(data)
    assert decoded == []


def test_people_draw_without_generation_parameters():
    assert not generation_parameters(SAMPLES["JPEG"]())
    texts = {"Software": "Clip Studio Paint", "Comment": "drawn by hand", "prompt": "day 3"}
    assert not generation_parameters(png_with_text(**texts))
    assert not generation_parameters(b"no picture")


def test_opacity_is_that_of_the_upright_picture() -> None:
    see_through = drawn().convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = opacity(encoded(see_through, "PNG", exif=exif))
    assert alpha is not None
    assert (alpha.mode, alpha.size) == ("L", open_picture(encoded(see_through, "PNG", exif=exif)).size)
    assert alpha.getpixel((0, 5)) > 200, "its bottom came to the left"
    assert opacity(encoded(drawn(), "JPEG")) is None
    assert opacity(encoded(drawn().convert("RGBA"), "PNG")) is None, "all of it is opaque"
    palette = drawn().quantize(8)
    clear = opacity(encoded(palette, "PNG", transparency=palette.getpixel((0, 0))))
    assert clear is not None
    assert clear.getpixel((0, 0)) == 0


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_f1_a_jpeg_with_an_end_mark_behind_half_of_its_data_is_refused(mode, subsampling):
    """At every tenth of its data; libjpeg fills what is missing with grey and says nothing."""
    generator = numpy.random.default_rng(5)
    drawn = Image.fromarray(generator.integers(0, 255, (90, 70, 3), dtype=numpy.uint8)).convert(mode)
    options = {} if mode == "L" else {"subsampling": subsampling}
    whole = encoded(drawn, "JPEG", quality=90, **options)
    assert inspect(whole, Limits())[1] is None
    start = whole.index(b"\xff\xda") + 14
    for tenth in range(1, 10):
        cut = whole[: start + (len(whole) - start) * tenth // 10].rstrip(b"\xff")
        assert inspect(cut + b"\xff\xd9", Limits())[1] == "truncated: picture data ends early, with an end mark behind"


def test_a_picture_that_is_grey_is_whole():
    """Middle grey, all of it or its last rows."""
    for mode, grey in (("RGB", (128, 128, 128)), ("L", 128), ("RGB", (127, 127, 127))):
        picture = Image.new(mode, (70, 90), grey)
        assert inspect(encoded(picture, "JPEG", quality=90), Limits()) == ("JPEG", None)
        assert inspect(encoded(picture, "JPEG", quality=90, progressive=True), Limits()) == ("JPEG", None)
        picture.paste(0, (0, 0, 70, 40))
        assert inspect(encoded(picture, "JPEG", quality=90), Limits()) == ("JPEG", None)


def test_cmyk_of_a_tiff_is_as_it_says() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert open_picture(encoded(red, "TIFF")).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize(("mode", "white"), [("I", 255), ("I", 65535), ("F", 1.0), ("F", 255.0), ("F", 60000.0)])
def test_numbers_without_a_white_of_their_own(mode: str, white: float) -> None:
    import numpy

    values = numpy.linspace(0, white, 256).reshape(16, 16)
    grey = Image.fromarray(values.astype(numpy.int32 if mode == "I" else numpy.float32))
    shown = numpy.asarray(open_picture(encoded(grey, "TIFF")).convert("L")).astype(int)
    assert grey.mode == mode
    assert shown[0, 0] == 0
    assert abs(shown[8, 0] - 128) <= 12
    assert shown[15, 15] >= 230
