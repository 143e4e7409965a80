"""One GPU per job on a machine with several: Snakemake counts them, but does not say which one a job has."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.locks import try_lock

VARIABLE = "CUDA_VISIBLE_DEVICES"
SECONDS = 0.5  # between two looks for a free one
LOCKS = Path(tempfile.gettempdir())  # of this machine, not of a shared file system
QUERY = ("index", "name", "memory.total", "memory.free", "compute_cap")
BF16_SINCE = 8.0  # compute capability: Ampere and newer


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine, as nvidia-smi shows it."""

    name: str
    total: int  # bytes
    free: int  # bytes that no process has
    capability: float

    @property
    def precision(self) -> str:
        """What `training.precision: auto` means on it."""
        return "bf16" if self.capability >= BF16_SINCE else "fp16"


def gpus() -> list[Gpu]:
    """The GPUs that a process started here would see; empty without a driver. torch is not imported."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    result = subprocess.run(command, capture_output=True, text=True)
    rows = [[cell.strip() for cell in line.split(",")] for line in result.stdout.splitlines()]
    shown = set(visible()) if result.returncode == 0 else set()
    return [gpu_of(row) for row in rows if len(row) == len(QUERY) and row[0] in shown]


def gpu_of(row: list[str]) -> Gpu:
    """A line of nvidia-smi, whose memory is in MiB; what it does not know counts as nothing."""
    _, name, *numbers = row
    total, free, capability = (float(text) if text.replace(".", "", 1).isdigit() else 0.0 for text in numbers)
    return Gpu(name, int(total) * 2**20, int(free) * 2**20, capability)


@contextmanager
def one_gpu(locks: Path = LOCKS) -> Iterator[str | None]:
    """Let this process see one GPU that no other job of this user's has, waiting where all are taken; its name.

    Nothing happens where at most one is visible: on a laptop, or in a job that SLURM has given one.
    """
    names = visible()
    if len(names) < 2:
        yield None
        return
    name, handle = first_free(names, locks)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    try:
        yield name
    finally:
        os.close(handle)
        restore(before)


def visible() -> list[str]:
    """The GPUs that a process started here would see."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    if not shutil.which("nvidia-smi"):
        return []
    result = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True
    )
    return result.stdout.split() if result.returncode == 0 else []


def first_free(names: list[str], locks: Path) -> tuple[str, int]:
    while True:
        for name in names:
            handle = os.open(locks / f"charaloom-gpu-{os.getuid()}-{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            if try_lock(handle):
                return name, handle
            os.close(handle)
        time.sleep(SECONDS)


def restore(before: str | None) -> None:
    if before is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = before
