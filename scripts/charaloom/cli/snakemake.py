"""Snakemake as a program: its command line and its output. It is never imported: it may be installed elsewhere."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from charaloom.config.schemas import CODE, read_yaml
from charaloom.errors import CharaloomError
from charaloom.runtime.processes import die_with_parent

LOG = re.compile(r"^ {4}log: (?P<file>\S+)")
FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (?P<rule>\w+)\)")
ERROR = re.compile(r"^Error in rule (?P<rule>\w+)")
RECENT_LOGS = 32  # of started jobs, that are looked at for a line of progress
SHOWN_ON_FAILURE = 20  # last lines of Snakemake's own output
SHOWN_OF_KILLED = 5
KILLED = "was ended by signal {}, most often because memory ran out"
LOCKED = "LockException"  # of Snakemake, where its lock is there already
LOCKS = Path(".snakemake", "locks")


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

    def run(self, targets: Iterable[str], log: Path, rules: Iterable[str] = (), force: bool = False) -> "Running":
        """Build targets. Given `rules`, these alone run, and other files are taken as they are. `force`: whatever
        Snakemake knows of the targets, they are made again."""
        options = [*(["--force"] if force else []), *(["--allowed-rules", *rules] if rules else [])]
        return Running(self.command(targets, *options), log)

    def unlock(self) -> None:
        """Remove the lock that a killed run left. The caller has made sure that the run is dead."""
        subprocess.run(self.command((), "--unlock"), capture_output=True, check=False)

    def is_locked(self) -> bool:
        """Whether Snakemake's lock of the working directory is there; it says nothing of who took it."""
        return any((self.folder or Path()).joinpath(LOCKS).glob("*"))

    def on_cluster(self) -> bool:
        """Whether the profile submits its jobs to SLURM."""
        files = sorted(Path(find_profile(self.profile)).glob("*.yaml")) if self.profile else []
        return any(str((read_yaml(file) or {}).get("executor", "")).startswith("slurm") for file in files)


class Running:
    """A running Snakemake. Iterate over it: it yields after each finished job; afterwards `code` is its exit code.

    `finished` and `errors` count jobs by rule, `logs` has those of the jobs that started last, `failed` those of the
    jobs that failed. All output goes to `log`, the last SHOWN_ON_FAILURE lines also to `tail`.
    """

    def __init__(self, command: list[str], log: Path):
        self.tail: deque[str] = deque(maxlen=SHOWN_ON_FAILURE)
        self.code: int | None = None
        self.finished: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.logs: deque[Path] = deque(maxlen=RECENT_LOGS)
        self.failed: set[Path] = set()
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

    def __iter__(self) -> Iterator[None]:
        assert self.process.stdout is not None
        of_error = False  # whether the lines describe a job that failed
        with self.log.open("a", encoding="utf-8") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                self.tail.append(line.rstrip())
                if named := LOG.match(line):
                    path = Path(named["file"].rstrip(","))
                    if of_error:
                        self.failed.add(path)
                    else:
                        self.logs.append(path)
                elif error := ERROR.match(line):
                    self.errors[error["rule"]] += 1
                    of_error = True
                elif not line.startswith(" "):
                    of_error = False
                if finished := FINISHED.match(line):
                    self.finished[finished["rule"]] += 1
                    yield
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


def error_lines(lines: Sequence[str], code: int | None = None) -> list[str]:
    """What went wrong outside of jobs, from Snakemake's last lines and exit code: what we know of it in one line, our
    own error line, else all of its last lines."""
    if any(LOCKED in line for line in lines):
        return [
            f"{LOCKS.absolute()}: the lock of a Snakemake that was started here without `charaloom run`, or on another "
            "machine. Wait for it; where none is running any more, `snakemake --unlock` removes the lock."
        ]
    if code is not None and code < 0:
        return [f"Snakemake {KILLED.format(-code)}. The same command goes on from here.", *lines[-SHOWN_OF_KILLED:]]
    own = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return own[:1] or list(lines)
