"""Characters whose folders and own config files hold odd things, drawn by hypothesis, and how a run ends for each.

One example is one odd thing: a file of any name, the bytes of a picture, a file beside one, something that is no file,
or a value in `config/characters/<name>.yaml`. A character has several of them, beside pictures that are in order.
"""

import io
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, PngImagePlugin

from charaloom.artifacts.files import write_json
from charaloom.config.layers import DEFAULTS
from charaloom.config.project import load_project
from charaloom.config.schemas import read_yaml
from charaloom.errors import CharaloomError
from charaloom.pages.standing import Standing, standing
from tests.small_bases import write_base
from tests.standins import write_models

GOOD_PICTURES = 7
MOST_ODD = 9  # odd things of a character
UNTIL = "clustered"
SECTIONS = ("raw", "filtered", "tagged", "clustered")  # of the stages that run
CONFIG = {
    "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
    "models": {"hub": "models"},
    "training": {"base": "tiny"},
    "previews": {"bases": ["tiny"]},
    "raw": {"minimum": 3, "maximum_pixels": 4_000_000},
    "filtered": {"short_side": {"picture": 32, "person": 32}, "area": {"picture": 2000, "person": 2000}},
    "clustered": {"minimum_support": 2, "resamples": 3},
}
CONFIG["filtered"] |= {"identity_minimum": 2}

Odd = tuple[str, Any]  # what kind of thing, and what it is


# --- pictures


@cache
def drawn(number: int) -> Image.Image:
    """A figure on white: the stand-in detectors see it by its darkness."""
    chosen = random.Random(number)
    image = Image.new("RGB", (120 + number % 5, 160), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    pen.rectangle((8, 12, 58, 150), fill=tuple(chosen.randrange(200) for _ in range(3)))
    for _ in range(6):
        x, y = chosen.randrange(10, 50), chosen.randrange(15, 140)
        pen.ellipse((x, y, x + 14, y + 12), fill=tuple(chosen.randrange(256) for _ in range(3)))
    return image


def encoded(image: Image.Image, kind: str, **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def text_chunks(size: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * size, zip=True)
    return info


def animation() -> bytes:
    return encoded(drawn(1), "GIF", save_all=True, append_images=[drawn(2), drawn(3)])


MAKERS: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(drawn(1), "PNG"),
    "jpeg": lambda: encoded(drawn(2), "JPEG"),
    "progressive jpeg": lambda: encoded(drawn(3), "JPEG", progressive=True),
    "webp": lambda: encoded(drawn(4), "WEBP"),
    "gif": animation,
    "bmp": lambda: encoded(drawn(5), "BMP"),
    "tiff": lambda: encoded(drawn(6), "TIFF"),
    "avif": lambda: encoded(drawn(7), "AVIF"),
    "ico": lambda: encoded(drawn(8).resize((64, 64)), "ICO"),
    "ppm": lambda: encoded(drawn(8), "PPM"),
    "cmyk": lambda: encoded(drawn(9).convert("CMYK"), "JPEG"),
    "palette": lambda: encoded(drawn(10).quantize(8), "PNG", transparency=0),
    "grey and alpha": lambda: encoded(drawn(11).convert("LA"), "PNG"),
    "nothing drawn": lambda: encoded(Image.new("RGBA", (200, 200), (0, 0, 0, 0)), "PNG"),
    "sixteen bits": lambda: encoded(drawn(12).convert("I;16"), "PNG"),
    "one bit": lambda: encoded(drawn(13).convert("1"), "PNG"),
    "floats": lambda: encoded(drawn(14).convert("F"), "TIFF"),
    "lab": lambda: encoded(drawn(15).convert("LAB"), "TIFF"),
    "a point": lambda: encoded(Image.new("RGB", (1, 1)), "PNG"),
    "a line": lambda: encoded(Image.new("RGB", (1, 3000), (20, 80, 20)), "PNG"),
    "a strip": lambda: encoded(drawn(16).resize((20, 1400)), "PNG"),
    "a ribbon": lambda: encoded(drawn(17).resize((3000, 3)), "JPEG"),
    "large": lambda: encoded(Image.new("RGB", (2001, 2000), (9, 90, 9)), "PNG"),
    "turned": lambda: encoded(drawn(18), "JPEG", exif=exif(6)),
    "turned out of range": lambda: encoded(drawn(19), "JPEG", exif=exif(77)),
    "a profile of nonsense": lambda: encoded(drawn(20), "PNG", icc_profile=b"nonsense" * 40),
    "a bulky text": lambda: encoded(drawn(21), "PNG", pnginfo=text_chunks(3_000_000)),
    "a copy": lambda: encoded(drawn(1000), "PNG"),
    "a web page": lambda: b"<!DOCTYPE html><html><body>429</body></html>",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
    "jxl": lambda: b"\xff\x0a" + bytes(range(60)),
    "nothing": lambda: b"",
}


def exif(orientation: int) -> Image.Exif:
    content = Image.Exif()
    content[0x0112] = orientation
    return content


made = cache(lambda kind: MAKERS[kind]())


def damaged(data: bytes, way: str, place: float, more: bytes) -> bytes:
    """Bytes of a picture that something happened to at a place between 0 and 1."""
    at = int(place * len(data))
    match way:
        case "cut":
            return data[:at]
        case "flipped":
            return data[:at] + bytes(255 - byte for byte in data[at : at + 4]) + data[at + 4 :]
        case "inserted":
            return data[:at] + more + data[at:]
        case "trailer":
            return data + more * 50
        case "overwritten":
            return data[:at] + more + data[at + len(more) :]
        case "header of another":
            return made("jpeg")[:24] + data[24:]
        case "huge":
            return data[:16] + b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + data[24:]
        case _:
            return data


WAYS = ("as it is", "cut", "flipped", "inserted", "trailer", "overwritten", "header of another", "huge")
BYTES = st.one_of(
    st.builds(
        damaged,
        st.sampled_from(sorted(MAKERS)).map(made),
        st.sampled_from(WAYS),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=40),
    ),
    st.binary(max_size=200),
)


