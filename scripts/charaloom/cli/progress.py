"""What a person sees while a run goes on: which stage of how many, how far, how long, how long still."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HEARTBEAT = 1.0  # seconds between updates of a terminal's line
SECONDS_BETWEEN_LINES = 30.0  # where the output is no terminal

# Seconds of one job in the demo on two cores: only the proportions matter, until this project has its own measurements.
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
    """Seconds still to go: from this project's benchmark files, else from typical proportions and this run's pace."""

    def __init__(self, benchmarks: Path, planned: dict[str, int], parallel: int):
        self.planned = planned
        self.parallel = max(1, parallel)
        self.known = {stage: seconds for stage in planned if (seconds := measured_seconds(benchmarks, stage))}
        self.took = 0.0
        self.expected = 0.0

    def finished(self, stage: str, seconds: float) -> None:
        self.took += seconds
        self.expected += TYPICAL.get(stage, 10.0) * self.rounds(stage)

    def rounds(self, stage: str) -> int:
        """How often a stage's jobs start one after another."""
        return -(-self.planned.get(stage, 0) // self.parallel)

    def of_stage(self, stage: str) -> float:
        """Wall seconds of one stage for all its planned jobs."""
        return self.rounds(stage) * self.known.get(stage, TYPICAL.get(stage, 10.0) * self.pace())

    def pace(self) -> float:
        """How this machine compares with the one behind TYPICAL, once that can be told."""
        return self.took / self.expected if self.expected > 10 else 1.0

    def remaining(self, stages: list[str], now: str | None = None, elapsed: float = 0.0) -> float:
        """Seconds for `stages` to come, and for the rest of the one that runs now."""
        ahead = sum(self.of_stage(stage) for stage in stages)
        return ahead + (max(self.of_stage(now) - elapsed, 0.0) if now else 0.0)


def measured_seconds(benchmarks: Path, stage: str) -> float | None:
    """Mean seconds of a stage's jobs in Snakemake's benchmark files."""
    seconds = []
    for file in sorted(benchmarks.glob(f"*/{stage}*.jsonl")) + sorted(benchmarks.glob(f"{stage}.jsonl")):
        try:
            seconds += [float(json.loads(line)["s"]) for line in file.read_text().splitlines()]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a file being written; the estimate does without
    return sum(seconds) / len(seconds) if seconds else None


def clock(seconds: float) -> str:
    """1:05, or 1:02:03 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    return "under a minute" if seconds < 50 else f"about {max(1, round(seconds / 60))} min"


class Line:
    """One line of progress: redrawn in place on a terminal, else printed now and then."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.printed = time.monotonic()
        self.lock = threading.Lock()

    def show(self, text: Callable[[], str]) -> None:
        """Show `text()`, which is not asked for where it would not be shown."""
        with self.lock:
            if self.terminal:
                width = shutil.get_terminal_size().columns - 1
                print(f"\r\x1b[2K{text()[:width]}", end="", flush=True)
            elif time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES:
                self.printed = time.monotonic()
                print(text(), flush=True)

    def keep(self, text: str) -> None:
        """A line that stays."""
        with self.lock:
            self.printed = time.monotonic()
            print(f"\r\x1b[2K{text}" if self.terminal else text, flush=True)

    @contextmanager
    def beating(self, text: Callable[[], str], notices: Callable[[], list[str]] = list) -> Iterator[None]:
        """Show `text()` again and again while the block runs, and keep what `notices()` brings."""
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


def last_words(logs: Path, stage: str, since: float) -> str:
    """The last line of a stage's log that was written to most recently, after `since` (seconds of the epoch)."""
    files = [(path.stat().st_mtime, path) for path in logs.glob(f"*/{stage}*.log")]
    fresh = [(changed, path) for changed, path in files if changed >= since]
    if not fresh:
        return ""
    with max(fresh)[1].open("rb") as handle:
        handle.seek(0, 2)
        handle.seek(max(0, handle.tell() - 2000))
        text = handle.read().decode("utf-8", "replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
