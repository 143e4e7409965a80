"""Remove an artist from some of the characters, run again, and look for what is left of the artist in every file.

    make drill-removal [ARGS="--characters 20 --affected 3 --keep /tmp/removal"]

To reach (issue 18): exactly the affected characters are rebuilt and published again, and nothing of the artist is left:
no byte of a file, no hash, no name, except in the list of removals itself. Trains a tiny base for two steps; every
second character is crawled from a loopback board, the others lie in folders.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from charaloom.artifacts.files import files_below, sha256_file, write_json  # noqa: E402
from charaloom.demo.world.board import serve  # noqa: E402
from charaloom.demo.world.building import build_world  # noqa: E402
from tests.conftest import make_tiny_base  # noqa: E402
from tests.workflow.test_end_to_end import CONFIG, write_pictures  # noqa: E402
from tests.workflow.workplace import Workplace  # noqa: E402

SEED, POSTS = 3, 32
ARTIST = "somebody_who_asked"
REMOVED = 3  # pictures of each affected character
LIST = "config/removals.yaml"
SLICE = 64  # bytes from the middle of a file by which its copy is known


@dataclass(frozen=True)
class Outcome:
    """Characters whose artifacts changed, by the drill's table; what is left of the artist, by file."""

    affected: list[str]
    changed: list[str]
    files: list[str]  # that changed of characters that are not affected
    left: list[str]
    said: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--characters", type=int, default=4)
    parser.add_argument("--affected", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a new folder that stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        make_tiny_base(base)
        outcome = drill(arguments.keep or Path(folder) / "drill", base, arguments.characters, arguments.affected)
    print(outcome.said)
    print(f"affected {outcome.affected}, rebuilt {outcome.changed}, files with something left: {len(outcome.left)}")
    print("\n".join([*outcome.files, *outcome.left]))
    return 0 if outcome.changed == outcome.affected and not outcome.left else 1


def drill(folder: Path, base: Path, characters: int, affected: int) -> Outcome:
    """Build, remove, build again."""
    world = folder / "world"
    build_world(world, SEED, characters=characters, posts=POSTS)
    names = attribute(world, affected)
    with serve(world) as board:
        place = make_project(folder / "project", world, board.root, base)
        run(place)
        sought = set(traces(world))
        before = digests(place.folder)
        left_before = remains(place.folder, sought)
        assert left_before, "the artist's pictures were used"
        said = place.charaloom("remove", ARTIST)
        assert said.returncode == 0, said.stdout
        drop_from_folders(place.folder, sought)
        run(place)
    after = digests(place.folder)
    changed = sorted(name for name in after if before[name] != after[name])
    others = sorted(set(changed) - set(names))
    files = [path for name in others for path in after[name] if before[name].get(path) != after[name][path]]
    return Outcome(names, changed, files, remains(place.folder, sought), said.stdout)


def attribute(world: Path, affected: int) -> list[str]:
    """Make the artist of some posts of the first characters the one who asks; returns these characters."""
    rows = [line.split("\t") for line in (world / "characters.tsv").read_text().splitlines()]
    header, rows = rows[0], rows[1:]
    posts = [json.loads(line) for line in (world / "posts.jsonl").read_text().splitlines()]
    names = []
    for row in rows[:affected]:
        character = dict(zip(header, row, strict=True))
        own = [
            post
            for post in posts
            if character["query"] in post["tag_string_character"].split() and "file_url" in post and "solo" in str(post)
        ]
        for post in own[1 : 1 + REMOVED]:
            post["tag_string_artist"] = ARTIST
        names.append(character["character"])
    (world / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    return sorted(names)


def make_project(folder: Path, world: Path, board: str, base: Path) -> Workplace:
    header, *rows = (world / "characters.tsv").read_text().splitlines()
    shutil.copytree(base, folder / "base")
    (folder / "config").mkdir()
    roster = [header]
    for number, row in enumerate(rows):
        character = dict(zip(header.split("\t"), row.split("\t"), strict=True))
        place = f"pictures-{character['character']}"
        if number % 2:
            write_pictures(folder / place, world, character["query"])
        character |= {"source": "folder", "query": place} if number % 2 else {"source": "loopback"}
        roster.append("\t".join(character.values()))
    (folder / "config" / "characters.tsv").write_text("\n".join(roster) + "\n")
    (folder / LIST).write_text("# who asked\nposts: []\nartists: [] # tags\npictures:\n")
    boards = {"loopback": {"dialect": "danbooru", "root": board, "seconds_between_requests": 0}}
    published = {"targets": {"folder": {"path": "published"}}, "weak": True}
    write_json(
        folder / "config" / "config.yaml", {**CONFIG, "boards": boards, "published": published, "removals": LIST}
    )
    return Workplace(folder)


def run(place: Workplace) -> None:
    result = place.charaloom("run", "--cores", "2", "--", "--resources", "gpu=2", "board_loopback=1")
    assert result.returncode == 0, result.stdout


def digests(folder: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of a character's files in results and published, by character; without lineages, which say under which
    settings a stage looked and found the same."""
    found: dict[str, dict[str, str]] = {}
    for top in ("results", "published"):
        for path in files_below(folder / top):
            if len(path.parts) > 1 and not path.name.endswith(".lineage.json"):
                found.setdefault(path.parts[0], {})[f"{top}/{path}"] = sha256_file(folder / top / path)
    return found


def drop_from_folders(folder: Path, sought: set[bytes]) -> None:
    """The user's own files are the user's to delete: Charaloom writes nothing there."""
    for place in folder.glob("pictures-*"):
        for path in sorted(place.iterdir()):
            if path.is_file() and any(trace in path.read_bytes() for trace in sought):
                for file in place.glob(f"{path.stem}.*"):
                    file.unlink()


def traces(world: Path) -> Iterator[bytes]:
    """By what the artist's pictures are known: the name, the hashes of the files, bytes of them."""
    yield ARTIST.encode()
    for line in (world / "posts.jsonl").read_text().splitlines():
        post = json.loads(line)
        if post["tag_string_artist"] == ARTIST:
            data = (world / post["file_url"].removeprefix("/")).read_bytes()
            yield sha256(data).hexdigest().encode()
            yield md5(data, usedforsecurity=False).hexdigest().encode()
            yield data[len(data) // 2 :][:SLICE]


def remains(folder: Path, sought: set[bytes]) -> list[str]:
    """Files below a folder that hold a trace, and what is in them."""
    found = []
    for path in files_below(folder):
        if str(path) == LIST or path.parts[0] == ".snakemake":
            continue
        for data in contents(folder / path):
            if hits := [trace for trace in sought if trace in data]:
                found.append(f"{path}: {min(hits, key=len)[:64]!r}")
                break
    return found


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file; of a Parquet file also the bytes of its cells, which are compressed in it."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64):
            yield from map(cell_bytes, pa.Table.from_batches([batch]).to_pylist())


def cell_bytes(value: Any) -> bytes:
    """All that a row holds, one after another."""
    if isinstance(value, dict):
        return b"\n".join(map(cell_bytes, value.values()))
    if isinstance(value, list):
        return b"\n".join(map(cell_bytes, value))
    return value if isinstance(value, bytes) else str(value).encode()


if __name__ == "__main__":
    sys.exit(main())
