"""A project that has everything up to the dataset, so that what runs on the cluster is real training, of a tiny base.

What comes before is written by hand and marked as made by Snakemake's own --touch.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from charaloom.artifacts.files import files_below, sha256_file, write_json
from charaloom.artifacts.manifest import write_facet
from charaloom.cli.due import artifacts_of
from charaloom.config.project import load_project
from charaloom.config.schemas import CODE
from charaloom.config.stages import STAGES
from tests.finished import trace, trace_models
from tests.slurm.cluster import Cluster

CHARACTERS = ("hana", "mei", "rin")
PATIENCE = 420.0  # seconds for one run of Snakemake; beyond that it hangs
TRAINING = {
    "base": "tiny",
    "steps": 240,
    "save_every": 120,
    "batch": 2,
    "resolution": 64,
    "rank": 4,
    "alpha": 2,
    "vectors": 3,
    "tag_dropout": 0.0,
}


class Project:
    """A working folder; `cluster` is where its SLURM runs go."""

    def __init__(self, folder: Path, cluster: Cluster | None = None):
        self.folder, self.cluster = folder, cluster

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--snakefile", str(CODE / "Snakefile"), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CODE / "scripts"), "PYTHONUNBUFFERED": "1"}
        return {**(self.cluster.environment if self.cluster else os.environ), **own}

    def start(self, *command: str, log: str = "run.log") -> "Run":
        return Run(list(command), self.folder, self.environment, self.folder / log)

    def snakemake(self, *arguments: str) -> str:
        """Run to the end on this machine; Snakemake's output."""
        run = self.start(*self.command(*arguments), log="local.log")
        assert run.wait() == 0, run.said
        return run.said

    def submit(self, *arguments: str) -> "Run":
        """Start Snakemake with the test cluster's profile."""
        return self.start(
            *self.command("--profile", str(self.folder / "profile"), *(arguments or ("stage_checkpoints",)))
        )

    def charaloom(self, *arguments: str) -> "Run":
        return self.start(sys.executable, "-m", "charaloom", *arguments, log="charaloom.log")

    def artifacts(self, stage: str = "checkpoints") -> dict[str, str]:
        """SHA-256 by name of what a stage made of all characters."""
        results = self.folder / "results"
        names = [str(name) for name in files_below(results) if name.parts[1:] and name.parts[1].startswith(stage)]
        return {name: sha256_file(results / name) for name in names}

    def jobs(self, *options: str) -> list[str]:
        """Ids of this cluster's jobs."""
        assert self.cluster
        return self.cluster.run("squeue", "--noheader", "--format=%A", *options).split()

    def said(self, character: str) -> str:
        """The training log of a character so far."""
        log = self.folder / "work" / "logs" / character / "checkpoints.log"
        return log.read_text(errors="replace") if log.exists() else ""


class Run:
    """A program that runs in the background, ended with the test."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str], log: Path):
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = PATIENCE) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)
            raise AssertionError(f"still running after {seconds:.0f} s:\n{self.said}") from None

    def until(self, true: Callable[[], Any], what: str, seconds: float = PATIENCE, pause: float = 0.2) -> Any:
        """Wait for something while the program runs."""
        limit = time.monotonic() + seconds
        while not (value := true()):
            assert self.process.poll() is None, f"ended before {what}:\n{self.said}"
            assert time.monotonic() < limit, f"no {what} after {seconds:.0f} s:\n{self.said}"
            time.sleep(pause)
        return value

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def make_project(folder: Path, base: Path, pictures: list[tuple[str, bytes]]) -> Project:
    """All characters have a dataset; nobody is trained."""
    project = Project(folder)
    (folder / "config").mkdir(parents=True)
    (folder / "models").mkdir()
    shutil.copytree(base, folder / "base")
    rows = [f"{name}\tfolder\tpictures/{name}" for name in CHARACTERS]
    (folder / "config/characters.tsv").write_text("\n".join(["character\tsource\tquery", *rows]) + "\n")
    config = {
        "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
        "models": {"hub": "models"},
        "previews": {"bases": ["tiny"]},
        "training": TRAINING,
    }
    write_json(folder / "config/config.yaml", config)
    for name in CHARACTERS:
        (folder / "pictures" / name).mkdir(parents=True)
        (folder / "pictures" / name / pictures[0][0]).write_bytes(pictures[0][1])
    summary = project.snakemake("--summary", "--cores", "1")
    outputs = [line.split("\t")[0] for line in summary.splitlines() if line.startswith(("results/", "work/"))]
    before = [path for path in outputs if is_before_training(path)]
    for output in before:
        file = folder / output
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"file": output}) + "\n")
    for name in CHARACTERS:
        write_dataset(folder / "results" / name, name, pictures)
    project.snakemake("--touch", "--forceall", "--cores", "1", "stage_dataset", "stage_curation", "stage_outfits")
    trace_before_training(folder)
    write_profile(folder / "profile")
    return project


def trace_before_training(folder: Path) -> None:
    """Lineages of what is there, so that `charaloom run` takes it as done."""
    with chdir(folder):
        project = load_project()
        trace_models(project)
        for name in CHARACTERS:
            for artifact in artifacts_of(project):
                if STAGES.index(artifact.stage) <= STAGES.index("dataset"):
                    trace(project, name, artifact)


def is_before_training(path: str) -> bool:
    stages = ("raw", "measured", "filtered", "curation", "tagged", "core", "clustered", "outfits", "dataset", "models")
    return Path(path).name.startswith(stages) or "/dataset/" in path


def write_dataset(folder: Path, name: str, pictures: list[tuple[str, bytes]]) -> None:
    """A dataset as the stage before writes it; each character has captions of their own."""
    rows = [
        {
            "image": {"bytes": content, "path": file},
            "caption": f"{name}_charaloom, 1girl, pose {file[:3]}",
            "tags": ["1girl"],
            "repeats": 1,
        }
        for file, content in pictures
    ]
    (folder / "dataset" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "dataset" / "data" / "train-00000.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "dataset" / "data" / "held_out-00000.parquet")
    write_json(folder / "dataset.manifest.json", {"counts": {"train": len(rows)}})
    write_facet(folder / "dataset.training.json", [row["caption"] for row in rows], pictures=len(rows))
    outfits = {"trigger": f"{name}_charaloom", "outfits": [], "core": ["blue_hair"]}
    (folder / "outfits.json").write_text(json.dumps(outfits))


def write_profile(folder: Path, **changed: Any) -> None:
    """Charaloom's own SLURM profile with the waits of a site cut short; `changed` keys over it."""
    profile = yaml.safe_load((CODE / "profiles" / "slurm" / "profile.v9+.yaml").read_text())
    profile |= {"latency-wait": 5, "slurm-shards-hold": 1, "slurm-shards-init-seconds-before-status-checks": 2}
    profile["slurm-shards-sizes"] = "checkpoints=1"
    profile["default-resources"] = {"slurm_partition": "cpu", "mem_mb": 2000, "runtime": 20}
    profile["set-resources"] = {"checkpoints": {"slurm_partition": "gpu", "mem_mb": 3000, "runtime": 20}}
    folder.mkdir(exist_ok=True)
    (folder / "profile.v9+.yaml").write_text(json.dumps(profile | changed))
