"""One run at a time in a folder, and what to do about one that was killed.

Snakemake's own lock does not say whether the run that took it is alive, and jobs on a cluster outlive a killed run.
`work/controller.json` names host, process and start of the run: it needs no file lock, which shared file systems break.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charaloom.artifacts.files import private_file, read_json, write_json
from charaloom.artifacts.types import Row
from charaloom.cli import slurm as cluster
from charaloom.cli.snakemake import Snakemake
from charaloom.cli.text import counted
from charaloom.errors import CharaloomError

SECONDS_TO_CANCEL = 120.0  # until SLURM has ended cancelled jobs; set by hand


class Controller:
    """The file that names the processes of the current run; `started` adds the Snakemake that this run starts."""

    def __init__(self, work: Path):
        self.path = work / "controller.json"
        self.record: Row = {"host": socket.gethostname(), "processes": []}

    def take(self, earlier: Row | None) -> None:
        """Put the record of this run in the place of an `earlier` one, whose run is dead.

        Raises CharaloomError where another run, started at the same moment, was quicker. A link is made or not made:
        also on file systems whose locks cannot be trusted.
        """
        self.record["processes"] = [life_of(os.getpid())]
        with private_file(self.path) as mine:
            write_json(mine, self.record)
            old = mine.with_suffix(".old")
            with suppress(FileNotFoundError):
                os.rename(self.path, old)
            try:
                if old.exists() and readable(old) != earlier:
                    os.link(old, self.path)
                os.link(mine, self.path)
            except FileExistsError:
                raise CharaloomError("another run has just started in this folder; wait for it, or end it") from None
            except OSError:  # a file system without links
                write_json(self.path, self.record)
            finally:
                old.unlink(missing_ok=True)

    def started(self, pid: int) -> None:
        self.record["processes"] = [life_of(os.getpid()), life_of(pid)]
        write_json(self.path, self.record)

    def earlier(self) -> Row | None:
        """The record of a run that did not remove it: still running, or killed."""
        return readable(self.path)


def readable(record: Path) -> Row | None:
    try:
        content = read_json(record)
    except FileNotFoundError:
        return None
    except ValueError:
        return {}  # unreadable: Snakemake's own lock decides
    return content if isinstance(content, dict) else {}


@contextmanager
def controlling(work: Path, snakemake: Snakemake, orphans: str) -> Iterator[Controller]:
    """Be the only run in this folder, once the jobs and the lock that a killed run left are settled.

    `orphans` says what to do about those jobs: `ask` (on the terminal), `cancel`, `wait`, `stop`.
    """
    controller = Controller(work)
    earlier = controller.earlier()
    if earlier is not None:
        refuse_beside(earlier, controller.path)
    refuse_beside_snakemake(Path.cwd())
    controller.take(earlier)
    try:
        settled = snakemake.on_cluster() and settle(cluster.jobs_of(Path.cwd()), orphans)
        if settled or earlier is not None:
            snakemake.unlock()
        yield controller
    finally:
        if not snakemake.is_locked():  # else the record says that whoever took the lock is dead
            controller.path.unlink(missing_ok=True)


def refuse_beside(earlier: Row, path: Path) -> None:
    """Raise CharaloomError where the run of this record may still be alive."""
    host = earlier.get("host", socket.gethostname())
    if host != socket.gethostname():
        raise CharaloomError(
            f"a run was started here on {host} and did not end. If it is still running, wait for it. "
            f"If {host} or the run is certainly gone, delete {path} and start again."
        )
    alive = [life["pid"] for life in earlier.get("processes", []) if life_of(life["pid"]) == life]
    if alive:
        raise CharaloomError(f"another run is active in this folder (process {alive[0]}); wait for it, or end it")


def refuse_beside_snakemake(folder: Path) -> None:
    """Raise CharaloomError where a Snakemake is running in this folder; one inside a cluster job does not count."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            here = Path(os.readlink(f"/proc/{pid}/cwd")) == folder
        except OSError:
            continue
        if here and any("snakemake" in Path(word).name for word in words[:3]) and "remote" not in words:
            raise CharaloomError(f"Snakemake is running in this folder (process {pid}); wait for it, or end it")


def life_of(pid: int) -> dict[str, int | None]:
    """A process by its id and start time (clock ticks since boot), since ids are used again.

    The start is None where it is gone, or a zombie: it has exited, its parent has not collected it.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return {"pid": pid, "start": None}
    return {"pid": pid, "start": None if state == "Z" else int(rest[18])}


def settle(jobs: list[cluster.ClusterJob], orphans: str, answer: Callable[[str], str] = input) -> bool:
    """Cancel or await the jobs that a killed run left, so that they do not write beside their successors.

    Returns whether there were any. Raises CharaloomError on `stop`, and where SLURM does not end cancelled jobs.
    """
    if not jobs:
        return False
    print(f"{counted(len(jobs), 'job')} left over from an earlier run in this folder:")
    print(cluster.described(jobs), flush=True)
    if orphans == "ask":
        orphans = choice(answer) if sys.stdin.isatty() else "stop"
    if orphans == "stop":
        raise CharaloomError(
            "nothing was submitted. `charaloom run --orphans wait` goes on when they have ended and keeps what "
            "they make, `charaloom run --orphans cancel` ends them first; both with the profile as before."
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


def choice(answer: Callable[[str], str]) -> str:
    """What the user chooses on the terminal: cancel, wait or stop."""
    choices = {"c": "cancel", "w": "wait", "s": "stop"}
    while True:
        letter = answer("[c]ancel them, [w]ait for them, or [s]top here? ").strip().lower()[:1]
        if letter in choices:
            return choices[letter]