# --- names

ENDINGS = [b".png", b".PNG", b".jpg", b".jpeg", b".jpg_large", b".jfif", b".webp", b".gif", b".bmp", b".avif", b".tiff"]
ENDINGS += [b".txt", b".caption", b".json", b".heic", b".psd", b".mp4", b".zip", b"", b".", b".png.png", b".tar.gz"]
ODD_NAMES = [
    b"-rf",
    b"--help",
    b" ",
    b" a",
    b"a ",
    b"a\nb",
    b"a\tb",
    b"a\\b",
    b"a'b",
    b'a"b',
    b"{character}",
    b"{",
    b"$HOME",
]
ODD_NAMES += [
    b"%s",
    b"~",
    b"CON",
    b"nul",
    b"*",
    b"?",
    b"a:b",
    b"a;b",
    b"`id`",
    b"raw.parquet",
    b"metadata",
    b"._0",
    b".a",
]
ODD_NAMES += [
    "é".encode(),
    "e\u0301".encode(),
    "ﬁ".encode(),
    "花.花".encode(),
    "\u202egnp".encode(),
    "İ".encode(),
    b"\xff\xfe",
]
ODD_NAMES += [
    b"\xe3\x81",
    b"0",
    b"00.png",
    b"a" * 240,
    "花".encode() * 80,
    b"results",
    b"work",
    b"1_hana",
    b"\x1b[31m",
    b"\r",
]


def named(stem: bytes, ending: bytes) -> bytes:
    """A file name that Linux takes: no slash, no NUL, at most 255 bytes, and neither `.` nor `..`."""
    name = (stem.replace(b"/", b"_").replace(b"\0", b"_"))[: 255 - len(ending)] + ending
    return b"_" + name if name in (b"", b".", b"..") else name


FILE_NAMES = st.builds(
    named,
    st.sampled_from(ODD_NAMES) | st.binary(min_size=1, max_size=30) | st.text(max_size=20).map(lambda t: as_bytes(t)),
    st.sampled_from(ENDINGS),
)
FOLDER_NAMES = st.builds(named, st.sampled_from(ODD_NAMES) | st.binary(min_size=1, max_size=20), st.just(b""))


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# --- side files

