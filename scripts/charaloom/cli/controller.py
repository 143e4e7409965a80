"""Who is at work in a folder: one run at a time, and what to do about one that was killed.

Snakemake's own lock does not say whether the run that took it still lives, and jobs on a cluster outlive a killed run.
`work/controller.json` names host, process and start of the run: no lock that a shared file system could break.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json, write_json
from charaloom.cli import slurm as cluster
from charaloom.cli.snakemake import Snakemake
from charaloom.errors import CharaloomError

CHOICES = ("ask", "cancel", "wait", "stop")
SECONDS_TO_CANCEL = 120.0


class Controller:
    """The file that says who is at work; `started` adds the Snakemake that works for this run."""

    def __init__(self, work: Path):
        self.path = work / "controller.json"
        self.facts: dict[str, Any] = {"host": socket.gethostname(), "processes": []}

    def started(self, pid: int) -> None:
        self.facts["processes"] = [life_of(os.getpid()), life_of(pid)]
        write_json(self.path, self.facts)

    def before(self) -> dict[str, Any] | None:
        try:
            return read_json(self.path)
        except FileNotFoundError:
            return None
        except ValueError:
            return {}  # nobody can tell; the lock of Snakemake decides


@contextmanager
def controlling(work: Path, snakemake: Snakemake, orphans: str) -> Iterator[Controller]:
    """Be the only run in this folder. What a killed one left is settled first, before anything is planned or submitted.

    `orphans` is what to do about its jobs on a cluster: `ask` (the terminal), `cancel`, `wait`, `stop`.
    """
    controller = Controller(work)
    before = controller.before()
    if before is not None:
        refuse_beside(before, controller.path)
    refuse_beside_snakemake(Path.cwd())
    settled = snakemake.on_cluster() and settle(cluster.jobs_of(Path.cwd()), orphans)
    if settled or before is not None:
        snakemake.unlock()
    controller.started(os.getpid())
    try:
        yield controller
    finally:
        controller.path.unlink(missing_ok=True)


def refuse_beside(before: dict[str, Any], path: Path) -> None:
    """Raise where another run may still be at work."""
    host = before.get("host", socket.gethostname())
    if host != socket.gethostname():
        raise CharaloomError(
            f"a run was started here on {host} and did not end. If it still works, wait for it. "
            f"If {host} or the run is gone for certain, delete {path} and start again."
        )
    living = [life["pid"] for life in before.get("processes", []) if life_of(life["pid"]) == life]
    if living:
        raise CharaloomError(f"another run is at work in this folder (process {living[0]}); wait for it, or end it")


def refuse_beside_snakemake(folder: Path) -> None:
    """Raise where somebody's plain Snakemake works in this folder; one in a cluster's job is not meant."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            here = Path(os.readlink(f"/proc/{pid}/cwd")) == folder
        except OSError:
            continue
        if here and any("snakemake" in Path(word).name for word in words[:3]) and "remote" not in words:
            raise CharaloomError(f"Snakemake is at work in this folder (process {pid}); wait for it, or end it")


def life_of(pid: int) -> dict[str, int | None]:
    """A process by number and start, since numbers come again; no start where it is gone or only waits to be buried."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return {"pid": pid, "start": None}
    return {"pid": pid, "start": None if state == "Z" else int(rest[18])}


def settle(jobs: list[cluster.ClusterJob], orphans: str, answer: Callable[[str], str] = input) -> bool:
    """Cancel or await the jobs that a killed run left, so that they do not write beside their successors; any there?"""
    if not jobs:
        return False
    print(f"{len(jobs)} jobs of an earlier run still work in this folder:\n{cluster.described(jobs)}", flush=True)
    if orphans == "ask":
        orphans = asked(answer) if sys.stdin.isatty() else "stop"
    if orphans == "stop":
        raise CharaloomError(
            "nothing was submitted. `charaloom run` with --orphans wait goes on when they have ended and keeps what "
            "they make, with --orphans cancel it ends them first; both with the profile as before."
        )
    if orphans == "cancel":
        cluster.cancel(jobs)
        if not cluster.wait_for_end(Path.cwd(), SECONDS_TO_CANCEL, pause=1.0):
            raise CharaloomError("SLURM did not end them; see `squeue --me`, and start again when they are gone")
        print("They are cancelled.", flush=True)
    else:
        print("Waiting until they have ended.", flush=True)
        cluster.wait_for_end(Path.cwd())
    return True


def asked(answer: Callable[[str], str]) -> str:
    """A person's choice."""
    words = {"c": "cancel", "w": "wait", "s": "stop"}
    while True:
        letter = answer("[c]ancel them, [w]ait for them, or [s]top here? ").strip().lower()[:1]
        if letter in words:
            return words[letter]
