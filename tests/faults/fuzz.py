"""make fuzz: our own parsers on mutants of what they read, for some seconds each; they may only refuse.

    make fuzz                                   60 seconds for each parser
    make fuzz SECONDS=600                       the figure of issue 20
    make fuzz SECONDS=60 ARGS="captions yaml"   some of them

A mutant that ends otherwise, or takes longer than 5 seconds, is printed and kept in `.fuzz/`; the command then ends
with 1.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.manifest import Lineage, read_lineage, write_manifest
from charaloom.artifacts.sealed import read_sealed
from charaloom.config.roster import read_roster, roster_checks
from charaloom.config.schemas import read_yaml, violation
from charaloom.errors import CharaloomError
from charaloom.images.decoding import Limits, inspect
from charaloom.images.generated import generation_parameters
from charaloom.sources.boards.answers import NotAListError
from charaloom.sources.boards.dialect import Cursor
from charaloom.sources.boards.listing import DIALECTS
from charaloom.sources.folders.captions import read_caption
from charaloom.sources.folders.side_files import UnreadableError, listing_rows, read_side_file
from charaloom.sources.network.robots import read_robots
from charaloom.sources.network.secrets import scrubbed_text, scrubbed_url
from charaloom.sources.posts import text_of
from charaloom.sources.safe_text import safe_post, safe_text
from charaloom.sources.waifuc.items import post_of_item
from charaloom.weights.headers import read_header
from tests.servers import boards

ROOT = Path(__file__).parents[2]
ALLOWED = (CharaloomError, UnreadableError, NotAListError)
SLOWEST = 5.0  # seconds
TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r", b"\t", b'"', b"\\", b"{", b"}", b"[", b"]",
    b"<", b">", b"(", b")", b":", b",", b"|", b"&#x110000;", b"&amp;", b"%00", b"null", b"true", b"NaN", b"1e999",
    b"-1", b"9" * 400, b"\\ud800", b"[" * 2000, b'{"a":' * 500, b"(" * 300, b"<lora:x:1>", b"BREAK", b"&a [*a]",
    b"!!python/object/apply:os.system", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"a" * 5000, b"://", b"@", b";", b"=", b"?",
)  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """What reads some bytes, and what it usually reads."""

    read: Callable[[bytes], object]
    seeds: list[bytes]


def mutant(seeds: list[bytes], rng: random.Random) -> bytes:
    """A seed with a few changes: bits, bytes, cuts, pieces of other seeds, tokens that parsers stumble on."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + rng.randrange(8)] = bytes(rng.randrange(256) for _ in range(rng.randrange(5)))
        elif kind == 2:
            del data[place : place + rng.randrange(1, 200)]
        elif kind == 3:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            data[place:place] = other[start : start + rng.randrange(200)]
        else:
            data[place:place] = rng.choice(TOKENS)
    return bytes(data)


