"""A small project that goes through every stage, its processes, and what it must end in."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import files_below, sha256_file
from charaloom.config.schemas import CODE
from charaloom.demo.world.board import serve
from charaloom.demo.world.building import build_world
from tests.workflow.test_end_to_end import SEED, make_project

PUBLISHED = ("results", "published", "second")
SECONDS_TO_END = 90.0  # of processes whose parent was killed, on a busy machine


@dataclass
class Place:
    """A working directory and the processes in it."""

    folder: Path
    until: str | None = None  # the last stage that is built

    def start(self, log: Path) -> "subprocess.Popen[bytes]":
        """`charaloom run`, its output in `log`."""
        command = [sys.executable, "-W", "ignore", "-m", "charaloom", "run", "--cores", "2"]
        command += ["--until", self.until] if self.until else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CODE / "scripts")}
        with log.open("ab") as output:
            return subprocess.Popen(
                [*command, "--", "--resources", "gpu=1", "board_loopback=1"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(self, log: Path) -> int:
        return self.start(log).wait()

    def artifacts(self) -> dict[str, str]:
        """SHA-256 by path of all that the jobs make for people."""
        tops = [self.folder / top for top in PUBLISHED]
        paths = [top / path for top in tops if top.is_dir() for path in files_below(top) if path.name != "status.html"]
        return {str(path.relative_to(self.folder)): sha256_file(path) for path in paths}

    # --- processes

    def processes(self) -> dict[int, str]:
        """Command lines of the processes that work in the folder, by id."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if Path(os.readlink(entry / "cwd")).is_relative_to(self.folder):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
        return {pid: line for pid, line in found.items() if line}

    def victims(self, kind: str) -> list[int]:
        """The processes to kill: `tree`, `command`, `snakemake`, or one `stage`."""
        lines = self.processes()
        if kind == "command":
            return [pid for pid, line in lines.items() if "\0charaloom\0run" in line]
        if kind == "snakemake":
            return [pid for pid, line in lines.items() if "\0snakemake\0" in line and "--profile" in line]
        if kind == "stage":
            return [pid for pid, line in lines.items() if ".snakemake/scripts/" in line or "charaloom.training" in line]
        return list(lines)

    def kill(self, kind: str) -> bool:
        """Kill -9; False where there was nothing of this kind."""
        victims = self.victims(kind)[: 1 if kind == "stage" else None]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(victims)

    def wait_until_empty(self) -> None:
        """Until nobody works here any more. Raises TimeoutError where somebody stays."""
        limit = time.monotonic() + SECONDS_TO_END
        while left := self.processes():
            if time.monotonic() > limit:
                raise TimeoutError(f"{self.folder}: still at work: {left}")
            time.sleep(0.1)


@contextmanager
def world(root: Path, posts: int = 24) -> Iterator[tuple[Path, str]]:
    """Two drawn characters on a board: their folder and the board's address."""
    build_world(root / "world", SEED, characters=2, posts=posts)
    with serve(root / "world") as board:
        yield root / "world", board.root


def new_place(folder: Path, drawn: tuple[Path, str], base: Path, until: str | None = None) -> Place:
    make_project(folder, *drawn, base)
    return Place(folder.resolve(), until)
