"""What a file is by its first bytes, and where its first picture ends: programs append videos, archives and marks."""

import re
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # those that are read
HEIF_DECODERS = ("pi_heif", "pillow_heif")  # packages that read HEIC: the first has no encoder, hence only the LGPL
HEIF_CURE = "HEIC; save it as PNG, JPEG or WebP, or install a decoder: `.venv/bin/pip install pi-heif`"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes of the header behind a BMP's first 14 bytes
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
OTHERS = (  # pictures that are named and not read, by their first bytes
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "PSD"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"gimp xcf", "XCF"),
)
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # not a stuffed byte, no restart mark
JPEG_END, JPEG_START, JPEG_TEMPORARY = 0xD9, 0xD8, 0x01
PNG_TEXTS = frozenset({b"zTXt", b"iTXt", b"iCCP"})  # chunks that may be compressed
UNPACKED_BYTES = 2**20  # of one of them, above which Pillow refuses the whole file (its MAX_TEXT_CHUNK)
UNPACKED_IN_ALL = 2**25  # of all of them together, half of Pillow's MAX_TEXT_MEMORY
LONGEST_KEYWORD = 80  # bytes, with the zero behind it
HEAD_BYTES = 64  # that `sniff` and `unread` look at


def sniff(data: bytes) -> str | None:
    """Format by the first bytes, or None where it is none that is read."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == PNG_SIGNATURE:
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in BMP_HEADERS:
        return "BMP"
    if data[:4] in TIFF_MARKS:
        return "TIFF"
    if AVIF_BRANDS & brands(data):
        return "AVIF"
    return "HEIF" if HEIC_BRANDS & brands(data) and reads_heif() else None


@cache
def reads_heif() -> bool:
    """Whether a decoder of HEIC is installed; Pillow knows it then. Nothing here depends on it."""
    for name in HEIF_DECODERS:
        if find_spec(name):
            import_module(name).register_heif_opener()
            return True
    return False


def unread(data: bytes) -> str | None:
    """The name of a picture format that is known and not read, or None."""
    if HEIC_BRANDS & brands(data):
        return "HEIC"
    return next((name for start, name in OTHERS if data.startswith(start)), None)


def brands(data: bytes) -> set[bytes]:
    """The brands in the first box of an ISO base media file; of any other file none."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), HEAD_BYTES)
    return {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}


def first_picture(data: bytes, kind: str) -> bytes | None:
    """The bytes up to the end of the first picture; None where it has none: the file is cut short."""
    if kind not in ENDS:
        return data
    end = ENDS[kind](data)
    return None if end is None or end > len(data) else data if end == len(data) else data[:end]


def jpeg_end(data: bytes) -> int | None:
    """Behind the end mark that follows the first picture's scans; a preview inside a segment is passed over."""
    position = 2
    while match := JPEG_MARKER.search(data, position):
        position, code = match.end(), match[1][0]
        if code == JPEG_END:
            return position
        if code not in (JPEG_START, JPEG_TEMPORARY):
            position += int.from_bytes(data[position : position + 2])
    return None


def png_end(data: bytes) -> int | None:
    return next((end for name, _, end in png_chunks(data) if name == b"IEND"), None)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk up to the first IEND; the last may end behind the data, where it was cut."""
    position, name = len(PNG_SIGNATURE), b""
    while position + 12 <= len(data) and name != b"IEND":
        length, name = struct.unpack(">I4s", data[position : position + 8])
        yield name, position, position + 12 + length
        position += 12 + length


def webp_end(data: bytes) -> int | None:
    return 8 + int.from_bytes(data[4:8], "little")


def gif_end(data: bytes) -> int | None:
    """Behind the trailer; between the blocks of a picture nothing else may stand."""
    if len(data) < 13:
        return None
    position = 13 + colour_table(data[10])
    while position < len(data):
        match data[position]:
            case 0x3B:
                return position + 1
            case 0x21:
                position = behind_blocks(data, position + 2)
            case 0x2C if position + 10 < len(data):
                position = behind_blocks(data, position + 11 + colour_table(data[position + 9]))
            case _:
                return None
    return None


def colour_table(flags: int) -> int:
    """Bytes of a GIF's colour table."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def behind_blocks(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += data[position] + 1
    return position + 1


ENDS = {"JPEG": jpeg_end, "PNG": png_end, "WEBP": webp_end, "GIF": gif_end}
CUT = {  # what a file without its end lacks
    "JPEG": "JPEG without end mark",
    "PNG": "PNG without end chunk",
    "WEBP": "WebP shorter than it says",
    "GIF": "GIF without end mark",
}


# --- PNG texts that Pillow refuses


def bulky_texts(data: bytes) -> list[tuple[int, int, bytes]]:
    """Start, end and keyword of a PNG's texts and profiles that unpack to more than UNPACKED_BYTES, and of all that
    follow the first UNPACKED_IN_ALL."""
    bulky, total = [], 0
    for name, start, end in png_chunks(data):
        if name in PNG_TEXTS:
            size = unpacked_size(name, data[start + 8 : end - 4]) if total <= UNPACKED_IN_ALL else UNPACKED_BYTES + 1
            total += size
            if size > UNPACKED_BYTES:
                bulky.append((start, end, data[start + 8 : start + 8 + LONGEST_KEYWORD].partition(b"\0")[0]))
    return bulky


def unpacked_size(name: bytes, body: bytes) -> int:
    """Bytes of the zlib stream of a zTXt, iTXt or iCCP chunk, counted up to one above UNPACKED_BYTES."""
    _, _, rest = body.partition(b"\0")
    stream = rest[1:]
    if name == b"iTXt":
        stream = rest[2:].partition(b"\0")[2].partition(b"\0")[2] if rest[:1] == b"\1" else b""
    try:
        return len(zlib.decompressobj().decompress(stream, UNPACKED_BYTES + 1))
    except zlib.error:
        return 0


def without_bulky_texts(data: bytes) -> bytes:
    """A PNG as Pillow opens it: no text or profile in it unpacks to too much."""
    kept, position = [], 0
    for start, end, _ in bulky_texts(data):
        kept.append(data[position:start])
        position = end
    return b"".join([*kept, data[position:]]) if kept else data