def by_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of files as one of bytes."""
    folder = Path(tempfile.mkdtemp(prefix="charaloom-fuzz-"))

    def call(data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return call


def of_posts(name: str) -> Callable[[bytes], object]:
    """A dialect: a page, its rows as posts, their text made safe."""
    dialect = DIALECTS[name]

    def call(data: bytes) -> object:
        rows = dialect.page(data).rows
        return [safe_post(dialect.found(row, "site", "https://board.example", "hana").post, False) for row in rows]

    return call


def page_of(server: boards.Server, name: str) -> bytes:
    """An answer of a board of the tests."""
    import urllib.request
    from urllib.parse import urlencode

    with boards.serving(server):
        request = DIALECTS[name].request(server.root, boards.TAG, Cursor())
        account = DIALECTS[name].account("5", "key")
        keys = {key: value for kind in ("secret_params", "params") for key, value in account.get(kind, {}).items()}
        query = f"?{urlencode({**request.params, **keys})}" if request.params or keys else ""
        headers = {"User-Agent": "test (test@test.example)", **request.headers, **account.get("secret_headers", {})}
        with urllib.request.urlopen(urllib.request.Request(request.url + query, headers=headers), timeout=20) as answer:
            return answer.read()


def of_roster(path: Path) -> object:
    characters = read_roster(path)
    for each in roster_checks(path, {}):
        each()
    return characters


def of_text(data: bytes) -> object:
    text = text_of(data.decode("utf-8", "surrogateescape")) or ""
    return scrubbed_text(text), scrubbed_url(text), safe_text(text)


def of_config(path: Path) -> object:
    content = read_yaml(path)
    return violation(content, "config") if isinstance(content, dict) else None


def parsers() -> dict[str, Parser]:
    caption = b"hana, 1girl, (smile:1.2), red_dress, <lora:x:1>, A girl stands by the sea.\nSteps: 20, Seed: 1"
    post = json.dumps(
        {"id": 1, "tag_string_general": "1girl smile", "rating": "g", "tags": {"general": ["a"]}, "caption": "a, b",
         "tags_artist": ["x"], "source": "https://a.example/x?token=1", "score": 3, "md5": "0" * 32, "file_url": "/a"}
    ).encode()  # fmt: skip
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"format": "pt"}})
    weights = len(header).to_bytes(8, "little") + header.encode() + b"\0" * 8
    folder = Path(tempfile.mkdtemp(prefix="charaloom-fuzz-"))
    write_manifest(folder / "raw.manifest.json", Lineage("raw", "hana", "0" * 64, {"a": 1}, {}), {}, {"rows": 3})
    manifest, lineage = (folder / f"raw.{kind}.json" for kind in ("manifest", "lineage"))
    known = {
        "captions": Parser(lambda data: read_caption(data.decode("utf-8", "replace")), [caption]),
        "side text": Parser(by_file("a.txt", read_side_file), [caption, b"\xff\xfea\x00,\x00"]),
        "side json": Parser(by_file("a.json", read_side_file), [post]),
        "listing": Parser(
            by_file("metadata.jsonl", lambda path: list(listing_rows(path))), [b'{"file_name": "a"}\n' + post]
        ),
        "item": Parser(lambda data: post_of_item(json_object(data), 1), [post]),
        "text": Parser(of_text, [b"https://me:pw@a.example/x?api_key=1&b=2#token=3 Bearer abcdefgh", caption]),
        "robots": Parser(lambda data: read_robots(200, data), [b"User-agent: *\nDisallow: /x\nCrawl-delay: 3\n"]),
        "header": Parser(by_file("a.safetensors", read_header), [weights]),
        "manifest": Parser(by_file("a.json", read_sealed), [manifest.read_bytes()]),
        "lineage": Parser(by_file("a.json", read_lineage), [lineage.read_bytes()]),
        "roster": Parser(by_file("a.tsv", of_roster), [b"character\tsource\tquery\ttrigger\nhana\tfolder\tx\thana\n"]),
        "yaml": Parser(
            by_file("a.yaml", of_config), [(ROOT / "config/small.yaml").read_bytes(), b"training: {steps: 3}\n"]
        ),
        "pictures": Parser(lambda data: inspect(data, Limits(10**6)), pictures()),
        "generation data": Parser(
            lambda data: inspect(data, Limits(10**6))[1] or generation_parameters(data), pictures()
        ),
    }
    servers = (
        boards.Danbooru, boards.E621, boards.Gelbooru, boards.Gelbooru02Xml, boards.Moebooru, boards.OldMoebooru,
        boards.Philomena, boards.Shimmie, boards.Szurubooru, boards.Zerochan,
    )  # fmt: skip
    for name, server in zip(DIALECTS, servers, strict=True):
        known[name] = Parser(of_posts(name), [page_of(server(), name)])
    return known


def json_object(data: bytes) -> dict[str, object]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def pictures() -> list[bytes]:
    import io

    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "hana\nSteps: 20, Sampler: Euler, Seed: 1")
    drawn = Image.effect_noise((32, 24), 50).convert("RGB")
    made = []
    for kind, options in (
        ("PNG", {"pnginfo": text}),
        ("JPEG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
    ):
        buffer = io.BytesIO()
        drawn.save(buffer, kind, **options)
        made.append(buffer.getvalue())
    return made


def fuzzed(
    name: str, parser: Parser, seconds: float, rng: random.Random, most: int | None = None
) -> tuple[int, str | None]:
    """How many mutants were read, and what went wrong with the last one."""
    limit, tried = time.monotonic() + seconds, 0
    while time.monotonic() < limit and (most is None or tried < most):
        data, started = mutant(parser.seeds, rng), time.monotonic()
        tried += 1
        problem = None
        try:
            parser.read(data)
        except ALLOWED:
            pass
        except Exception as error:  # whatever it is, a stranger's file must not raise it
            problem = f"{type(error).__name__}: {error}"
        if problem is None and time.monotonic() - started > SLOWEST:
            problem = f"took {time.monotonic() - started:.0f} s"
        if problem:
            kept = ROOT / ".fuzz" / f"{name.replace(' ', '-')}-{tried}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(data)
            return tried, f"{problem} ({kept})"
    return tried, None


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("names", nargs="*")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=int(time.time()))
    given = options.parse_args()
    known, failed = parsers(), 0
    for name in given.names or known:
        tried, problem = fuzzed(name, known[name], given.seconds, random.Random(f"{name}/{given.seed}"))
        failed += problem is not None
        print(f"{name:16} {tried:>9,} mutants  {problem or 'nothing found'}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
