"""make bench-warm: seconds to the first step of a training, of the first character and of the next ones.

    make bench-warm                   three trainings of the demo's first character, one warm process

Counted from the call of the stage to the line of the first step in its log: pictures and latents
included. Needs the demo dataset (`make demo`); the last line is JSON with the keys `first` and `second` (the median of
those after the first).
"""

import argparse
import json
import shutil
import statistics
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

if TYPE_CHECKING:
    from charaloom.config.params import Checkpoints

STEPS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=4)
    number = parser.parse_args().trainings
    from charaloom.config.params import Checkpoints
    from charaloom.config.project import load_project
    from charaloom.config.stage_params import stage_params
    from charaloom.demo.commands.world import CONFIGS

    project = load_project([ROOT / path for path in CONFIGS])
    results = Path(project.config["paths"]["results"])
    ready = [name for name in project.characters if (results / name / "dataset.manifest.json").exists()]
    if not ready:
        sys.exit(f"{results}: no dataset of the demo is there; run `make demo` first")
    params = replace(Checkpoints.of(stage_params(project, ready[0], "checkpoints")), steps=STEPS, save_every=STEPS)
    work = Path(project.config["paths"]["work"]) / "bench-warm"
    shutil.rmtree(work, ignore_errors=True)
    seconds = []
    for index in range(number):
        seconds.append(first_step(ready[0], params, results / ready[0], work / str(index)))
        print(f"training {index + 1}: first step after {seconds[-1]:.1f} s", flush=True)
    print(json.dumps({"first": round(seconds[0], 2), "second": round(statistics.median(seconds[1:]), 2)}))


def first_step(character: str, params: "Checkpoints", results: Path, folder: Path) -> float:
    """Seconds from the call to the first step."""
    from charaloom.training.checkpoints import TrainingInputs, train

    folder.mkdir(parents=True)
    log = folder / "log.txt"
    inputs = TrainingInputs(results / "dataset", results / "dataset.manifest.json", results / "outfits.json")
    places = {"folder": folder / "checkpoints", "manifest": folder / "checkpoints.manifest.json", "log": log}
    how = {**places, "work": folder / "work", "warm_seconds": 30.0}
    started = time.monotonic()
    training = threading.Thread(target=train, args=(character, params, inputs), kwargs=how)
    training.start()
    while not (log.exists() and "step 1/" in log.read_text(errors="replace")):
        if not training.is_alive():
            sys.exit(f"the training ended before its first step; see {log}")
        time.sleep(0.02)
    seconds = time.monotonic() - started
    training.join()
    return seconds


if __name__ == "__main__":
    main()
