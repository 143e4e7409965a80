"""This folder's jobs in SLURM: which wait and why, which run, which a killed run left behind.

Uses `squeue` alone, which needs no accounting database. Imports neither Snakemake nor the executor plugin.
"""

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError

SECONDS_TO_ANSWER = 60.0
FIELDS = ("%i", "%j", "%T", "%r", "%M", "%Z", "%k")  # id, name, state, reason, time used, folder, comment (last)
RULE = "rule_"  # prefix of the executor's job comments
WILDCARDS = "_wildcards_"

# Reasons (squeue's %r) for which a job never starts unless a person changes something.
HOPELESS = {
    "AccountNotAllowed": "the account may not use this partition",
    "AssocMaxCpuPerJobLimit": "one job of this account may not use so many cores",
    "AssocMaxMemPerJob": "one job of this account may not use so much memory",
    "AssocMaxWallDurationPerJobLimit": "one job of this account may not run so long",
    "BadConstraints": "no node offers what the job asks for",
    "InvalidAccount": "there is no such account",
    "InvalidQOS": "there is no such quality of service",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held; `scontrol release` frees it",
    "PartitionConfig": "the partition does not allow what the job asks for",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "the partition has too few nodes, or none with so much memory",
    "PartitionTimeLimit": "the partition does not allow so long a job",
    "QOSMaxWallDurationPerJobLimit": "the quality of service does not allow so long a job",
}


@dataclass(frozen=True)
class ClusterJob:
    """One job of this user in this folder that SLURM has not finished."""

    id: str
    run: str  # the name that the executor gives to all jobs of one run
    state: str
    reason: str
    used: str  # time since its start
    comment: str

    @property
    def what(self) -> str:
        """`checkpoints of hana_and_7_more`."""
        rule, _, wildcards = self.comment.removeprefix(RULE).partition(WILDCARDS)
        return f"{rule} of {wildcards}" if wildcards else rule


def available() -> bool:
    return shutil.which("squeue") is not None


def jobs_of(folder: PathLike) -> list[ClusterJob]:
    """This user's unfinished workflow jobs of `folder`. Raises CharaloomError where SLURM does not answer."""
    command = ["squeue", "--me", "--noheader", f"--format={'|'.join(FIELDS)}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
    except subprocess.TimeoutExpired as problem:
        raise CharaloomError(f"SLURM does not answer: squeue took over {SECONDS_TO_ANSWER:.0f} s") from problem
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"squeue ended with {result.returncode}"]
        raise CharaloomError(f"SLURM does not answer: {lines[-1]}")
    return parsed(result.stdout, Path(folder).resolve())


def parsed(output: str, folder: Path) -> list[ClusterJob]:
    """The jobs of one folder in squeue's output."""
    jobs = []
    for line in output.splitlines():
        number, run, state, reason, used, place, comment = line.split("|", len(FIELDS) - 1)
        if comment.startswith(RULE) and Path(place).resolve() == folder:
            jobs.append(ClusterJob(number, run, state, reason, used, comment))
    return jobs


def cancel(jobs: Iterable[ClusterJob]) -> None:
    subprocess.run(["scancel", *(job.id for job in jobs)], check=False, timeout=SECONDS_TO_ANSWER)


def wait_for_end(folder: PathLike, seconds: float = float("inf"), pause: float = 5.0) -> bool:
    """Whether this folder's jobs ended within `seconds`. While SLURM does not answer, they count as running."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            if not jobs_of(folder):
                return True
        except CharaloomError:
            pass  # an outage does not mean that they ended
        time.sleep(pause)
    return False


def described(jobs: list[ClusterJob], most: int = 8) -> str:
    """A few jobs as lines for a person."""
    lines = [f"  {job.id}  {job.what}, {job.state.lower()} {job.used}" for job in jobs[:most]]
    return "\n".join(lines + ([f"  and {len(jobs) - most} more"] if len(jobs) > most else []))


def hopeless(job: ClusterJob) -> str | None:
    """Why a waiting job will never start, or None."""
    return HOPELESS.get(job.reason.strip("()")) if job.state == "PENDING" else None


def summary(jobs: Iterable[ClusterJob]) -> str:
    """`3 running, 12 pending (Resources)`: states of a run's jobs, with the commonest reason to wait."""
    jobs = list(jobs)
    states = Counter(job.state.lower() for job in jobs)
    reasons = Counter(job.reason for job in jobs if job.state == "PENDING")
    counts = [f"{count} {state}" for state, count in sorted(states.items(), reverse=True)]
    return ", ".join(counts) + (f" ({reasons.most_common(1)[0][0]})" if reasons else "")
