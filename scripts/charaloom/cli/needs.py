"""Time and memory that each stage needed, by the benchmark files of past runs: what to request of a cluster."""

import statistics
from pathlib import Path

from charaloom.artifacts.types import Row
from charaloom.cli.progress import records
from charaloom.cli.text import clock, table
from charaloom.config.stages import PASSES

COLUMNS = ("stage", "jobs", "median", "longest", "most memory")


def needs_table(benchmarks: Path) -> str:
    """One row per stage; times as 1:02:03, memory in gigabytes."""
    jobs = records([benchmarks, *benchmarks.glob("*/")])
    return table([row_of(stage, jobs.get(stage, [])) for stage in PASSES], COLUMNS)


def row_of(stage: str, jobs: list[Row]) -> dict[str, str | None]:
    seconds = [float(job["s"]) for job in jobs]
    memory = [float(job["max_rss"]) for job in jobs if isinstance(job.get("max_rss"), int | float)]
    return {
        "stage": stage,
        "jobs": str(len(jobs)),
        "median": clock(statistics.median(seconds)) if seconds else None,
        "longest": clock(max(seconds)) if seconds else None,
        "most memory": f"{max(memory) / 1024:.1f} GB" if memory else None,
    }
