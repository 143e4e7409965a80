"""make bench-scale: how long `charaloom run` takes until the first job starts, or nothing is to be done.

The goals for 1,000 characters are 5 s, nothing or all done; for 10,000 (ARGS="--characters 10000") 15 s, also where the
entry of one changed, and 1 GB. The picture models count as fetched, so that the first job is one of a character.
`charaloom run`, Snakemake and the Snakefile are real; the finished characters are written by hand, jobs do nothing.
`cpu` is of `charaloom run` with its Snakemake, until then.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plan import ROOT, change_one, make_roster

from tests.finished import finish_many, finish_models, opened

PLUGINS = Path(__file__).with_name("plugins")
SIMULATED = ["--executor", "simulated", "--jobs", "1000", "--latency-wait", "0"]
NOTHING = "Nothing to be done"
PAUSE = 0.02  # seconds between two looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=1000)
    number = parser.parse_args().characters
    figures: dict[str, Any] = {"characters": number}
    with tempfile.TemporaryDirectory(prefix="charaloom-bench-") as scratch:
        folder = Path(scratch)
        make_roster(folder, number)
        project = opened(folder)
        finish_models(project, folder)
        figures["nothing_done"] = measured("nothing done", folder, started)
        finish_models(project, folder)
        finish_many(project, list(project.characters), folder)
        figures["first_look"] = measured("all done, first look", folder, nothing_due)
        figures["all_done"] = measured("all done", folder, nothing_due)
        change_one(folder, number // 2)
        figures["one_changed"] = measured("one changed", folder, started)
        figures["one_changed"]["jobs"] = jobs_of_one(folder)
        figures["status"] = measured("status and page", folder, over, "status")
        figures["page_mb"] = round((folder / "results" / "status.html").stat().st_size / 1e6, 2)
    print(json.dumps(figures))


def measured(label: str, folder: Path, ended: Callable[[Path, Path], bool], command: str = "run") -> dict[str, float]:
    """Wall and CPU seconds and peak memory until `ended(folder, output)`."""
    log, output = folder / "work" / "logs" / "run.log", folder / "output"
    log.unlink(missing_ok=True)
    words = [sys.executable, "-m", "charaloom", command, *(["--", *SIMULATED] if command == "run" else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLUGINS), str(ROOT / "scripts")])}
    started_at = time.perf_counter()
    with output.open("w") as out:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
        while not ended(folder, output):
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(PAUSE)
        seconds, cpu = time.perf_counter() - started_at, 0.0 if pid else cpu_seconds(process.pid)
        if not pid and ended is started:
            process.send_signal(signal.SIGTERM)
        if not pid:
            _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not (ended(folder, output) or (ended is over and status == 0)):
        sys.exit(output.read_text())
    figures = {
        "seconds": round(seconds, 1),
        "cpu": round(cpu or usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }
    print(
        f"{label:<22}{figures['seconds']:>7.1f} s ({figures['cpu']:.1f} of CPU){figures['peak_mb']:>7} MB", flush=True
    )
    return figures


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process, of its children so far, and of those that have ended."""
    own = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:15]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, own)) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds, map(int, children)))


def started(folder: Path, output: Path) -> bool:
    """Whether a job has started."""
    log = folder / "work" / "logs" / "run.log"
    return log.is_file() and "    jobid: " in log.read_text()


def nothing_due(folder: Path, output: Path) -> bool:
    return NOTHING in output.read_text()


def over(folder: Path, output: Path) -> bool:
    return False  # when the command ends


def jobs_of_one(folder: Path) -> int:
    """Jobs that the last run announced."""
    announced = (line for line in (folder / "output").read_text().splitlines() if " job" in line[:12])
    return int(next(announced).split(" job", 1)[0])


if __name__ == "__main__":
    main()
