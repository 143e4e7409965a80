"""The trainer's process: its environment, its end with its job, and the warm process that many characters share.

A warm process has imported everything and holds the base model. Each training is a fork of it and shares this memory;
what a training changes in its fork, no later one sees. Jobs reach the warm process over a socket of the user's own. It
gives each fork its log and its lock, ends a fork whose job has gone, and ends itself when no job has come for a while.
Where there is none (another system, `warm_seconds: 0`), the trainer starts from nothing.
"""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, sha256_file, write_text
from charaloom.diffusion.bases import LocalBase
from charaloom.errors import CharaloomError
from charaloom.runtime.processes import die_with_parent

KEPT_ENVIRONMENT = re.compile(
    r"PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|CUDA_\w+|NVIDIA_\w+|VIRTUAL_ENV|CONDA_PREFIX"
)
PACKAGE = Path(__file__).resolve().parents[1]
START_SECONDS = 180.0  # set by hand: a warm process that reads its base from a slow disk
# Exit codes are those of subprocess: a negative one is the signal that ended the process.
STOPPED = (143, -signal.SIGTERM, -signal.SIGINT)  # the trainer's own, with its state kept; before its first step
OUT_OF_MEMORY = "CUDA out of memory"  # in what torch says of a full GPU
GPU_FULL = " (the GPU's memory ran out; `charaloom check` names the settings that take less)"
KILLED = " (killed: most often memory ran out; lower training.batch or resolution, or give the job more)"


@dataclass(frozen=True)
class TrainerRun:
    """One run of the trainer: its working directory, its config, and the lock that holds the directory."""

    workdir: Path
    config: str
    base: LocalBase
    threads: int
    log: Path
    lock: int  # descriptor of the lock that holds `workdir`
    warm_seconds: float = 0.0
    precision: str = "fp32"  # that the base is held in


def run_trainer(run: TrainerRun) -> None:
    """Train in `workdir`, from the state of an earlier run on. Raises CharaloomError with the end of the log."""
    write_text(run.workdir / "config.py", run.config)
    link(run.workdir / "base", run.base.folder)
    run.log.parent.mkdir(parents=True, exist_ok=True)
    board = curves_folder(run.log)
    board.mkdir(exist_ok=True)
    link(run.workdir / "board", board)
    warm = run.warm_seconds > 0 and hasattr(os, "pidfd_open")
    with run.log.open("ab") as output:
        code = train_warm(run, output.fileno()) if warm else None
        code = train_cold(run, output.fileno()) if code is None else code
    if code in STOPPED:
        raise CharaloomError("the training was told to stop; run again and it goes on from the state it kept")
    if code:
        end = tail(run.log)
        full = GPU_FULL if OUT_OF_MEMORY in end else ""
        raise CharaloomError(f"the trainer {ending(code)}{full}; the end of {run.log.name}:\n{end}")


def ending(code: int) -> str:
    """How the trainer ended, in words."""
    if code > 0:
        return f"failed with code {code}"
    return f"was ended by signal {-code}" + (KILLED if code == -signal.SIGKILL else "")


def curves_folder(log: Path) -> Path:
    """Where the curves of a training go: checkpoints.log has them in checkpoints/."""
    return log.with_suffix("")


def link(name: Path, folder: Path) -> None:
    """A link in the working directory, so that the config holds no path of this machine."""
    name.unlink(missing_ok=True)
    name.symlink_to(folder.resolve(), target_is_directory=True)


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def child_environment(threads: int) -> dict[str, str]:
    """Environment of the trainer, which executes its config: no token in it, no hub, fixed threads and hash order."""
    kept = {name: value for name, value in os.environ.items() if KEPT_ENVIRONMENT.fullmatch(name)}
    numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {
        **kept,
        **numbers,
        "PYTHONPATH": str(PACKAGE.parent),
        "PYTHONHASHSEED": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asks for a GPU without waking it, which a fork could not use then
        "MALLOC_MMAP_THRESHOLD_": str(2**32),  # keep freed memory: each step wants the same again
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        "HF_HOME": "/nonexistent",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


@contextmanager
def stop_passed_on(stop: Callable[[], None]) -> Iterator[None]:
    """Pass SIGTERM and SIGINT of this job on to the trainer: it keeps its state first, then both end."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError):  # outside the main thread no signal can be handled
            before[number] = signal.signal(number, lambda *_: stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- from nothing


def train_cold(run: TrainerRun, output: int) -> int:
    """The exit code of a training by a new process."""
    command = [sys.executable, "-m", "charaloom.training.hcp", "--cfg", "config.py"]
    process = subprocess.Popen(
        command,
        cwd=run.workdir,
        env=child_environment(run.threads),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
        pass_fds=[run.lock],  # an open lock is a held lock: held until the trainer too is gone
    )
    try:
        with stop_passed_on(process.terminate):
            return process.wait()
    finally:
        process.kill()
        process.wait()


# --- by a warm process


def train_warm(run: TrainerRun, output: int) -> int | None:
    """The exit code of a training by the warm process; None where there is no such process."""
    connection = connected(run)
    if connection is None:
        return None
    request = json.dumps({"workdir": str(run.workdir.resolve())}).encode() + b"\n"
    with connection, connection.makefile("rb") as answers:
        socket.send_fds(connection, [request], [output, run.lock])
        if not (started := answers.readline()):
            return None
        with stop_passed_on(lambda: os.kill(int(started), signal.SIGTERM)):
            ended = answers.readline()
    return int(ended) if ended else 1


def connected(run: TrainerRun) -> socket.socket | None:
    """A connection to the warm process of this base and these threads, which is started where there is none.

    None where there can be none: the trainer then starts from nothing.
    """
    try:
        folder = sockets()
    except OSError as problem:
        with run.log.open("a") as log:
            print(f"no warm trainer ({problem}): it starts from nothing", file=log)
        return None
    name = folder / warm_name(run)
    with name.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if connection := reached(name):
            return connection
        name.unlink(missing_ok=True)
        process = start_warm(run, name)
        limit = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < limit:
            if connection := reached(name):
                return connection
            time.sleep(0.05)
        process.kill()
        process.wait()
    return None


def sockets() -> Path:
    """A folder of this user's alone on this machine; short: the path of a socket has at most 107 bytes (unix(7)).

    Raises OSError where something else is in its place.
    """
    folder = Path(tempfile.gettempdir(), f"charaloom-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder}: belongs to somebody else or is open to others; remove it, or set TMPDIR")
    return folder


def warm_name(run: TrainerRun) -> str:
    """One process for each base model, its precision, number of threads, GPU, environment, version of this code, and
    SLURM job: the GPU of another job on the node may have the same number, and its process ends with that job."""
    code = [sha256_file(path) for path in sorted(PACKAGE.rglob("*.py"))]
    base = [str(run.base.folder.resolve()), run.base.digest, run.base.family.name, run.precision]
    place = [sys.executable, os.environ.get("SLURM_JOB_ID"), child_environment(run.threads)]
    return digest([base, code, run.warm_seconds, *place])[:24]


def reached(name: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(name))
    except OSError:
        connection.close()
        return None
    return connection


def start_warm(run: TrainerRun, name: Path) -> "subprocess.Popen[bytes]":
    facts: dict[str, Any] = {"socket": str(name), "base": str(run.base.folder.resolve())}
    facts |= {"family": run.base.family.name, "precision": run.precision, "seconds": run.warm_seconds}
    with name.with_suffix(".log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "charaloom.training.hcp.warm", json.dumps(facts)],
            cwd="/",
            env=child_environment(run.threads),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
