"""make bench-train: images per second of LoRA training, ours beside other trainers, the same settings, in one run.

    make bench-train                        the demo base, then SD 1.5 of real size with random weights
    make bench-train ARGS="--models demo"   the demo base alone; on a GPU also `--models real sdxl`
    make bench-train ARGS="--sd-scripts DIR --sd-scripts-python DIR/venv/bin/python"   and kohya's sd-scripts

Each trainer is a process with a turnstile behind its optimizer (turnstile.py). On the demo base all stand ready at once
and take turns of some steps, so that a busy machine disturbs all alike; a model of real size is loaded by one after the
other, in rounds. Counted are whole steps in the steady state: data, logging and epoch ends included, starting up until
the first step printed apart. A turn's rate is images by seconds, a trainer's its median over the turns; beside it is
the same by seconds of CPU time, which hardly change where something else takes the CPU.

The same for all: a LoRA of one rank on q, k, v, out and feed-forward of the UNet and on attention and MLP of the text
encoder, no embedding, cached latents, AdamW, min-SNR weights, gradients clipped at 1, no gradient checkpointing, fp32
(bf16 on a GPU), the same pictures of one size, captions of the same length, the same number of threads: all cores.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

RANK = 8
OURS, FAST = "ours", "ours, fast mode"
TAGS = ["1girl", "solo", "long hair", "blue eyes", "school uniform", "standing", "smile", "outdoors", "blush"]
OUTFITS: dict[str, Any] = {"trigger": "bench_charaloom", "outfits": [], "core": []}


@dataclass(frozen=True)
class Task:
    """One model to train on, and how often is looked."""

    name: str
    family: str
    base: Path
    resolution: int
    batch: int
    pictures: int
    rounds: int  # how often each process is started
    turns: int  # of each process
    steps: int  # of each turn
    warm: int  # steps before the first turn
    together: bool  # all trainers in memory at once

    @property
    def all_steps(self) -> int:
        return 1 + self.warm + self.turns * self.steps


@dataclass(frozen=True)
class Command:
    """How a trainer is started: a module or a file, run in its working directory."""

    what: str
    arguments: list[str]
    python: str = sys.executable


@dataclass
class Measurements:
    """The measurements of one trainer."""

    rates: list[float] = field(default_factory=list)  # images per second, one a turn
    cpu_rates: list[float] = field(default_factory=list)  # images per second of CPU time: what others run costs nothing
    start: list[float] = field(default_factory=list)  # seconds
    peak_mb: int = 0

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cpu_rate(self) -> float:
        return statistics.median(self.cpu_rates)

    def turn(self, trainer: "Running", task: Task) -> None:
        images = task.steps * task.batch
        self.rates.append(images / trainer.walk(task.steps))
        self.cpu_rates.append(images / trainer.cpu_seconds)
        self.peak_mb = trainer.peak_mb


def main() -> None:
    options = arguments()
    tasks = chosen_tasks(options)
    measurements = {task.name: measure(task, chosen_trainers(task, options), options) for task in tasks}
    for task in tasks:
        print_table(task, measurements[task.name], options)
    rates = rounded(measurements, "rate")
    result = {
        "ratio": ratio(rates.get("demo")),
        "ratio_real_size": ratio(rates.get("real")),
        "ratio_sdxl": ratio(rates.get("sdxl")),
        "reproducible_cost": reproducible_cost(rates.get("demo")),
        "images_per_second": rates,
        "images_per_cpu_second": rounded(measurements, "cpu_rate"),
        "device": device(),
        "threads": options.threads,
    }
    print(json.dumps(result))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("demo", "real", "sdxl"), default=["demo", "real"])
    parser.add_argument("--trainers", nargs="+", choices=sorted(TRAINERS), default=list(TRAINERS))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each trainer (all cores)")
    parser.add_argument("--turns", type=int, default=8, help="of each trainer on the demo base")
    parser.add_argument("--steps", type=int, default=12, help="of each turn on the demo base")
    parser.add_argument("--rounds", type=int, default=2, help="on a model of real size")
    parser.add_argument("--resolution", type=int, help="of a model of real size (256; on a GPU 512, SDXL 1024)")
    parser.add_argument("--batch", type=int, help="of a model of real size (1; on a GPU 16, SDXL 4)")
    parser.add_argument("--sd-scripts", type=Path, help="a checkout of kohya's sd-scripts")
    parser.add_argument("--sd-scripts-python", default=sys.executable, help="the Python that has what it requires")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "bench-train", help="for models and pictures")
    return parser.parse_args()


def device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def precision() -> str:
    return "fp32" if device() == "cpu" else "bf16"


def chosen_tasks(options: argparse.Namespace) -> list[Task]:
    """On a CPU a model of real size makes a step in seconds, so few are made."""
    from tests.benchmarks.random_models import sd15, sdxl

    small = device() == "cpu"
    pace = {"turns": 1, "steps": 3, "warm": 1} if small else {"turns": 4, "steps": 20, "warm": 10}
    tasks = []
    if "demo" in options.models:
        often = {"rounds": 1, "turns": options.turns, "steps": options.steps, "warm": 8}
        base = ROOT / "resources/demo/bases/main"
        tasks.append(Task("demo", "sd15", base, resolution=128, batch=8, pictures=64, **often, together=True))
    for name, family, write, resolution, most in (("real", "sd15", sd15, 512, 16), ("sdxl", "sdxl", sdxl, 1024, 4)):
        if name in options.models:
            batch = options.batch or (1 if small else most)
            pixels = {"resolution": options.resolution or (256 if small else resolution)}
            how = {**pixels, "batch": batch, "pictures": 4 * batch, "rounds": options.rounds, **pace}
            tasks.append(Task(name, family, write(options.work / name), **how, together=False))
    return tasks


def chosen_trainers(task: Task, options: argparse.Namespace) -> list[str]:
    """The chosen ones that can be run."""
    able = {OURS, FAST, "diffusers + peft"} if task.family == "sdxl" else set(TRAINERS)
    if not options.sd_scripts:
        able -= {"sd-scripts"}
    for name in sorted(set(options.trainers) - able):
        print(f"{task.name}: {name} is left out, {LEFT_OUT[name]}", flush=True)
    return [name for name in options.trainers if name in able]


# --- measuring


def measure(task: Task, trainers: list[str], options: argparse.Namespace) -> dict[str, Measurements]:
    measurements = {name: Measurements() for name in trainers}
    groups = [trainers] if task.together else [[name] for name in trainers]
    for number in range(task.rounds):
        for group in groups:
            with ready(task, group, options) as running:
                for name, trainer in running.items():
                    measurements[name].start.append(trainer.start)
                    trainer.walk(task.warm)
                for _ in range(task.turns):
                    for name, trainer in running.items():
                        measurements[name].turn(trainer, task)
                for name in running:
                    print(f"{task.name}, round {number + 1}: {name} {measurements[name].rate:.3f} images/s", flush=True)
    return measurements


@contextmanager
def ready(task: Task, trainers: list[str], options: argparse.Namespace) -> Iterator[dict[str, "Running"]]:
    """Trainers that have made their first step, started one after the other."""
    running: dict[str, Running] = {}
    try:
        for name in trainers:
            workdir = options.work / f"{task.name}-{name.replace(', ', '-').replace(' ', '-')}"
            shutil.rmtree(workdir, ignore_errors=True)
            workdir.mkdir(parents=True)
            pictures = write_pictures(task, workdir / "data")
            command = TRAINERS[name](task, workdir, pictures, options)
            running[name] = Running(name, command, workdir, options.threads)
        yield running
    finally:
        for trainer in running.values():
            trainer.end()


class Running:
    """A trainer's process, stopped at its turnstile."""

    def __init__(self, name: str, command: Command, workdir: Path, threads: int):
        from charaloom.runtime.processes import die_with_parent

        orders, self.orders = os.pipe()
        self.reports, reports = os.pipe()
        self.name, self.log = name, workdir / "log.txt"
        turnstile = [str(HERE / "turnstile.py"), str(orders), str(reports)]
        started = time.perf_counter()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [command.python, "-W", "ignore", *turnstile, command.what, *command.arguments],
                cwd=workdir,
                env=environment(name, threads),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(orders, reports),
                preexec_fn=die_with_parent,
            )
        os.close(orders)
        os.close(reports)
        self.lines = os.fdopen(self.reports)
        self.report()
        self.start = time.perf_counter() - started

    def walk(self, steps: int) -> float:
        """Seconds of the next steps."""
        os.write(self.orders, f"{steps}\n".encode())
        return self.report()

    def report(self) -> float:
        line = self.lines.readline()
        if not line:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            sys.exit(f"{self.name} ended before its time; the end of {self.log}:\n{end}")
        report = json.loads(line)
        self.cpu_seconds, self.peak_mb = report["cpu_seconds"], report["peak_mb"]
        return sum(report["seconds"])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.orders)
        self.lines.close()


