"""make gpu: what only a GPU can show, in at most eight minutes, on any machine with one from NVIDIA.

    make gpu                          SD 1.5 at 512 px and SDXL at 1024 px, of real size with random weights
    make gpu ARGS="--small"           models of toy size: the same ways on a CPU, nothing to measure
    make gpu-wheels                   before, for a machine that has torch and no package index

It writes one fp16 file of each family and lets Charaloom convert it. Each trains in bf16 twice, through the stage
itself, for equal bytes: the second time by the warm process, as the next character would. One is killed after a
checkpoint and goes on. Then images per second in the steady state beside stock hcpdiff (SD 1.5) and a loop of diffusers
and peft (train.py), and previews in batches beside one fp32 call per picture. A part for which no time is left is left
out. The last line is JSON.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

SECONDS = 480.0
TRAINED = {"sd15": (512, 16), "sdxl": (1024, 4)}  # pixels, batch
SMALL = {"sd15": (64, 2), "sdxl": (64, 2)}
STEPS = {"sd15": 40, "sdxl": 20}
EXPECTED = {"base": 60.0, "trainings": 90.0, "rates": 100.0, "previews": 60.0}  # seconds of a part, by hand
PREVIEWS = 8


def main() -> None:
    options = arguments()
    carried(options)
    shutil.rmtree(options.work, ignore_errors=True)
    clock, result = Clock(options.seconds), {"device": device(), "seconds": {}}
    for family in options.families:
        figures: dict[str, Any] = {}
        result[family] = figures
        folder = options.work / family
        for part in (base, trainings, rates, previews):
            figures |= clock.part(part, family, folder, options)
    result["seconds"] = {**clock.parts, "all": round(clock.passed())}
    print(json.dumps(result))
    broken = [family for family in options.families if not result[family].get("same_bytes", True)]
    sys.exit(1 if broken else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=("sd15", "sdxl"), default=["sd15", "sdxl"])
    parser.add_argument("--small", action="store_true", help="toy models")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "gpu", help="10 GB each time")
    return parser.parse_args()


class Clock:
    """The time of the whole and of its parts."""

    def __init__(self, seconds: float):
        self.started, self.seconds, self.parts = time.monotonic(), seconds, dict[str, float]()

    def passed(self) -> float:
        return time.monotonic() - self.started

    def part(
        self, run: Callable[..., dict[str, Any]], family: str, folder: Path, options: argparse.Namespace
    ) -> dict[str, Any]:
        """The figures of a part; none where it would not end in time."""
        name, began = f"{family} {run.__name__}", self.passed()
        if began + EXPECTED[run.__name__] > self.seconds:
            print(f"{name}: left out, {began:.0f} of {self.seconds:.0f} s are over", flush=True)
            return {}
        figures = run(family, folder, options)
        self.parts[name] = round(self.passed() - began)
        print(f"{name}: {self.parts[name]} s {json.dumps(figures)}", flush=True)
        return figures


def device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


# --- an environment out of carried wheels


def carried(options: argparse.Namespace) -> None:
    """Run this again in a venv over this Python with the carried wheels, where the trainer is not installed."""
    wheels, venv = sorted((ROOT / ".gpu-wheels").glob("*.whl")), ROOT / "work" / "gpu-venv"
    try:
        import hcpdiff  # noqa: F401
    except ImportError:
        if os.environ.get("CHARALOOM_GPU_VENV") or not wheels:
            raise
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = venv / "lib" / version / "site-packages"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*pip, "--target", str(site), *map(str, wheels)], check=True)
        own = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (site / "below.pth").write_text("\n".join(own) + "\n")  # behind the carried ones
        python = str(venv / "bin" / "python")
        os.execve(python, [python, *sys.argv], {**os.environ, "CHARALOOM_GPU_VENV": "1"})


# --- a base of real size


def base(family: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A converted base and the project that trains on it: `folder`/config.yaml, dataset, outfits.json."""
    from charaloom.diffusion.bases import local_base
    from tests.real_size import pictures, write_checkpoint, write_project, write_vocabulary
    from tests.unit.training.trainings import write_dataset

    side, batch = (SMALL if options.small else TRAINED)[family]
    began = time.monotonic()
    path = toy(family, folder) if options.small else write_checkpoint(folder / "base.safetensors", family)
    written = time.monotonic() - began
    steps = STEPS[family]
    training = {"precision": "auto", "steps": steps, "save_every": steps // 2, "batch": batch, "threads": 1}
    training |= {"gradient_checkpointing": False, "rank": 16, "warmup": 0, "buckets": 1}
    write_project(folder, path, side, training)
    write_vocabulary(folder / "work")
    write_dataset(folder, pictures(2 * batch, side))
    began = time.monotonic()
    local_base(training_params(folder).base, folder / "work")
    return {"write_seconds": round(written, 1), "convert_seconds": round(time.monotonic() - began, 1)}


def toy(family: str, folder: Path) -> Path:
    from tests.conftest import make_tiny_base, make_tiny_sdxl

    (make_tiny_sdxl if family == "sdxl" else make_tiny_base)(folder / "toy")
    return folder / "toy"


def training_params(folder: Path) -> Any:
    from charaloom.config.params import Checkpoints
    from charaloom.config.project import load_project
    from charaloom.config.stage_params import stage_params

    return Checkpoints.of(stage_params(load_project([folder / "config.yaml"]), "hana", "checkpoints"))


# --- trainings by the stage itself

JOB = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/scripts"]
from tests.benchmarks.gpu import train_into
train_into(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def train_into(folder: Path, into: Path) -> None:
    from charaloom.training.checkpoints import TrainingInputs, train

    inputs = TrainingInputs(folder / "dataset", folder / "outfits.json", folder / "dataset.training.json")
    (into / "work").mkdir(parents=True, exist_ok=True)
    for name in ("bases", "hub"):
        if not (into / "work" / name).exists():
            (into / "work" / name).symlink_to(folder / "work" / name)
    places = {"folder": into / "checkpoints", "manifest": into / "checkpoints.manifest.json", "log": into / "log.txt"}
    train("hana", training_params(folder), inputs, **places, work=into / "work", warm_seconds=60.0)


def trainings(family: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Two trainings of equal bytes, the second by the warm process; one that is killed and goes on."""
    from charaloom.training.curves import TABLE, read_rows

    first, second, killed = (folder / name for name in ("first", "second", "killed"))
    to_first_step = {name: first_step(folder, into) for name, into in (("cold", first), ("warm", second))}
    kill_after(folder, killed, STEPS[family] // 2)
    train_into(folder, killed)
    went_on = "going on after step" in (killed / "log.txt").read_text()
    table = read_rows(second / "log" / TABLE)
    return {
        "first_step_seconds": {name: round(seconds, 1) for name, seconds in to_first_step.items()},
        "same_bytes": digests(first) == digests(second) == digests(killed),
        "went_on_after_kill": went_on,
        "training_gb": round(table[-1]["memory MB"] / 1024, 2),
        "reckoned_gb": reckoned(folder),
        "training_images_per_second": round(table[-1]["images per second"], 2),
    }


def first_step(folder: Path, into: Path) -> float:
    """Seconds from the call of the stage to its first step, which then goes on to the end."""
    started, log = time.monotonic(), into / "log.txt"
    training = threading.Thread(target=train_into, args=(folder, into))
    training.start()
    while not (log.exists() and "step 1/" in log.read_text(errors="replace")):
        if not training.is_alive():
            sys.exit(f"the training ended before its first step; see {log}")
        time.sleep(0.02)
    seconds = time.monotonic() - started
    training.join()
    return seconds


def kill_after(folder: Path, into: Path, step: int) -> None:
    """Kill -9 of a job as soon as a step behind its first checkpoint is reported."""
    command = [sys.executable, "-W", "ignore", "-c", JOB, str(ROOT), str(folder), str(into)]
    with subprocess.Popen(command) as job:
        while job.poll() is None and f"step {step + 1}/" not in log_of(into):
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)


def log_of(into: Path) -> str:
    log = into / "log.txt"
    return log.read_text(errors="replace") if log.exists() else ""


def digests(into: Path) -> dict[str, str]:
    from charaloom.artifacts.files import sha256_file

    return {path.name: sha256_file(path) for path in sorted((into / "checkpoints").glob("*.safetensors"))}


def reckoned(folder: Path) -> float:
    """What `charaloom check` says of it, in GB of 2^30 bytes."""
    from charaloom.runtime.precision import resolved_precision
    from charaloom.training.memory import GIB, need_of

    params = training_params(folder)
    return round(need_of(params.settled(0), resolved_precision(params.precision)).total / GIB, 2)


# --- rates beside other trainers


def rates(family: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Images per second in the steady state, and ours to each of the others."""
    from charaloom.diffusion.bases import local_base
    from tests.benchmarks import train

    side, batch = (SMALL if options.small else TRAINED)[family]
    converted = local_base(training_params(folder).base, folder / "work").folder
    pace = {"rounds": 1, "turns": 2, "steps": 2 if options.small else 15, "warm": 1 if options.small else 5}
    task = train.Task(family, family, converted, side, batch, pictures=2 * batch, **pace, together=False)
    others = argparse.Namespace(
        trainers=[train.OURS, "stock hcpdiff", "diffusers + peft"], sd_scripts=None, threads=1, work=folder / "rates"
    )
    measured = train.measure(task, train.chosen_trainers(task, others), others)
    ours = measured[train.OURS]
    return {
        "images_per_second": {name: round(rows.rate, 3) for name, rows in measured.items()},
        "gb": {name: round(rows.peak_mb / 1024, 2) for name, rows in measured.items()},
        "ratio": {name: round(ours.rate / rows.rate, 2) for name, rows in measured.items() if rows is not ours},
    }


# --- previews


def previews(family: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Pictures per second with the trained LoRA in batches, and by one call each on a pipeline in fp32."""
    from charaloom.config.params import Previews
    from charaloom.config.project import load_project
    from charaloom.config.stage_params import stage_params
    from charaloom.diffusion.bases import local_base
    from charaloom.diffusion.checkpoints import read_checkpoints

    settings = Previews.of(stage_params(load_project([folder / "config.yaml"]), "hana", "previews"))
    settings = replace(settings, steps=2 if options.small else 20)
    opened = local_base(settings.bases[0], folder / "work")
    checkpoint = read_checkpoints(folder / "first" / "checkpoints")[-1]
    ours = rendered(opened, checkpoint, settings, "bf16" if device() != "cpu" else "fp32", together=PREVIEWS)
    theirs = rendered(opened, checkpoint, settings, "fp32", together=1)
    return {"pictures_per_second": {"ours": ours, "fp32, one each": theirs}, "ratio_previews": round(ours / theirs, 2)}


def rendered(base: Any, checkpoint: Any, settings: Any, precision: str, together: int) -> float:
    """Pictures per second after a first call."""
    import torch

    from charaloom.diffusion.pipelines import BasePipeline

    pipeline = BasePipeline(base, 1, precision)
    texts, number = ["hana_charaloom, 1girl, smile"] * together, PREVIEWS if together > 1 else 2
    pipeline.render(checkpoint, texts, [0] * together, settings)
    began = time.perf_counter()
    for first in range(0, number, together):
        pipeline.render(checkpoint, texts, list(range(first, first + together)), settings)
    seconds = time.perf_counter() - began
    del pipeline
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return round(number / seconds, 3)


if __name__ == "__main__":
    main()
