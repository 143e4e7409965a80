"""Progress of a run on the terminal: jobs done, time taken, time left."""

import json
import os
import re
import shutil
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from charaloom.artifacts.types import Row
from charaloom.images.files import printable
from charaloom.pages.standing import tail

HEARTBEAT = 1.0  # seconds between updates of the line on a terminal
SECONDS_BETWEEN_LINES = 30.0  # where the output is no terminal
LEAST_EXPECTED = 10.0  # seconds of TYPICAL that must have run before the pace is measured; set by hand
MOST_MEASURED = 100  # characters whose benchmark files are read for the estimate; set by hand
CHATTER = re.compile(  # of libraries, in a log
    r"\w*Warning: |^(warnings\.)?warn\(|^deprecate\(|^Loading weights:|^WARNING |^[-\d]{10} [\d:.]+ \| [A-Z]+ "
)
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
    """Seconds of work: from this project's benchmark files, else as reckoned from the config, else from typical
    proportions and this run's pace."""

    def __init__(self, benchmarks: Path, parallel: int):
        self.parallel = max(1, parallel)
        self.measured = measured_seconds(benchmarks)
        self.reckoned: dict[str, float] = {}  # seconds of a job, by stage
        self.took = 0.0
        self.expected = 0.0

    def finished(self, jobs: Mapping[str, int], seconds: float) -> None:
        """Learn from jobs by stage that took `seconds` together; nothing where reckoned ones were among them."""
        if any(jobs.get(stage) for stage in self.reckoned):
            return
        self.took += seconds
        self.expected += sum(TYPICAL.get(stage, UNKNOWN_STAGE) * self.rounds(count) for stage, count in jobs.items())

    def rounds(self, jobs: int) -> int:
        """How many batches of parallel jobs a stage takes."""
        return -(-jobs // self.parallel)

    def pace(self) -> float:
        """Seconds here per second in TYPICAL; 1 until enough has run to measure it."""
        return self.took / self.expected if self.expected > LEAST_EXPECTED else 1.0

    def of_job(self, stage: str) -> float:
        known = {**self.reckoned, **self.measured}
        return known.get(stage, TYPICAL.get(stage, UNKNOWN_STAGE) * self.pace())

    def of(self, jobs: Mapping[str, int]) -> float:
        """Wall seconds of jobs by stage."""
        return sum(self.rounds(count) * self.of_job(stage) for stage, count in jobs.items() if count > 0)

    def rest(self, jobs: Mapping[str, int], since: float) -> float:
        """Wall seconds of jobs some of which run: `since` seconds ago the last one ended."""
        longest = max((self.of_job(stage) for stage, count in jobs.items() if count > 0), default=0.0)
        return self.of(jobs) - min(since, longest)


def measured_seconds(benchmarks: Path) -> dict[str, float]:
    """Mean seconds of each stage's jobs in the benchmark files of some characters, spread over all."""
    folders = sorted(entry.path for entry in os.scandir(benchmarks) if entry.is_dir()) if benchmarks.is_dir() else []
    sample = folders[:: -(-len(folders) // MOST_MEASURED)] if folders else []
    jobs = records([benchmarks, *map(Path, sample)])
    seconds = {stage: [float(job["s"]) for job in own if "s" in job] for stage, own in jobs.items()}
    return {stage: statistics.fmean(own) for stage, own in seconds.items() if own}


def records(folders: Iterable[Path]) -> dict[str, list[Row]]:
    """Snakemake's benchmark records by stage; skips a file that a job is still writing."""
    jobs: dict[str, list[Row]] = defaultdict(list)
    for file in sorted(file for folder in folders for file in folder.glob("*.jsonl")):
        try:
            lines = [json.loads(line) for line in file.read_text().splitlines()]
        except (OSError, ValueError):
            continue
        jobs[file.stem.partition("-")[0]] += lines
    return jobs


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


def latest_line(logs: Iterable[Path], since: float) -> str:
    """The last line of the log that was written last, warnings of libraries left out; empty where none was written
    after `since` (epoch, s)."""
    times = []
    for log in logs:
        with suppress(OSError):
            times.append((log.stat().st_mtime, log))
    changed, newest = max(times, default=(0.0, Path()))
    if changed < since:
        return ""
    lines = [line.strip() for line in tail(newest).replace("\r", "\n").splitlines() if line.strip()]
    return printable(next((line for line in reversed(lines) if not CHATTER.search(line)), ""))