def environment(name: str, threads: int) -> dict[str, str]:
    """Ours, for all: no token, no hub, fixed threads; the deterministic workspace of cuBLAS only for us."""
    from charaloom.training.process import child_environment

    own = child_environment(threads)
    if name not in (OURS, FAST):
        for key in ("CUBLAS_WORKSPACE_CONFIG", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
            own.pop(key)
    return own


# --- trainers: each says how it is started


def ours(task: Task, workdir: Path, pictures: Path, options: argparse.Namespace, mode: str = "reproducible") -> Command:
    """The stage's own config and process."""
    from charaloom.artifacts.files import write_text
    from charaloom.config.params import Base, Training
    from charaloom.diffusion.bases import local_base
    from charaloom.training.inputs import prepare
    from charaloom.training.process import link
    from charaloom.training.trainer_config import hcp_config

    params = Training(
        version=1,
        base=Base(name="bench", family=task.family, clip_skip=0, licence="none", path=str(task.base)),
        recipe="bench",
        seed=1,
        trigger=OUTFITS["trigger"],
        steps=task.all_steps + 1,
        save_every=task.all_steps + 1,
        warmup=0,
        ema=0.99,
        min_snr=5.0,
        gradient_checkpointing=False,
        optimizer="adamw",
        caption_tokens=75,
        masked_loss=False,
        compile=False,
        mode=mode,
        early_stopping=None,
        regularisation=None,
        regularisation_batch=1,
        regularisation_weight=1.0,
        batch=task.batch,
        resolution=task.resolution,
        buckets=1,
        rank=RANK,
        alpha=RANK,
        rate_unet=1e-4,
        rate_text=1e-5,
        rate_embedding=0.0,
        vectors=0,
        text_only=1.0,
        caption_dropout=0.0,
        tag_dropout=0.0,
        threads=options.threads,
        precision=precision(),
    )
    base = local_base(params.base, workdir / "work")
    prepare(workdir, write_dataset(pictures, workdir / "dataset"), OUTFITS, params, base)
    write_text(workdir / "config.py", hcp_config("bench", params, base))
    link(workdir / "base", base.folder)
    (workdir / "board").mkdir()
    return Command("charaloom.training.hcp", ["--cfg", "config.py"])


def stock_hcp(task: Task, workdir: Path, pictures: Path, options: argparse.Namespace) -> Command:
    """`hcpdiff` as it is installed, by a config that adds only what it needs to run (stock_hcp.py)."""
    (workdir / "template.txt").write_text("{caption}\n")
    values = {
        "train.train_steps": task.all_steps + 1,
        "model.wrapper.models.ckpt_path": task.base,
        "model_plugin.cfg_plugin.lora_unet.rank": RANK,
        "model_plugin.cfg_plugin.lora_unet.alpha": RANK,
        "model_plugin.cfg_plugin.lora_te.rank": RANK,
        "model_plugin.cfg_plugin.lora_te.alpha": RANK,
        "data_train.pictures.batch_size": task.batch,
        "data_train.pictures.bucket.target_area": task.resolution**2,
        "data_train.pictures.source.pictures.img_root": pictures,
        "data_train.pictures.source.pictures.label_file": pictures,
    }
    if precision() != "fp32":
        values["mixed_precision"] = precision()
    overrides = [f"{key}={value}" for key, value in values.items()]
    return Command("hcpdiff.trainer_ac_single", ["--cfg", str(HERE / "stock_hcp.py"), *overrides])


def peft_loop(task: Task, workdir: Path, pictures: Path, options: argparse.Namespace) -> Command:
    """diffusers and peft in a loop, as diffusers' example does it (peft_loop.py)."""
    how = {"base": task.base, "pictures": pictures, "batch": task.batch, "rank": RANK, "steps": task.all_steps + 1}
    return Command(str(HERE / "peft_loop.py"), flags({**how, "precision": precision()}))


def sd_scripts(task: Task, workdir: Path, pictures: Path, options: argparse.Namespace) -> Command:
    """kohya's train_network.py from its checkout (sd_scripts.py)."""
    shutil.copytree(task.base / "tokenizer", workdir / "tokenizers" / "openai_clip-vit-large-patch14")
    how = {
        "pretrained_model_name_or_path": task.base,
        "tokenizer_cache_dir": workdir / "tokenizers",
        "train_data_dir": pictures.parent,
        "caption_extension": ".txt",
        "output_dir": workdir / "run",
        "resolution": f"{task.resolution},{task.resolution}",
        "train_batch_size": task.batch,
        "max_train_steps": task.all_steps + 1,
        "network_module": "networks.lora",
        "network_dim": RANK,
        "network_alpha": RANK,
        "unet_lr": 1e-4,
        "text_encoder_lr": 1e-5,
        "optimizer_type": "AdamW",
        "lr_scheduler": "constant",
        "min_snr_gamma": 5,
        "max_data_loader_n_workers": 0,
        "mixed_precision": {"fp32": "no"}.get(precision(), precision()),
        "save_model_as": "safetensors",
        "seed": 1,
    }
    checkout = [str(options.sd_scripts.resolve()), str(task.base / "unet" / "config.json")]
    every = [*checkout, *flags(how), "--sdpa", "--cache_latents", "--no_half_vae"]
    return Command(str(HERE / "sd_scripts.py"), every, options.sd_scripts_python)


TRAINERS: dict[str, Callable[..., Command]] = {
    OURS: ours,
    FAST: partial(ours, mode="fast"),
    "stock hcpdiff": stock_hcp,
    "diffusers + peft": peft_loop,
    "sd-scripts": sd_scripts,
}
LEFT_OUT = {
    "stock hcpdiff": "its SDXL is not set up here",
    "sd-scripts": "it is on no package index: give its checkout by --sd-scripts; its SDXL is not set up here",
}


def flags(values: dict[str, Any]) -> list[str]:
    return [text for key, value in values.items() for text in (f"--{key}", str(value))]


# --- models and pictures


def write_pictures(task: Task, folder: Path) -> Path:
    """Smooth random pictures of one size with captions of the same length: `<n>.png`, `<n>.txt`, captions.json."""
    import numpy as np
    from PIL import Image

    pictures = folder / "1_pictures"  # kohya's name: repeats, an underscore, anything
    pictures.mkdir(parents=True)
    rng = np.random.default_rng(1)
    captions = {}
    for index in range(task.pictures):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((task.resolution, task.resolution), Image.Resampling.BICUBIC).save(pictures / f"{index:03d}.png")
        caption = ", ".join([OUTFITS["trigger"], *rng.permutation(TAGS)])
        (pictures / f"{index:03d}.txt").write_text(caption)
        captions[f"{index:03d}.png"] = caption
    (folder / "captions.json").write_text(json.dumps(captions))
    return pictures


def write_dataset(pictures: Path, folder: Path) -> Path:
    """The same pictures as the stage before training writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    captions = json.loads((pictures.parent / "captions.json").read_text())
    rows = [
        {
            "image": {"bytes": (pictures / name).read_bytes(), "path": name},
            "caption": caption,
            "tags": caption.split(", "),
            "repeats": 1,
        }
        for name, caption in captions.items()
    ]
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "train-00000.parquet")
    return folder


# --- results


def rounded(measurements: dict[str, dict[str, Measurements]], value: str) -> dict[str, dict[str, float]]:
    """One value of each trainer by model, to three digits."""
    return {
        model: {trainer: round(getattr(measured, value), 3) for trainer, measured in rows.items()}
        for model, rows in measurements.items()
    }


def ratio(rates: dict[str, float] | None) -> float | None:
    """Ours to the best of the others; nothing where one side was not measured."""
    others = [rate for name, rate in (rates or {}).items() if name not in (OURS, FAST)]
    return round(rates[OURS] / max(others), 3) if rates and OURS in rates and others else None


def reproducible_cost(rates: dict[str, float] | None) -> float | None:
    """Share of time that reproducible mode costs over fast mode; nothing where one of them was not measured."""
    return round(rates[FAST] / rates[OURS] - 1, 3) if rates and OURS in rates and FAST in rates else None


def print_table(task: Task, measurements: dict[str, Measurements], options: argparse.Namespace) -> None:
    where = f"{device()}, {precision()}, {options.threads} thread(s)"
    print(f"\n{task.name}: {task.resolution} px, batch {task.batch}, LoRA rank {RANK}, {where}")
    columns = ("images/s", "lowest", "highest", "per CPU s", "ms/step")
    print(f"{'trainer':<18} {' '.join(f'{name:>9}' for name in columns)} {'first step':>11} {'peak MB':>8}")
    for name, measured in measurements.items():
        step = 1000 * task.batch / measured.rate
        spread = f"{min(measured.rates):>9.3f} {max(measured.rates):>9.3f} {measured.cpu_rate:>9.3f}"
        first, peak = f"{min(measured.start):>9.1f} s", f"{measured.peak_mb:>8}"
        print(f"{name:<18} {measured.rate:>9.3f} {spread} {step:>9.0f} {first} {peak}")


if __name__ == "__main__":
    main()
