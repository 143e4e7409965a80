"""make bench-simulate: Snakemake's share of the wall time of 1,000 characters on a cluster; the goal is 0.5 %.

Snakemake is real: it runs what `charaloom run` asks for, slice by slice, for characters that have nothing yet, on the
real Snakefile, with an executor that finishes all jobs at once, so that only its own work is measured (in CPU time, so
that a busy machine does not matter). The cluster is simulated: the stages take their times for a thousand pictures each
(stage_times_cluster.json), one after another, in shards and chains as the profile cuts them, on a number of GPUs and
cores, with one crawler per board. Each shard also pays for its own Snakemake: its start and what it does for its jobs,
measured with the jobs of a shard; each chain for the look that notices its end. Beside it the output has the shares
without crawling, and with the stage times of the demo (stage_times_demo.json), where the goal is 2 %.
Benchmark files of your own run: ARGS="--benchmarks work/benchmarks".
"""

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from plan import ROOT, make_roster, name_of

from charaloom.cli.progress import measured_seconds
from charaloom.cli.slices import SLICE_ON_CLUSTER
from charaloom.cli.snakemake import Snakemake
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
        names = [name_of(number) for number in range(options.characters)]
        controller = cpu_seconds(folder, "work/models.manifest.json")
        for first in range(0, len(names), SLICE_ON_CLUSTER):
            controller += build(folder, names[first : first + SLICE_ON_CLUSTER], STAGES)
        starts = {}  # what the Snakemake inside a shard costs beside the work of its jobs
        for stages in chains():
            starts[stages] = build(folder, names[: shard_size(stages)], stages) if stages[0] not in LOCAL else 0.0
    cost = Cost(starts, controller)
    demo = simulated(stage_times("demo", None), cost, options)
    times = stage_times("cluster", options.benchmarks) | own
    figures = simulated(times, cost, options, shown=True)
    fetched = simulated(times | {"raw": 0.0}, cost, options)  # as if every picture had been fetched
    figures |= {"share_without_crawling": fetched["share"], "share_of_demo": demo["share"]}
    figures |= {"start_seconds": max(starts.values()), "characters": options.characters}
    print(json.dumps(figures))


@dataclass(frozen=True)
class Cost:
    """CPU seconds of Snakemake: in each shard of a chain of stages, and in the controller."""

    starts: dict[tuple[str, ...], float]
    controller: float


def simulated(
    times: dict[str, float], cost: Cost, options: argparse.Namespace, shown: bool = False
) -> dict[str, float]:
    """Wall seconds of the stages and of Snakemake, one chain of stages after another."""
    rows = []
    for stages in chains():
        jobs = 1 if stages == ("models",) else options.characters
        slots = 1 if stages[0] in LOCAL else options.gpus if stages[0] in ON_GPU else options.cores
        seconds = sum(times[stage] for stage in stages)
        work = makespan(jobs, seconds, shard_size(stages), slots)
        with_starts = makespan(jobs, seconds, shard_size(stages), slots, cost.starts[stages])
        rows.append(("+".join(stages), work, with_starts - work, 0.0 if stages[0] in LOCAL else LOOK))
    if shown:
        print(f"{'work':>10}{'starts':>10}{'looks':>10}   seconds")
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
    return {stage: (measured_seconds(folder, stage) if folder else None) or seconds[stage] for stage in PASSES}


def profile(setting: str) -> list[str]:
    settings = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.v9+.yaml").read_text())
    return str(settings[setting]).replace(",", " ").split()


def chains() -> list[tuple[str, ...]]:
    """All stages in order; those that run in one SLURM job together."""
    chained = {chain[0]: chain for chain in (tuple(text.split("+")) for text in profile("slurm-shards-chains"))}
    later = {stage for chain in chained.values() for stage in chain[1:]}
    return [chained.get(stage, (stage,)) for stage in PASSES if stage not in later]


def shard_size(stages: tuple[str, ...]) -> int:
    sizes = dict(text.split("=") for text in profile("slurm-shards-sizes"))
    return int(sizes.get(stages[0], 1))


def makespan(jobs: int, seconds: float, size: int, slots: int, start: float = 0.0) -> float:
    """Seconds until the last job ends: `size` jobs in turn in a SLURM job, which starts in `start`, `slots` at once."""
    shards = [min(size, jobs - first) for first in range(0, jobs, size)]
    free = [0.0] * slots
    for members in shards:
        heapq.heapreplace(free, free[0] + start + members * seconds)
    return max(free)


def build(folder: Path, names: list[str], stages: Iterable[str]) -> float:
    """CPU seconds of building these stages of these characters, as `charaloom run` and the shards ask for them."""
    files = {stage: f"{stage}.manifest.json" for stage in stages} | {"published": "published/folder.json"}
    targets = [f"results/{name}/{files[stage]}" for name in names for stage in stages]
    return cpu_seconds(folder, *targets, "--force", "--allowed-rules", *stages)


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
