"""A watch over a run on a cluster: what SLURM makes of its jobs, and what to do where nothing moves."""

import time
from pathlib import Path

from charaloom.cli import slurm as cluster
from charaloom.cli.progress import clock
from charaloom.errors import CharaloomError

SECONDS_BETWEEN_LOOKS = 60.0
SECONDS_OF_OUTAGE = 300.0  # after which a silent SLURM is told
SECONDS_OF_SILENCE = 1800.0  # of Snakemake, while SLURM knows no job of it


class Watch:
    """Looks at squeue now and then: `words` for the line of progress, and from `look` what must be told, once each."""

    def __init__(self, log: Path):
        self.log = log  # Snakemake's words: their time says whether it lives
        self.words = ""
        self.told: set[str] = set()
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
            self.words = "SLURM does not answer"
            return self.new(self.outage(now, str(problem)))
        self.answered = now
        self.told.discard("outage")
        if jobs:
            self.busy = now
        self.words = cluster.summary(jobs)
        return self.new({**hopeless(jobs), **self.silence(now)})

    def new(self, notices: dict[str, str]) -> list[str]:
        """Notices that were not told before."""
        fresh = [words for key, words in notices.items() if key not in self.told]
        self.told.update(notices)
        return fresh

    def outage(self, now: float, problem: str) -> dict[str, str]:
        since = now - self.answered
        if since < SECONDS_OF_OUTAGE:
            return {}
        told = f"{problem}, for {clock(since)} now. Nothing is lost: running jobs go on, and this run when it answers."
        return {"outage": told}

    def silence(self, now: float) -> dict[str, str]:
        """Snakemake waits for something that SLURM does not know."""
        said = time.time() - self.log.stat().st_mtime if self.log.exists() else 0.0
        if min(said, now - self.busy) < SECONDS_OF_SILENCE:
            return {}
        return {
            "silence": f"Snakemake has said nothing for {clock(said)}, and SLURM knows no job of this run. "
            "Press Ctrl-C and give the same command again: it goes on from here. What Snakemake said: " + str(self.log)
        }


def hopeless(jobs: list[cluster.ClusterJob]) -> dict[str, str]:
    """Jobs that will never start, by reason: what to change."""
    return {
        job.reason: f"SLURM job {job.id} ({job.what}) will not start: {job.reason}, {why}. Change the profile "
        f"(docs/cluster.md), press Ctrl-C, and start again."
        for job in jobs
        if (why := cluster.hopeless(job))
    }
