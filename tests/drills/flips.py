"""make drill-flips: flip one bit in each kind of file that a stage reads; `charaloom run` must end in the same bytes.

    make drill-flips                              one place in each kind of file, an hour
    make drill-flips ARGS="--places 20"           the figure of issue 20
    make drill-flips ARGS="--only measured"       kinds of files whose name holds a word
    make drill-flips ARGS="--hidden"              as on a disk that rots: no time tells, a job finds it where it reads

Two small characters are built once. Then, again and again, a bit flips in a file of `results`, `work` or a published
copy, whose modification time stays; where it is a cache, the artifact that is made with it is removed, so that the
cache is read. `charaloom run` must end well with the bytes of before (healed), or say which file is damaged (refused).
Prints a line for each and, last, JSON with the keys `flips`, `healed`, `refused`, `wrong`.
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from tests.conftest import make_tiny_base  # noqa: E402
from tests.faults.place import Place, new_place, world  # noqa: E402

# What reads a cache, by the first part of its kind; files that no stage reads, and those that are the user's own.
READ_BY = {
    "work/measured": "measured",
    "work/hub": "measured",
    "work/*/raw": "raw",
    "work/*/checkpoints": "checkpoints",
    "work/*/previews": "previews",
    "work/bases": "checkpoints",
}
SHORT = {  # what is one kind, whatever its name
    r"previews/.*\.png$": "previews/**.png",
    r"^work/hub/.*/snapshots/.*\.(\w+)$": r"work/hub/**.\1",
    r"^work/hub/.*/refs/main$": "work/hub/**/refs/main",
    r"^work/measured/.*": "work/measured/**",
    r"^second/": "published/",
}
UNREAD = re.compile(
    r"work/(logs|benchmarks|controller|hosts)|\.lock$|/lock$|status\.html|/config\.py$|tfevents|\.pyc$|run/cfg|run/full_cfg|/board/|/base/"
)


READING = ("filtered", "tagged", "curation", "outfits", "dataset", "selection", "model", "report")


def kind_of(path: str, characters: list[str]) -> str:
    """A file by its place, with names of characters, digests and numbers left open."""
    for name in characters:
        path = path.replace(f"/{name}/", "/*/").replace(f"/{name}", "/*")
    for place, short in SHORT.items():
        path = re.sub(place, short, path)
    return re.sub(r"[0-9a-f]{12,}|\d+", "*", path)


def kinds_of(place: Place, characters: list[str]) -> dict[str, list[Path]]:
    kinds = defaultdict(list)
    for top in ("results", "work", "published", "second"):
        for file in sorted((place.folder / top).rglob("*")):
            relative = str(file.relative_to(place.folder))
            if file.is_file() and not file.is_symlink() and file.stat().st_size and not UNREAD.search(relative):
                kinds[kind_of(relative, characters)].append(file)
    return kinds


def flip(file: Path, generator: random.Random) -> int:
    """Flip one bit; the size and the modification time stay."""
    status = file.stat()
    data = bytearray(file.read_bytes())
    place = generator.randrange(max(1, len(data) - 1))
    data[place] ^= 1 << generator.randrange(8)
    with file.open("r+b") as handle:
        handle.write(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    return place


def ended(place: Place, kind: str, file: Path, expected: dict[str, str], log: Path, characters: list[str]) -> str:
    """How a run ends after a flip: healed, refused or wrong."""
    reader = next((stage for start, stage in READ_BY.items() if kind.startswith(start)), None)
    if reader:
        for name in characters:
            (place.folder / "results" / name / f"{reader}.manifest.json").unlink(missing_ok=True)
    log.write_text("")
    code = place.run(log)
    if place.artifacts() == expected:
        return "healed"
    return "refused" if code and file.name in log.read_text() else "wrong"


def hide(place: Place, file: Path, characters: list[str]) -> None:
    """Make every manifest newer than the flip, and the stages due that read what others made."""
    for name in characters:
        folder = place.folder / "results" / name
        for manifest in [*folder.glob("*.manifest.json"), *folder.glob("published/*.json")]:
            os.utime(manifest)
        for stage in READING:
            if not file.name.startswith(stage) and file.parent.name != stage:
                (folder / f"{stage}.manifest.json").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--places", type=int, default=1, help="flips in each kind of file")
    parser.add_argument("--only", default="", help="a part of the names of kinds")
    parser.add_argument("--until", help="the last stage")
    parser.add_argument("--hidden", action="store_true", help="no time tells of the flip")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator, ends = random.Random(options.seed), Counter[str](healed=0, refused=0, wrong=0)
    with tempfile.TemporaryDirectory(prefix="charaloom-flips-") as name:
        root = Path(name)
        (root / "base").mkdir()
        make_tiny_base(root / "base" / "tiny")
        with world(root) as drawn:
            place, log = new_place(root / "place", drawn, root / "base" / "tiny", options.until), root / "run.log"
            if place.run(log):
                sys.exit(log.read_text()[-3000:])
            expected = place.artifacts()
            characters = sorted(path.name for path in (place.folder / "results").iterdir() if path.is_dir())
            kinds = [kind for kind in kinds_of(place, characters) if options.only in kind]
            generator.shuffle(kinds)
            print(f"{len(kinds)} kinds of files", flush=True)
            for kind in kinds * options.places:
                files = kinds_of(place, characters).get(kind)
                if not files:
                    continue
                file = generator.choice(files)
                where = flip(file, generator)
                if options.hidden:
                    hide(place, file, characters)
                how = ended(place, kind, file, expected, log, characters)
                ends[how] += 1
                print(f"{how:8} {kind}  {file.relative_to(place.folder)} byte {where}", flush=True)
                if how == "wrong":
                    print(log.read_text()[-1500:], flush=True)
                if how != "healed" and place.run(log) and place.artifacts() != expected:
                    sys.exit(f"it does not come back: {log.read_text()[-3000:]}")
    print(json.dumps({"flips": ends.total(), **ends}))
    sys.exit(1 if ends["wrong"] else 0)


if __name__ == "__main__":
    main()
