"""Pictures from strangers, opened safely: one rule for each thing a file can do to us, shared by every stage.

Formats are decided by content, never by name, and only those in `formats.FORMATS` are read. The size is checked in the
header before a pixel is allocated. A picture that is cut short is refused, never shown half grey; what a program
appended behind a whole one is passed over.
"""

import io
import warnings
from typing import NamedTuple

from PIL import Image, ImageChops, ImageCms, ImageFilter

from charaloom.images.formats import CUT, FORMATS, HEIF_CURE, first_picture, sniff, unread, without_bulky_texts

WHITE = (255, 255, 255)
SEEN_ALPHA = 16  # of 255, from which paint shows on white, set by hand
MARGIN = 0.04  # of the longer side of what is drawn, kept around it, set by hand
FILLING = bytes(range(1, 255)) * 4  # data of a JPEG that decodes to something but grey
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Limits(NamedTuple):
    """What a file may cost: pixels (width x height, by its header) and bytes."""

    maximum_pixels: int = 100_000_000
    maximum_bytes: int = 67_108_864


def inspect(data: bytes, limits: Limits) -> tuple[str | None, str | None]:
    """(format, problem): what these bytes are, and why they are no usable picture (None: they are one).

    A problem reads `kind: detail`; the kinds are `empty`, `not a picture`, `not read`, `too large`, `truncated` and
    `broken`. The first frame is decoded in full, so memory is that of one picture of at most `limits.maximum_pixels`.
    """
    if not data:
        return None, "empty: no bytes"
    if len(data) > limits.maximum_bytes:
        return None, f"too large: {len(data)} bytes"
    kind = sniff(data)
    if kind is None:
        return None, foreign(data)
    return kind, header_problem(data, kind, limits) or ending_problem(data, kind) or decoding_problem(data, kind)


def ending_problem(data: bytes, kind: str) -> str | None:
    """A picture without its own end is cut short, also where the decoder would not mind."""
    return f"truncated: {CUT[kind]}" if first_picture(data, kind) is None else None


def foreign(data: bytes) -> str:
    """Why bytes are refused that are no picture of a format that is read."""
    if name := unread(data):
        return f"not read: {HEIF_CURE if name == 'HEIC' else f'{name}; save it as PNG, JPEG or WebP'}"
    return f"not a picture: {'a web page' if looks_like_html(data) else 'unknown format'}"


def looks_like_html(data: bytes) -> bool:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head"))


def header_problem(data: bytes, kind: str, limits: Limits) -> str | None:
    """Read the header only; pixels are counted before any is allocated."""
    try:
        with open_lazily(data, kind) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        return "too large: more pixels than Pillow opens"
    except Exception:  # Pillow's readers raise whatever they stumble on: OSError, struct.error, SyntaxError ...
        return "broken: header"
    return f"too large: {width}x{height} pixels" if width * height > limits.maximum_pixels else None


def decoding_problem(data: bytes, kind: str) -> str | None:
    try:
        with open_lazily(data, kind) as image:
            image.load()
            if kind == "JPEG" and is_half_grey(image, data):
                return "truncated: picture data ends early, with an end mark behind"
        return png_checksum_problem(data) if kind == "PNG" else None
    except Exception as error:  # as above: a hostile file can raise anything
        return "truncated: picture data ends early" if "truncated" in str(error).lower() else "broken: picture data"


def is_half_grey(image: Image.Image, data: bytes) -> bool:
    """Whether the last blocks of a JPEG are grey because their data is missing.

    The decoder makes such blocks middle grey and says nothing. Where the last pixel is of that grey, more data is put
    before the end mark: behind a whole picture it is passed over, else it is decoded into the missing blocks.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    if not {*(last if isinstance(last, tuple) else (last,))} <= {127, 128}:
        return False
    whole = first_picture(data, "JPEG") or data
    try:
        with open_lazily(whole[:-2] + FILLING + whole[-2:], "JPEG") as filled:
            filled.load()
            return filled.tobytes() != image.tobytes()
    except (OSError, ValueError, SyntaxError):
        return True


def png_checksum_problem(data: bytes) -> str | None:
    with open_lazily(data, "PNG") as image:
        image.verify()
    return None


def open_lazily(data: bytes, kind: str | None = None) -> Image.Image:
    """Pillow's image with the header read; the caller's limit decides, so Pillow's milder warning is not repeated."""
    kind = kind or sniff(data)
    if kind:
        data = first_picture(data, kind) or data
    if kind == "PNG":
        data = without_bulky_texts(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=(kind,) if kind else FORMATS)


