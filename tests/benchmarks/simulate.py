"""make bench-simulate: Snakemake's share of the wall time of 1,000 characters on a cluster; the goal is 0.5 %.

Snakemake is real: it runs the invocations of `charaloom run` over characters that have nothing yet, a slice each, on
the real Snakefile, with an executor that finishes all jobs at once, so that only its own work is measured (in CPU time,
so that a busy machine does not matter). The cluster is simulated: the stages take their times for a thousand pictures
each (stage_times_cluster.json), in shards and chains as the profile cuts them, on a number of GPUs and cores, with one
crawler per board, one stage or chain after another, although an invocation waits for nobody. Each shard also pays for
its own Snakemake: its start and what it does for its jobs, measured with the shard's jobs; each chain for the look that
notices its end. Beside it the output has the shares without crawling, and with the stage times of the demo
(stage_times_demo.json), where the goal is 2 %.
Benchmark files of your own run: ARGS="--benchmarks work/benchmarks".
"""

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import yaml
from plan import ROOT, make_roster, name_of

from charaloom.cli.due import MODELS, Due
from charaloom.cli.progress import measured_seconds
from charaloom.cli.slices import SLICE_ON_CLUSTER, Queue, targets_of
from charaloom.cli.snakemake import Snakemake
from charaloom.config.project import load_project
from charaloom.config.stages import PASSES, STAGES

TIMES = {name: Path(__file__).with_name(f"stage_times_{name}.json") for name in ("cluster", "demo")}
PLUGINS = Path(__file__).with_name("plugins")
ON_GPU = ("checkpoints", "previews")
LOCAL = ("models", "raw", "published")  # run by the controller itself; one crawler per board
LOOK = 10.0  # seconds between two looks at exit codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--benchmarks", type=Path, help="benchmark files of a real run")
    parser.add_argument("--set", nargs="+", default=[], metavar="STAGE=SECONDS", help="other times of some stages")
    options = parser.parse_args()
    own = {stage: float(seconds) for stage, seconds in (pair.split("=") for pair in options.set)}
    with tempfile.TemporaryDirectory(prefix="charaloom-bench-") as scratch:
        folder = Path(scratch)
        make_roster(folder, options.characters)
        models = cpu_seconds(folder, f"work/{MODELS}", "--force", "--allowed-rules", "models")
        slices = [cpu_seconds(folder, *words) for words in invocations(folder)]
        submitted = [stages for stages in chains() if stages[0] not in LOCAL]
        starts = {stages: start_of_shard(folder, stages, options.characters) for stages in submitted}
    cost = Cost(starts, models + sum(slices))
    demo = simulated(stage_times("demo", None), cost, options)
    times = stage_times("cluster", options.benchmarks) | own
    figures = simulated(times, cost, options, shown=True)
    fetched = simulated(times | {"raw": 0.0}, cost, options)  # as if every picture had been fetched
    figures |= {"share_without_crawling": fetched["share"], "share_of_demo": demo["share"]}
    figures |= {"start_seconds": max(starts.values()), "characters": options.characters}
    print(json.dumps(figures))


@dataclass(frozen=True)
class Cost:
    """CPU seconds of Snakemake: inside a shard of each chain of stages, and for the invocations of all slices."""

    starts: dict[tuple[str, ...], float]
    controller: float


def invocations(folder: Path) -> Iterator[list[str]]:
    """Targets and options of each slice of characters that have nothing yet, as `charaloom run` gives them."""
    with chdir(folder):
        due = Due(load_project())
        queue = Queue(due, due.project.characters)
        for names in queue.slices(SLICE_ON_CLUSTER, SLICE_ON_CLUSTER):
            targets = targets_of(due.results, {name: due.of(name) for name in names})
            yield [*targets, "--force", "--allowed-rules", *STAGES]


def start_of_shard(folder: Path, stages: tuple[str, ...], characters: int) -> float:
    """What the Snakemake inside a shard costs beside the work of its jobs. It is run for the first characters."""
    members = min(shard_sizes().get(stages[0], 1), characters)
    files = [f"results/{name_of(k)}/{stage}.manifest.json" for k in range(members) for stage in stages]
    return cpu_seconds(folder, *files, "--force", "--allowed-rules", *stages)


def simulated(
    times: dict[str, float], cost: Cost, options: argparse.Namespace, shown: bool = False
) -> dict[str, float]:
    """Wall seconds of the stages and of Snakemake, one chain of stages after another."""
    sizes = shard_sizes()
    rows = []
    for stages in chains():
        first = stages[0]
        jobs = 1 if first == "models" else options.characters
        slots = 1 if first in LOCAL else options.gpus if first in ON_GPU else options.cores
        start, look = cost.starts.get(stages, 0.0), 0.0 if first in LOCAL else LOOK
        seconds = sum(times[stage] for stage in stages)
        work = makespan(jobs, seconds, sizes.get(first, 1), slots)
        with_starts = makespan(jobs, seconds, sizes.get(first, 1), slots, start)
        rows.append(("+".join(stages), work, with_starts - work, look))
    if shown:
        print(f"{'work':>10}{'starts':>10}{'look':>10}   seconds")
        for chain, *seconds in rows:
            print("{:>10.0f}{:>10.0f}{:>10.0f}   {}".format(*seconds, chain))
    work, starts, own = (sum(row[column] for row in rows) for column in (1, 2, 3))
    own += cost.controller
    total = work + starts + own
    return {
        "share": round((starts + own) / total, 4),
        "controller_share": round(own / total, 4),
        "hours": round(total / 3600, 2),
        "controller_seconds": round(own, 1),
        "gpus": options.gpus,
        "cores": options.cores,
    }


def stage_times(name: str, folder: Path | None) -> dict[str, float]:
    """Seconds of one job of each stage."""
    seconds = json.loads(TIMES[name].read_text())["seconds"]
    return seconds | (measured_seconds(folder) if folder else {})


def profile(setting: str) -> list[str]:
    """The parts of a setting of the SLURM profile."""
    settings = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.v9+.yaml").read_text())
    return str(settings[setting]).replace(",", " ").split()


def shard_sizes() -> dict[str, int]:
    pairs = [part.split("=") for part in profile("slurm-shards-sizes")]
    return {stage: int(size) for stage, size in pairs}


def chains() -> list[tuple[str, ...]]:
    """All stages in order; those that run in one SLURM job together."""
    chained = {chain[0]: chain for chain in (tuple(part.split("+")) for part in profile("slurm-shards-chains"))}
    later = {stage for chain in chained.values() for stage in chain[1:]}
    return [chained.get(stage, (stage,)) for stage in PASSES if stage not in later]


def makespan(jobs: int, seconds: float, size: int, slots: int, start: float = 0.0) -> float:
    """Seconds until the last job ends: `size` jobs in turn in a SLURM job, which starts in `start`, `slots` at once."""
    shards = [min(size, jobs - first) for first in range(0, jobs, size)]
    free = [0.0] * slots
    for members in shards:
        heapq.heapreplace(free, free[0] + start + members * seconds)
    return max(free)


def cpu_seconds(folder: Path, *arguments: str) -> float:
    """CPU seconds of one real Snakemake with simulated jobs."""
    plain = Snakemake(
        profile=None, folder=folder, extra=["--jobs", "1000", "--executor", "simulated", "--latency-wait", "0"]
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLUGINS), str(ROOT / "scripts")])}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            plain.command(arguments), cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        if status:
            sys.exit(output.read())
    return round(usage.ru_utime + usage.ru_stime, 1)


if __name__ == "__main__":
    main()
