"""Watch a run on a cluster: the states of its jobs in SLURM, and what to do where nothing moves."""

import time
from pathlib import Path

from charaloom.cli import slurm as cluster
from charaloom.cli.text import clock
from charaloom.errors import CharaloomError

SECONDS_BETWEEN_LOOKS = 60.0
SECONDS_OF_OUTAGE = 300.0  # after which an unreachable SLURM is reported; set by hand
SECONDS_OF_SILENCE = 1800.0  # without output of Snakemake nor a job in SLURM, before it is reported; set by hand


class Watch:
    """Asks squeue now and then. `summary` is for the line of progress; `look` returns each notice once."""

    def __init__(self, log: Path):
        self.log = log  # Snakemake's output: its mtime says whether Snakemake is alive
        self.summary = ""
        self.reported: set[str] = set()
        self.looked = float("-inf")
        self.answered = self.busy = time.monotonic()

    def look(self) -> list[str]:
        now = time.monotonic()
        if now - self.looked < SECONDS_BETWEEN_LOOKS:
            return []
        self.looked = now
        try:
            jobs = cluster.jobs_of(Path.cwd())
        except CharaloomError as problem:
            self.summary = "SLURM does not answer"
            return self.new(self.outage(now, str(problem)))
        self.answered = now
        self.reported.discard("outage")
        if jobs:
            self.busy = now
        self.summary = cluster.summary(jobs)
        return self.new({**hopeless(jobs), **self.silence(now)})

    def new(self, notices: dict[str, str]) -> list[str]:
        """Notices that were not reported before."""
        fresh = [notice for key, notice in notices.items() if key not in self.reported]
        self.reported.update(notices)
        return fresh

    def outage(self, now: float, problem: str) -> dict[str, str]:
        since = now - self.answered
        if since < SECONDS_OF_OUTAGE:
            return {}
        return {
            "outage": f"{problem}, for {clock(since)} now. Nothing is lost: running jobs go on, "
            "and this run goes on when SLURM answers."
        }

    def silence(self, now: float) -> dict[str, str]:
        """Snakemake waits for a job that SLURM does not know."""
        silent = time.time() - self.log.stat().st_mtime if self.log.exists() else 0.0
        if min(silent, now - self.busy) < SECONDS_OF_SILENCE:
            return {}
        return {
            "silence": f"Snakemake has written nothing for {clock(silent)}, and SLURM knows no job of this run. "
            f"Press Ctrl-C and give the same command again: it goes on from here. Snakemake's output: {self.log}"
        }


def hopeless(jobs: list[cluster.ClusterJob]) -> dict[str, str]:
    """Notices about jobs that will never start, by SLURM's reason."""
    return {
        job.reason: f"SLURM job {job.id} ({job.what}) will not start: {job.reason}, {why}. Change the profile "
        f"(docs/cluster.md), press Ctrl-C, and start again."
        for job in jobs
        if (why := cluster.hopeless(job))
    }
