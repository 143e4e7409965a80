"""Progress of a run on the terminal: which stage of how many, jobs done, time taken, time left."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from charaloom.pages.standing import tail

HEARTBEAT = 1.0  # seconds between updates of the line on a terminal
SECONDS_BETWEEN_LINES = 30.0  # where the output is no terminal
LEAST_EXPECTED = 10.0  # seconds of TYPICAL that must have run before the pace is measured; set by hand
UNKNOWN_STAGE = 10.0  # seconds of a job that TYPICAL does not list; set by hand

# Seconds of one job in the demo on two cores (`charaloom status --needs` there). Only the proportions matter, and only
# until this project has its own measurements.
TYPICAL = {
    "models": 2.0,
    "raw": 15.0,
    "measured": 60.0,
    "filtered": 4.0,
    "curation": 8.0,
    "tagged": 3.0,
    "clustered": 4.0,
    "outfits": 5.0,
    "dataset": 8.0,
    "checkpoints": 180.0,
    "previews": 150.0,
    "selection": 5.0,
    "model": 8.0,
    "published": 3.0,
    "report": 5.0,
}


class Estimate:
    """Seconds left: from this project's benchmark files, else from typical proportions and this run's pace."""

    def __init__(self, benchmarks: Path, planned: dict[str, int], parallel: int):
        self.planned = planned
        self.parallel = max(1, parallel)
        self.measured = {stage: seconds for stage in planned if (seconds := measured_seconds(benchmarks, stage))}
        self.took = 0.0
        self.expected = 0.0

    def finished(self, stage: str, seconds: float) -> None:
        self.took += seconds
        self.expected += TYPICAL.get(stage, UNKNOWN_STAGE) * self.rounds(stage)

    def rounds(self, stage: str) -> int:
        """How many batches of parallel jobs a stage takes."""
        return -(-self.planned.get(stage, 0) // self.parallel)

    def of_stage(self, stage: str) -> float:
        """Wall seconds of one stage for all its planned jobs."""
        return self.rounds(stage) * self.measured.get(stage, TYPICAL.get(stage, UNKNOWN_STAGE) * self.pace())

    def pace(self) -> float:
        """Seconds here per second in TYPICAL; 1 until enough has run to measure it."""
        return self.took / self.expected if self.expected > LEAST_EXPECTED else 1.0

    def remaining(self, stages: list[str], running: str | None = None, elapsed: float = 0.0) -> float:
        """Seconds for the `stages` to come, and for the rest of the one that has been running for `elapsed` seconds."""
        ahead = sum(self.of_stage(stage) for stage in stages)
        return ahead + (max(self.of_stage(running) - elapsed, 0.0) if running else 0.0)


def measured_seconds(benchmarks: Path, stage: str) -> float | None:
    """Mean seconds of a stage's jobs in Snakemake's benchmark files."""
    seconds = []
    for file in sorted(benchmarks.glob(f"*/{stage}*.jsonl")) + sorted(benchmarks.glob(f"{stage}.jsonl")):
        try:
            seconds += [float(json.loads(line)["s"]) for line in file.read_text().splitlines()]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a job is still writing this file
    return sum(seconds) / len(seconds) if seconds else None


class Line:
    """One line of progress: updated in place on a terminal, else printed every SECONDS_BETWEEN_LINES."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.printed = time.monotonic()
        self.lock = threading.Lock()

    def show(self, text: Callable[[], str]) -> None:
        """Show `text()`; it is called only where it will be shown."""
        with self.lock:
            if self.terminal:
                width = shutil.get_terminal_size().columns - 1
                print(f"\r\x1b[2K{text()[:width]}", end="", flush=True)
            elif time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES:
                self.printed = time.monotonic()
                print(text(), flush=True)

    def keep(self, text: str) -> None:
        """Print a line that stays."""
        with self.lock:
            self.printed = time.monotonic()
            print(f"\r\x1b[2K{text}" if self.terminal else text, flush=True)

    @contextmanager
    def beating(self, text: Callable[[], str], notices: Callable[[], list[str]] = list) -> Iterator[None]:
        """Show `text()` every HEARTBEAT while the block runs, and keep the lines that `notices()` returns."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT):
                for notice in notices():
                    self.keep(notice)
                self.show(text)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def latest_line(logs: Path, stage: str, since: float) -> str:
    """The last line of a stage's most recently written log; empty where none was written after `since` (epoch, s)."""
    files = [(path.stat().st_mtime, path) for path in logs.glob(f"*/{stage}*.log")]
    fresh = [(changed, path) for changed, path in files if changed >= since]
    if not fresh:
        return ""
    lines = [line.strip() for line in tail(max(fresh)[1]).replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""
