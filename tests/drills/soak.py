"""make drill-soak: two small characters under random faults for an hour; the same bytes in the end, and nothing else.

    make drill-soak                                    60 minutes
    make drill-soak ARGS="--minutes 10 --until outfits"

By chance, again and again: a run is killed (everything, Snakemake, the command, a stage), a bit flips in a file of
`results`, `work` or a published copy, an artifact is deleted, or a run may go to its end. Then two last runs. Their
bytes are compared with those of an undisturbed one, and so is the number of files: temporary ones would stay. Prints a
line for each fault and, last, JSON with the keys `faults`, `same`, `left_over`, `most_handles`.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT), str(Path(__file__).parent)]

from flips import flip, kinds_of  # noqa: E402

from tests.conftest import make_tiny_base  # noqa: E402
from tests.faults.place import Place, new_place, world  # noqa: E402

FAULTS = ("tree", "snakemake", "command", "stage", "flip", "flip", "delete", "none")
LATER = ("logs", "benchmarks", ".snakemake", "status.html", "due.json", "__pycache__")  # differ from run to run


def files_of(place: Place) -> int:
    """Files of a finished place that a run leaves, whatever happened before."""
    paths = [path for path in place.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(not any(part in LATER for part in path.relative_to(place.folder).parts) for path in paths)


def handles(place: Place) -> int:
    """Open files of all processes in the folder."""
    total = 0
    for pid in place.processes():
        with suppress(OSError):
            total += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return total


def faulty(place: Place, kind: str, log: Path, generator: random.Random, characters: list[str]) -> int:
    """One fault, and the run that it happens to; the most open files that were seen."""
    files = [file for kind_files in kinds_of(place, characters).values() for file in kind_files]
    if kind == "flip" and files:
        flip(generator.choice(files), generator)
    if kind == "delete":
        artifacts = [file for file in files if "/results/" in str(file)]
        if artifacts:
            generator.choice(artifacts).unlink()
    process, most, until = place.start(log), 0, time.monotonic() + generator.expovariate(1 / 15)
    while process.poll() is None and (kind in ("flip", "delete", "none") or time.monotonic() < until):
        most = max(most, handles(place))
        with suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
    if process.poll() is None:
        place.kill(kind) or place.kill("tree")
    process.wait()
    place.wait_until_empty()
    return most


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--until", help="the last stage")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator, faults, most = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="charaloom-soak-") as name:
        root = Path(name)
        (root / "base").mkdir()
        base = root / "base" / "tiny"
        make_tiny_base(base)
        with world(root) as drawn:
            whole = new_place(root / "whole", drawn, base, options.until)
            if whole.run(root / "whole.log"):
                sys.exit((root / "whole.log").read_text()[-3000:])
            characters = sorted(path.name for path in (whole.folder / "results").iterdir() if path.is_dir())
            place, limit = (
                new_place(root / "place", drawn, base, options.until),
                time.monotonic() + options.minutes * 60,
            )
            while time.monotonic() < limit:
                kind = generator.choice(FAULTS)
                most = max(most, faulty(place, kind, root / "place.log", generator, characters))
                faults[kind] += 1
                print(f"{kind:10} {faults.total()} faults, {files_of(place)} files, {most} handles", flush=True)
            codes = [place.run(root / "place.log") for _ in range(2)]
            same = place.artifacts() == whole.artifacts()
            left_over = files_of(place) - files_of(whole)
            if codes[-1]:
                shutil.copy(root / "place.log", "soak.log")
    print(json.dumps({"faults": faults.total(), "same": same, "left_over": left_over, "most_handles": most}))
    sys.exit(0 if same and codes[-1] == 0 else 1)


if __name__ == "__main__":
    main()
