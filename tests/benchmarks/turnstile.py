"""Run a trainer with a turnstile behind its optimizer: it runs as many steps as it is ordered and reports their times.

`python turnstile.py ORDERS REPORTS WHAT ARGUMENTS...`: ORDERS and REPORTS are file descriptors, WHAT is a module or a
.py file that is run as the main program. Every trainer is timed in the same way, between two ends of `Optimizer.step`,
and several trainers can wait, loaded, while one of them runs. No trainer's code is changed.
"""

import json
import os
import resource
import runpy
import sys
import time
from pathlib import Path
from typing import Any


class Turnstile:
    def __init__(self, orders: int, reports: int):
        self.orders, self.reports = os.fdopen(orders), os.fdopen(reports, "w")
        self.left, self.seconds, self.last, self.busy = 1, list[float](), time.perf_counter(), cpu_seconds()

    def pass_one(self, *_: Any) -> None:
        """Runs after each step; the first is reported without an order. At the end of the orders the process exits."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.left -= 1
        if not self.left:
            report = {"seconds": self.seconds, "cpu_seconds": cpu_seconds() - self.busy, "peak_mb": peak_mb()}
            self.reports.write(json.dumps(report) + "\n")
            self.reports.flush()
            self.left, self.seconds = int(self.orders.readline() or 0), []
            if not self.left:
                os._exit(0)
            self.busy = cpu_seconds()
        self.last = time.perf_counter()


def children() -> list[int]:
    """Ids of the live child processes."""
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


def cpu_seconds() -> float:
    """CPU seconds of this process and its children."""
    ticks = 0
    for pid in children():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime of proc(5)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def peak_mb() -> int:
    """Peak memory: of the GPU where there is one, else of this process, plus the private memory of its children now."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    own = 0
    for pid in children():
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        own += sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + own) / 1024)


def main() -> None:
    orders, reports, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    turnstile = Turnstile(orders, reports)
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(turnstile.pass_one)
    sys.argv[:] = sys.argv[3:]
    if what.endswith(".py"):
        sys.path[0] = os.path.dirname(what)
        runpy.run_path(what, run_name="__main__")
    else:
        sys.path.pop(0)
        runpy.run_module(what, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
