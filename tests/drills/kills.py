"""make drill-kills: kill -9 a run of two small characters at random points; it must end in the same bytes.

    make drill-kills                                     200 kills
    make drill-kills ARGS="--kills 20 --until outfits"   quicker

A run is killed after a random time, started again by the same command, killed again, until it has finished; then all
its bytes are compared with those of an undisturbed run, and the next one begins. Killed are, by turns, the whole tree
of processes, Snakemake alone, the command alone, and the process of one stage. Prints a line for each finished run and,
last, JSON with the keys `kills`, `runs`, `same`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from tests.conftest import make_tiny_base  # noqa: E402
from tests.faults.place import Place, new_place, world  # noqa: E402

KINDS = ("tree", "snakemake", "command", "stage")


def killed_run(place: Place, log: Path, generator: random.Random, kills: int, mean: float) -> int:
    """A run to its end, killed up to `kills` times; how often it was."""
    done = 0
    while True:
        process = place.start(log)
        if done < kills:
            wait(process, generator.expovariate(1 / mean))
            kind = KINDS[done % len(KINDS)]
            if process.poll() is None and (place.kill(kind) or place.kill("tree")):
                done += 1
        code = process.wait()
        place.wait_until_empty()
        if code == 0:
            return done
        if done >= kills and code not in (0, -9) and place.run(log) != 0:
            sys.exit(f"it does not end well without a kill: {log}\n{log.read_text()[-3000:]}")


def wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--each", type=int, default=8, help="kills of one run, at most")
    parser.add_argument("--mean", type=float, default=12.0, help="seconds between a start and a kill, on average")
    parser.add_argument("--until", help="the last stage")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    kills = runs = same = 0
    with tempfile.TemporaryDirectory(prefix="charaloom-kills-") as name:
        root = Path(name)
        (root / "base").mkdir()
        base = root / "base" / "tiny"
        make_tiny_base(base)
        with world(root) as drawn:
            whole = new_place(root / "whole", drawn, base, options.until)
            if whole.run(root / "whole.log"):
                sys.exit((root / "whole.log").read_text()[-3000:])
            expected = whole.artifacts()
            while kills < options.kills:
                place = new_place(root / f"run-{runs}", drawn, base, options.until)
                most = min(options.each, options.kills - kills)
                done = killed_run(place, root / f"run-{runs}.log", generator, most, options.mean)
                found = place.artifacts()
                differing = sorted(path for path in expected.keys() | found if expected.get(path) != found.get(path))
                kills, runs, same = kills + done, runs + 1, same + (not differing)
                print(f"run {runs}: killed {done} times, {len(differing)} files differ {differing[:5]}", flush=True)
    print(json.dumps({"kills": kills, "runs": runs, "same": same}))
    sys.exit(0 if same == runs else 1)


if __name__ == "__main__":
    main()