KEYS = ["rating", "tags", "caption", "text", "artist", "source", "score", "category", "file_name", "tag_string", "id"]
KEYS += ["tags_general", "tag_string_character", "x_restrict", "nsfw", "date", "created_at", "fav_count", "tags_artist"]
WORDS = [
    "1girl",
    "smile",
    "red kimono",
    "rating:explicit",
    "R-18",
    "hana",
    "(smile:1.2)",
    "<lora:x:1>",
    "{a|b}",
    "\\(",
    "，",
]
WORDS += [
    "Steps: 28, Sampler: x",
    "BREAK",
    "a\0b",
    "A girl stands in a garden, smiling.",
    ";)",
    "s",
    "general",
    "１ｇｉｒｌ",
    "__x__",
]
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=30), max_size=8).map(", ".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from(WORDS),
    lambda inside: (
        st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inside, max_size=5)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp932", "shift_jis", "gb18030"]


def in_encoding(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


CAPTIONS = st.builds(in_encoding, TEXTS, st.sampled_from(ENCODINGS)) | st.binary(max_size=80)
JSON_BYTES = st.one_of(
    (OBJECTS | JSON).map(lambda value: json.dumps(value).encode()),
    (OBJECTS | JSON).map(lambda value: as_bytes(json.dumps(value, ensure_ascii=False))),
    st.integers(1, 3000).map(lambda depth: b"[" * depth),
    st.integers(1, 200_000).map(lambda digits: b'{"score": ' + b"9" * digits + b"}"),
    CAPTIONS,
)
SIDES = st.tuples(st.sampled_from([".txt", ".caption", ".tags", ".TXT", ".png.txt"]), CAPTIONS) | st.tuples(
    st.sampled_from([".json", ".png.json"]), JSON_BYTES
)
LISTED = st.lists(
    st.builds(
        lambda name, content: as_bytes(json.dumps({**content, "file_name": name})),
        st.sampled_from(["good-0.png", "good-1.png", "../x.png", "/etc/passwd", "no.png"]) | st.text(max_size=10),
        OBJECTS,
    )
    | st.binary(max_size=40),
    max_size=5,
).map(b"\n".join)

# --- values of a character's own config


def paths(content: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key path of a mapping with its value."""
    for key, value in content.items():
        yield (*above, key), value
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


DEFAULT_VALUES = {
    key: value
    for section in SECTIONS
    for key, value in paths(read_yaml(DEFAULTS)[section], (section,))
    if not isinstance(value, dict)
}
NUMBERS = st.sampled_from([0, 1, 2, 3, 0.0, 0.001, 0.5, 0.999, 1.0, 1e-9, 1e9, -1, float("nan"), float("inf")])
NUMBERS |= st.integers(0, 40) | st.floats(0, 1)
NAMES = st.sampled_from(["smile", "1girl", "solo", "folder:good-0.png", "a" * 64, "é", "sample/x", "general"])


def like(value: Any) -> st.SearchStrategy[Any]:
    """Values of the kind of a default, which the schema mostly takes."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, list):
        return st.lists(st.sampled_from(value) | NAMES if value else NAMES, max_size=4, unique=True)
    if isinstance(value, str):
        return st.sampled_from([value, "mine", "merged", "auto", ""]) | st.integers(0, 300)
    return NUMBERS | st.none() | st.sampled_from(["identity", "all"])


ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.lists(st.text(max_size=4))
)


def value_of(key: tuple[str, ...], die: int) -> st.SearchStrategy[Any]:
    """In one case of six a value of any kind."""
    return ANYTHING if die == 5 else like(DEFAULT_VALUES[key])


VALUES = st.sampled_from(sorted(DEFAULT_VALUES)).flatmap(
    lambda key: st.tuples(st.just(key), st.integers(0, 5).flatmap(lambda die: value_of(key, die)))
)

# --- characters

IRREGULAR = st.sampled_from(
    ["dangling link", "looping link", "link to a folder", "link", "pipe", "folder", "hidden", "deep"]
)
ODD: st.SearchStrategy[Odd] = st.one_of(
    st.tuples(st.just("file"), st.tuples(FILE_NAMES, BYTES)),
    st.tuples(st.just("picture"), BYTES),
    st.tuples(st.just("side"), st.tuples(st.integers(0, GOOD_PICTURES - 1), SIDES)),
    st.tuples(st.just("side"), st.tuples(st.integers(0, GOOD_PICTURES - 1), SIDES)),
    st.tuples(st.just("listing"), st.tuples(st.sampled_from(["metadata.jsonl", "metadata.csv"]), LISTED)),
    st.tuples(st.just("irregular"), st.tuples(IRREGULAR, FILE_NAMES)),
    st.tuples(st.just("value"), VALUES),
)


@dataclass(frozen=True)
class Person:
    """A character with odd things."""

    folder: bytes  # name of their folder of pictures
    odd: list[Odd]

    @property
    def own_config(self) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for kind, what in self.odd:
            if kind == "value":
                (*above, last), value = what
                inner = content
                for part in above:
                    inner = inner.setdefault(part, {})
                inner[last] = value
        return content


PEOPLE = st.builds(Person, FOLDER_NAMES, st.lists(ODD, min_size=2, max_size=MOST_ODD))


def people(number: int, seed_number: int) -> list[Person]:
    """So many characters, the same for the same seed."""
    found: list[Person] = []

    @seed(seed_number)
    @settings(
        max_examples=number,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(PEOPLE)
    def collect(person: Person) -> None:
        found.append(person)

    collect()
    return found[:number]


# --- on the disk


def write_project(folder: Path) -> None:
    """A project without characters, with small picture models."""
    write_base(folder / "base")
    write_models(folder / "models")
    write_json(folder / "config" / "config.yaml", CONFIG)
    (folder / "config" / "characters").mkdir()


def write_people(folder: Path, chosen: list[Person]) -> dict[str, Person]:
    """Write the characters of one run over those of the last one; by name."""
    by_name = {f"c{number:03}": person for number, person in enumerate(chosen)}
    rows = []
    for name, person in by_name.items():
        own = folder / "pictures" / name
        odd = Path(os.fsdecode(os.fsencode(own) + b"/" + person.folder))
        pictures = odd if in_roster(str(odd)) else own
        write_pictures(pictures, person)
        if person.own_config:
            text = yaml.safe_dump(person.own_config, allow_unicode=True)
            (folder / "config/characters" / f"{name}.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
        rows.append(f"{name}\tfolder\t{pictures.relative_to(folder)}\n")
    (folder / "config/characters.tsv").write_text("character\tsource\tquery\n" + "".join(rows), encoding="utf-8")
    return by_name


def in_roster(query: str) -> bool:
    """Whether a roster of UTF-8 lines can name a path."""
    return query.isprintable() and query == query.strip()


def write_pictures(folder: Path, person: Person) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(GOOD_PICTURES):
        (folder / f"good-{number}.png").write_bytes(encoded(drawn(1000 + number), "PNG"))
    for number, (kind, what) in enumerate(person.odd):
        match kind:
            case "file":
                write_over(folder, what[0], what[1])
            case "picture":
                write_over(folder, b"odd-%d.png" % number, what)
            case "side":
                write_over(folder, os.fsencode(f"good-{what[0]}{what[1][0]}"), what[1][1])
            case "listing":
                write_over(folder, os.fsencode(what[0]), what[1])
            case "irregular":
                write_irregular(folder, what[0], what[1])


def place_of(folder: Path, name: bytes) -> bytes:
    return os.fsencode(folder) + b"/" + name


def write_over(folder: Path, name: bytes, data: bytes) -> None:
    place = place_of(folder, name)
    if not os.path.lexists(place):
        with open(place, "wb") as handle:
            handle.write(data)


def write_irregular(folder: Path, kind: str, name: bytes) -> None:
    """What is no plain file; where the name is taken, nothing."""
    place = place_of(folder, name)
    if os.path.lexists(place):
        return
    match kind:
        case "dangling link":
            os.symlink(b"/nowhere/at/all", place)
        case "looping link":
            os.symlink(name, place)
        case "link to a folder":
            os.symlink(os.fsencode(folder), place)
        case "link":
            os.symlink(b"good-0.png", place)
        case "pipe":
            os.mkfifo(place)
        case "folder" | "hidden":
            name = b"." + name[:200] if kind == "hidden" else name
            os.makedirs(place_of(folder, name), exist_ok=True)
            write_over(folder, name + b"/inside.png", made("png"))
        case "deep":
            os.makedirs(place + b"/a" * 60)
            write_over(folder, name + b"/a" * 60 + b"/inside.png", made("webp"))


# --- how it ended


def refused_at_the_start(folder: Path, names: list[str]) -> dict[str, str]:
    """What a run would say of each own config file that it does not take; these files are removed."""
    refused: dict[str, str] = {}
    own = folder / "config/characters"
    while True:
        try:
            load_project()
            return refused
        except CharaloomError as problem:
            message = str(problem)
        name = next(name for name in names if f"{name}.yaml" in message and (own / f"{name}.yaml").exists())
        refused[name] = message
        (own / f"{name}.yaml").unlink()


def ending(folder: Path, name: str, said: str) -> tuple[str, str]:
    """`built`, `refused` or `wrong`, and why; `said` is the output of the run."""
    project = load_project()
    ended: Standing = standing(project, name)
    logs = sorted((folder / "work/logs" / name).glob("*.log"))
    traces = [log.name for log in logs if "Traceback" in log.read_text(errors="replace")]
    if traces or "Traceback" in said:
        return "wrong", f"a traceback in {', '.join(traces) or 'the output'}"
    if (folder / "results" / name / f"{UNTIL}.manifest.json").exists():
        return "built", ""
    if ended.state != "failed" or not ended.why:
        return "wrong", f"stuck: {ended.state} in {ended.stage}, no reason"
    if name not in ended.why or len(ended.why) > 2000:
        return "wrong", f"no clear line: {ended.why[:300]}"
    return "refused", ended.why
