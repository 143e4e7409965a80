"""Snakemake as a program: its command line and its output. It is never imported: it may be installed elsewhere."""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from charaloom.config.schemas import CODE, read_yaml
from charaloom.errors import CharaloomError
from charaloom.runtime.processes import die_with_parent

STATS_ROW = re.compile(r"^(?P<rule>[a-z][a-z0-9_]*) +(?P<count>\d+)$")
LAST_ROW = re.compile(r"^total +\d+$")
STEPS = re.compile(r"^(?P<done>\d+) of (?P<all>\d+) steps \(")
SHOWN_ON_FAILURE = 20  # last lines of Snakemake's own output


@dataclass
class Snakemake:
    """One way to call Snakemake: the same config, profile and working directory for every target."""

    overlays: list[Path] = field(default_factory=list)
    profile: str | None = "local"
    cores: int | None = None
    folder: Path | None = None  # working directory; None: the current one
    extra: list[str] = field(default_factory=list)

    def command(self, targets: Iterable[str], *options: str) -> list[str]:
        command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(CODE / "Snakefile")]
        if self.profile:
            command += ["--profile", find_profile(self.profile)]
        if self.folder:
            command += ["--directory", str(self.folder)]
        if self.cores:
            command += ["--cores", str(self.cores)]
        if self.overlays:
            command += ["--configfile", *(str(path.absolute()) for path in self.overlays)]
        return [*command, *options, *self.extra]

    def plan(self, targets: Iterable[str] = ()) -> dict[str, int]:
        """How many jobs of each rule are to be done for the targets, or for everything.

        Snakemake prints its table first and then every job, which takes long: it is stopped after the table.
        Raises CharaloomError where Snakemake cannot plan.
        """
        command = self.command(targets, "--dry-run", "--quiet", "rules")
        output: list[str] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                output.append(line.rstrip())
                if LAST_ROW.match(line):
                    process.send_signal(signal.SIGINT)  # on which it removes its own lock
                    return jobs_in(output)
        if process.returncode:
            raise CharaloomError(planning_error(output))
        return jobs_in(output)

    def run(self, targets: Iterable[str], log: Path) -> "Running":
        return Running(self.command(targets), log)

    def unlock(self) -> None:
        """Remove the lock that a killed run left. The caller has made sure that the run is dead."""
        subprocess.run(self.command((), "--unlock"), capture_output=True, check=False)

    def on_cluster(self) -> bool:
        """Whether the profile submits its jobs to SLURM."""
        files = sorted(Path(find_profile(self.profile)).glob("*.yaml")) if self.profile else []
        return any(str((read_yaml(file) or {}).get("executor", "")).startswith("slurm") for file in files)


class Running:
    """A running Snakemake. Iterate over it for (done, all) steps; afterwards `code` is its exit code.

    All its output goes to `log`, the last SHOWN_ON_FAILURE lines also to `tail`.
    """

    def __init__(self, command: list[str], log: Path):
        self.tail: deque[str] = deque(maxlen=SHOWN_ON_FAILURE)
        self.code: int | None = None
        self.log = log
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(),
            preexec_fn=partial(die_with_parent, signal.SIGINT),  # it ends its jobs and itself
        )

    def __iter__(self) -> Iterator[tuple[int, int]]:
        assert self.process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                self.tail.append(line.rstrip())
                if steps := STEPS.match(line):
                    yield int(steps["done"]), int(steps["all"])
        self.code = self.process.wait()


def environment() -> dict[str, str]:
    """The environment of child processes: PYTHONPATH to this package, unbuffered output."""
    path = os.pathsep.join(filter(None, [str(CODE / "scripts"), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def find_profile(name: str) -> str:
    """A profile's folder: a path from here or from the code's folder, or the name of one of Charaloom's own.

    Raises CharaloomError where there is none.
    """
    for folder in (Path(name), CODE / name, CODE / "profiles" / name):
        if any(folder.glob("*.yaml")):
            return str(folder.absolute())
    own = ", ".join(sorted(path.name for path in (CODE / "profiles").iterdir() if path.name != "default"))
    raise CharaloomError(f"--profile {name}: there is no such profile; Charaloom's own are {own}")


def jobs_in(lines: Iterable[str]) -> dict[str, int]:
    """Jobs by rule from a dry run's table; empty where there is nothing to be done."""
    matches = filter(None, map(STATS_ROW.match, lines))
    rows = [(row["rule"], int(row["count"])) for row in matches]
    return {rule: count for rule, count in rows if rule not in ("all", "total") and not rule.startswith("stage_")}


def planning_error(lines: list[str]) -> str:
    """What went wrong, from Snakemake's output: our own error line, else the last lines."""
    for line in lines:
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")
    return "Snakemake could not plan:\n" + "\n".join(lines[-SHOWN_ON_FAILURE:])