def open_picture(data: bytes) -> Image.Image:
    """The picture as people see it, RGB with 8 bits per channel.

    First frame of an animation; EXIF orientation applied; colours brought to sRGB by the embedded profile where it is a
    valid one; 16 bits scaled to 8 with rounding; CMYK converted, with the inversion only where Adobe's marker says so;
    whatever is transparent (alpha, palette entry, colour key) laid on white. Raises what Pillow raises where `inspect`
    finds a problem.
    """
    return open_drawn(data)[0]


def open_drawn(data: bytes) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The picture as `open_picture` gives it, and the box (left, top, right, bottom) of what is drawn on a transparent
    canvas, with a margin; the whole picture where nothing is transparent."""
    with open_lazily(data) as image:
        image.load()
        full, orientation = to_srgb(to_eight_bits(image)), orientation_of(image)
    picture = upright(on_white(full), orientation)
    picture.info = {}  # nothing of the file's own metadata travels on
    alpha = upright(full.getchannel("A"), orientation) if full.mode == "RGBA" else None
    return picture, drawn_box(alpha) if alpha else (0, 0, *picture.size)


def drawn_box(alpha: Image.Image) -> tuple[int, int, int, int]:
    """The box of what can be seen by its alpha channel, with a margin; of nothing, the whole canvas.

    Shadows that can be seen count as drawn, specks of a pixel or two do not.
    """
    width, height = alpha.size
    seen = alpha.point(lambda value: 255 if value >= SEEN_ALPHA else 0)
    solid = seen.filter(ImageFilter.MinFilter(3)).getbbox()  # without specks, and a pixel less on each side
    box = solid or seen.getbbox() or (0, 0, width, height)
    margin = max(round(MARGIN * max(box[2] - box[0], box[3] - box[1])), 1)
    return max(box[0] - margin, 0), max(box[1] - margin, 0), min(box[2] + margin, width), min(box[3] + margin, height)


def opacity(data: bytes) -> Image.Image | None:
    """How opaque each pixel of `open_picture` was, 8 bits, 255 for opaque; None where all are."""
    with open_lazily(data) as image:
        if not (image.has_transparency_data or image.mode.startswith("I")):
            return None
        image.load()
        picture = upright(to_srgb(to_eight_bits(image)), orientation_of(image))
    if picture.mode != "RGBA" or picture.getchannel("A").getextrema()[0] == 255:
        return None
    return picture.getchannel("A")


def to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits, v * 255 / 65535 rounded; a colour key becomes alpha before its exact value is lost.

    Integers of 32 bits and floats have no white of their own: it is 1 (of floats), 255 or 65535, the least that no
    value is above.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    import numpy

    values = numpy.asarray(image)
    if image.mode in ("I", "F"):
        values = numpy.nan_to_num(values.astype(numpy.float64), posinf=65535.0, neginf=0.0)
        whites = (1.0, 255.0) if image.mode == "F" else (255.0,)
        values = values * (65535 / next((white for white in whites if values.max() <= white), 65535.0))
    values = values.round().astype(numpy.int64).clip(0, 65535)
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(numpy.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        alpha = Image.fromarray(numpy.where(values == key, 0, 255).astype(numpy.uint8))
        grey = Image.merge("LA", (grey, alpha))
    return with_profile(grey, image)


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB or RGBA in sRGB. An unreadable or unfitting profile is ignored, as browsers do."""
    if image.mode == "CMYK":
        # Pillow inverts each CMYK JPEG, as Adobe's are; without Adobe's marker the values were plain. It leaves TIFF.
        inverted = image.format in ("JPEG", "MPO") and "adobe" not in image.info
        plain = with_profile(ImageChops.invert(image), image) if inverted else image
        return by_profile(plain) or plain.convert("RGB")
    if image.has_transparency_data:
        full = image.convert("RGBA")
        solid = with_profile(full.convert("RGB"), image)
        solid = by_profile(solid) or solid
        solid.putalpha(full.getchannel("A"))
        return solid
    solid = image if image.mode in ("RGB", "L") else with_profile(image.convert("RGB"), image)
    return by_profile(solid) or solid.convert("RGB")


def with_profile(image: Image.Image, origin: Image.Image) -> Image.Image:
    image.info = {key: origin.info[key] for key in ("icc_profile",) if key in origin.info}
    return image


def by_profile(image: Image.Image) -> Image.Image | None:
    """The image in sRGB by its embedded profile; None where none fits its channels, or it is sRGB already."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return None
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    sheet = Image.new("RGB", image.size, WHITE)
    sheet.paste(image, mask=image.getchannel("A"))
    return sheet


def upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation 1-8; 1 where there is none."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # EXIF is a stranger's bytes, too; its parser raises SyntaxError, struct.error, ValueError ...
        return 1
