"""What each stage needed in time and memory, by the benchmark files of the runs so far: what to ask a cluster for."""

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from charaloom.cli.progress import clock
from charaloom.config.stages import PASSES
from charaloom.pages.status import NOTHING, table

COLUMNS = ("stage", "jobs", "median", "longest", "most memory")


def needs_table(benchmarks: Path) -> str:
    """One row per stage; times as 1:02:03, memory in gigabytes."""
    found = records(benchmarks)
    return table([row_of(stage, found[stage]) for stage in PASSES], COLUMNS)


def records(benchmarks: Path) -> dict[str, list[dict[str, Any]]]:
    """Snakemake's records by stage; half a file, which a job is writing, is left out."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted([*benchmarks.glob("*.jsonl"), *benchmarks.glob("*/*.jsonl")]):
        try:
            lines = [json.loads(line) for line in file.read_text().splitlines()]
        except (OSError, ValueError):
            continue
        found[file.stem.partition("-")[0]] += lines
    return found


def row_of(stage: str, jobs: list[dict[str, Any]]) -> dict[str, str]:
    seconds = [float(job["s"]) for job in jobs]
    memory = [float(job["max_rss"]) for job in jobs if isinstance(job.get("max_rss"), int | float)]
    return {
        "stage": stage,
        "jobs": str(len(jobs)),
        "median": clock(statistics.median(seconds)) if seconds else NOTHING,
        "longest": clock(max(seconds)) if seconds else NOTHING,
        "most memory": f"{max(memory) / 1024:.1f} GB" if memory else NOTHING,
    }
