"""make drill-training: kill -9 a training of the demo at random points; the next run must end in the same bytes.

    make drill-training                     20 kills, the demo's own steps
    make drill-training ARGS="--kills 3"    quicker

Each kill has a work folder of its own: a job is started, killed with its trainer after a share of the undisturbed run's
time, random by a seed, and run again to the end. Needs the demo's dataset (`make demo`); prints a table and, last,
JSON with the keys `same` and `kills`.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

JOB = """
import json, sys
from pathlib import Path
from charaloom.config.params import Checkpoints
from charaloom.training.checkpoints import TrainingInputs, train
character, params = sys.argv[1], Checkpoints.of(json.loads(sys.argv[2]))
results, folder = Path(sys.argv[3]), Path(sys.argv[4])
inputs = TrainingInputs(results / "dataset", results / "dataset.manifest.json", results / "outfits.json")
places = {"folder": folder / "checkpoints", "manifest": folder / "checkpoints.manifest.json", "work": folder / "work"}
train(character, params, inputs, **places, log=folder / "log.txt")
"""


@dataclass(frozen=True)
class Drill:
    """One training of a character of the demo in a folder of its own."""

    folder: Path
    character: str
    params: dict[str, object]
    results: Path

    def job(self) -> "subprocess.Popen[bytes]":
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = [self.character, json.dumps(self.params), self.results / self.character, self.folder]
        command = [sys.executable, "-W", "ignore", "-c", JOB, *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "scripts"), "PATH": "/usr/bin:/bin"})

    def run(self) -> float:
        """Seconds of a run to the end."""
        started = time.monotonic()
        if self.job().wait():
            sys.exit(f"the training failed; see {self.folder / 'log.txt'}")
        return time.monotonic() - started

    def killed_after(self, seconds: float) -> str:
        """Kill -9 after so many seconds; the last step that it had reported."""
        job = self.job()
        time.sleep(seconds)
        job.send_signal(signal.SIGKILL)
        job.wait()
        steps = [line for line in (self.folder / "log.txt").read_text().splitlines() if line.startswith("step ")]
        return steps[-1].split(",")[0] if steps else "before its first step"

    def digests(self) -> dict[str, str]:
        from charaloom.artifacts.files import sha256_file

        return {path.name: sha256_file(path) for path in sorted((self.folder / "checkpoints").iterdir())}


def main() -> None:
    options = arguments()
    undisturbed, drills = plan(options)
    seconds = undisturbed.run()
    expected = undisturbed.digests()
    print(f"undisturbed: {len(expected)} files in {seconds:.0f} s", flush=True)
    moments = random.Random(options.seed)
    after = [moments.uniform(0.05, 0.95) * seconds for _ in drills]
    with ThreadPoolExecutor(options.jobs) as pool:
        same = list(pool.map(lambda pair: survived(*pair, expected), zip(drills, after, strict=True)))
    print(json.dumps({"same": sum(same), "kills": len(same)}))
    sys.exit(0 if all(same) else 1)


def survived(drill: Drill, seconds: float, expected: dict[str, str]) -> bool:
    """Kill, run again, compare; remove the folder where the bytes are the same."""
    at = drill.killed_after(seconds)
    drill.run()
    same = drill.digests() == expected
    print(f"{drill.folder.name}: killed after {seconds:.1f} s ({at}): {'same' if same else 'OTHER'} bytes", flush=True)
    if same:
        shutil.rmtree(drill.folder)
    return same


def plan(options: argparse.Namespace) -> tuple[Drill, list[Drill]]:
    from charaloom.config.project import load_project
    from charaloom.config.stage_params import stage_params
    from charaloom.demo.commands.world import CONFIGS

    project = load_project([ROOT / path for path in CONFIGS])
    results = Path(project.config["paths"]["results"])
    ready = [name for name in project.characters if (results / name / "dataset.manifest.json").exists()]
    if not ready:
        sys.exit(f"{results}: no dataset of the demo is there; run `make demo` first")
    params = stage_params(project, ready[0], "checkpoints")
    if options.steps:
        params |= {"steps": options.steps, "save_every": max(1, options.steps // 4)}
    work = Path(project.config["paths"]["work"]) / "drill-training"
    shutil.rmtree(work, ignore_errors=True)
    names = ["undisturbed", *(f"kill-{number:02d}" for number in range(1, options.kills + 1))]
    undisturbed, *drills = (Drill(work / name, ready[0], params, results) for name in names)
    return undisturbed, drills


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, help="instead of the demo's own")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2, help="kills side by side")
    return parser.parse_args()


if __name__ == "__main__":
    main()
