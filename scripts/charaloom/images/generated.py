"""What a stranger's file says of its making: whether an image generator wrote its settings into it."""

import json

from PIL import Image

from charaloom.images.decoding import open_lazily
from charaloom.images.formats import bulky_texts, png_chunks, sniff

PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf"})
GENERATORS_TEXTS = frozenset({b"parameters", b"prompt", b"workflow", b"invokeai_graph", b"Comment"})
PNG_EXIF = frozenset({"exif", "Raw profile type exif"})
EXIF_FOLDER, EXIF_DESCRIPTION, EXIF_MAKE, EXIF_MODEL, EXIF_USER_COMMENT = 0x8769, 0x010E, 0x010F, 0x0110, 0x9286


def generation_parameters(data: bytes) -> bool:
    """True where the file says that a program drew it.

    Read are: text `parameters` (AUTOMATIC1111 and its kin), `prompt` or `workflow` holding a JSON graph (ComfyUI; also
    in EXIF make, model or description), `Comment` or `Software` of NovelAI, InvokeAI's, Fooocus' and Dream's keys, and
    an EXIF UserComment or file comment with steps and sampler. Not read: marks hidden in pixels.
    """
    if sniff(data) == "PNG" and any(keyword in GENERATORS_TEXTS for _, _, keyword in bulky_texts(data)):
        return True  # too long to be read, which no remark of a person is
    try:
        with open_lazily(data) as image:
            if text_follows_pixels(data):
                image.load()  # else the header has said all, and nothing is decoded a second time
            # Asked for EXIF that is not there, Pillow decodes a PNG to look behind its pixels.
            exif = exif_texts(image) if image.format != "PNG" or not PNG_EXIF.isdisjoint(image.info) else {}
            return says_generated({str(key): as_text(value) for key, value in image.info.items()}, exif)
    except Exception:  # an unreadable file says nothing; `inspect` tells what is wrong with it
        return False


def text_follows_pixels(data: bytes) -> bool:
    """Whether a PNG keeps text, or EXIF, behind its picture data, where Pillow reads it only after decoding."""
    names = [name for name, *_ in png_chunks(data)] if sniff(data) == "PNG" else []
    return b"IDAT" in names and not PNG_TEXTS.isdisjoint(names[names.index(b"IDAT") :])


def says_generated(texts: dict[str, str], exif: dict[int, str]) -> bool:
    named = ("invokeai_metadata", "invokeai_graph", "sd-metadata", "Dream", "dream", "fooocus_scheme")
    if texts.get("parameters", "").strip() or any(texts.get(key, "").strip() for key in named):
        return True
    if is_graph(texts.get("prompt", "")) or is_graph(texts.get("workflow", "")):
        return True
    if texts.get("Software", "").startswith("NovelAI") or texts.get("Source", "").startswith("NovelAI"):
        return True
    comments = [texts.get("Comment", ""), texts.get("comment", ""), *exif.values()]
    return any(is_sampling(comment) for comment in comments) or any(
        is_graph(exif.get(key, "").partition(":")[2]) for key in (EXIF_MAKE, EXIF_MODEL, EXIF_DESCRIPTION)
    )


def is_graph(text: str) -> bool:
    """A JSON object with content: ComfyUI's prompt and workflow, not a person's sentence."""
    return isinstance(parsed(text), dict) and bool(parsed(text))


def is_sampling(text: str) -> bool:
    """`Steps: 28, Sampler: Euler a` or JSON that says as much."""
    value = parsed(text)
    if isinstance(value, dict):
        return bool({"steps", "sampler", "sampler_name", "prompt", "workflow"} & {str(key).lower() for key in value})
    return "Steps:" in text and "Sampler:" in text


def parsed(text: str) -> object:
    try:
        return json.loads(text.strip("\0 \r\n"))
    except (ValueError, RecursionError):
        return None


def exif_texts(image: Image.Image) -> dict[int, str]:
    exif = image.getexif()
    texts = {key: as_text(exif.get(key, "")) for key in (EXIF_MAKE, EXIF_MODEL, EXIF_DESCRIPTION)}
    return {**texts, EXIF_USER_COMMENT: user_comment(exif.get_ifd(EXIF_FOLDER).get(EXIF_USER_COMMENT, b""))}


def user_comment(value: object) -> str:
    """EXIF UserComment: eight bytes name the encoding, UTF-16 in either byte order where it is UNICODE."""
    if not isinstance(value, bytes):
        return as_text(value)
    code, body = value[:8], value[8:]
    if code != b"UNICODE\0":
        return as_text(body if code in (b"ASCII\0\0\0", b"\0" * 8) else value)
    order = "utf-16-be" if body[:1] == b"\0" else "utf-16-le"
    return body.decode(order, "replace")


def as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
