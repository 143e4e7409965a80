"""make bench-plan: planning 1,000 characters; the goals are 20 s, nothing or everything done, and 1 GB.

It is what plain `snakemake` waits for; what `charaloom run` waits for is another matter: make bench-scale.

The real Snakefile plans. Snakemake's own --touch finishes one character; their files and Snakemake's records are then
copied for the others under their names, and an empty plan proves the copies right.
"""

import argparse
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

FIRST = "c00000"
STATS_ROW = re.compile(r"^(?P<rule>[a-z][a-z0-9_]*) +(?P<count>\d+)$")
HEADER = "character\tsource\tquery\ttrigger\tage"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=1000)
    number = parser.parse_args().characters
    with tempfile.TemporaryDirectory(prefix="charaloom-bench-") as scratch:
        folder = Path(scratch)
        make_roster(folder, number)
        nothing = plan(folder)
        finish(folder, number)
        everything = plan(folder)
        change_one(folder, number // 2)
        changed = plan(folder)
    stages = len(nothing["jobs"]) - 1  # and the models, once
    assert sum(nothing["jobs"].values()) == stages * number + 1, nothing["jobs"]
    assert everything["jobs"] == {}, everything["jobs"]
    assert set(changed["jobs"].values()) == {1}, changed["jobs"]
    for label, planned in (("nothing done", nothing), ("everything done", everything), ("one changed", changed)):
        jobs, cpu = sum(planned["jobs"].values()), planned["cpu"]
        print(f"{label:<16}{planned['seconds']:>7.1f} s ({cpu:.1f} of CPU){planned['peak_mb']:>7} MB{jobs:>8} jobs")
    figures = {
        "seconds": max(nothing["seconds"], everything["seconds"]),
        "peak_mb": max(planned["peak_mb"] for planned in (nothing, everything, changed)),
        "nothing_done": nothing["seconds"],
        "everything_done": everything["seconds"],
        "one_changed": changed["seconds"],
        "cpu_seconds": max(nothing["cpu"], everything["cpu"]),
        "characters": number,
        "jobs": sum(nothing["jobs"].values()),
    }
    print(json.dumps(figures))


# --- a project of many characters


def name_of(number: int) -> str:
    return f"c{number:05}"


def make_roster(folder: Path, number: int) -> None:
    """Characters of a board; a base model whose weights are zeros."""
    (folder / "config").mkdir()
    from tests.small_bases import write_base

    write_base(folder / "base")
    rows = [f"{name_of(k)}\tdanbooru\t{name_of(k)}_(series)\t{name_of(k)}_charaloom\tadult" for k in range(number)]
    (folder / "config" / "characters.tsv").write_text("\n".join([HEADER, *rows]) + "\n")
    config = {
        "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
        "training": {"base": "tiny"},
        "previews": {"bases": ["tiny"]},
    }
    (folder / "config" / "config.yaml").write_text(json.dumps(config))


def finish(folder: Path, number: int) -> None:
    """Every output of every character, recorded as made."""
    roster = folder / "config" / "characters.tsv"
    everybody = roster.read_text()
    roster.write_text("\n".join(everybody.splitlines()[:2]) + "\n")
    summary = snakemake(folder, "--summary")
    outputs = [line.split("\t")[0] for line in summary.splitlines() if line.startswith(("results/", "work/"))]
    for output in outputs:
        write(folder / output, b"made\n")
    snakemake(folder, "--touch", "--forceall")
    for k in range(1, number):
        copy_character(folder, [output for output in outputs if FIRST in output], name_of(k))
    roster.write_text(everybody)


def copy_character(folder: Path, outputs: list[str], name: str) -> None:
    """Copy the first character under another name: files, times and Snakemake's records."""
    records = folder / ".snakemake" / "metadata"
    for output in outputs:
        copy = output.replace(FIRST, name)
        write(folder / copy, b"made\n")
        times = (folder / output).stat()
        os.utime(folder / copy, ns=(times.st_atime_ns, times.st_mtime_ns))
        record = (records / base64.b64encode(output.encode()).decode()).read_text()
        write(records / base64.b64encode(copy.encode()).decode(), record.replace(FIRST, name).encode())


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def change_one(folder: Path, number: int) -> None:
    own = folder / "config" / "characters" / f"{name_of(number)}.yaml"
    write(own, b"raw: {limit: 900}\n")


# --- planning


def snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    result = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
    return result.stdout


def plan(folder: Path) -> dict:
    """Jobs by rule, wall seconds and peak memory of one dry run."""
    from charaloom.cli.snakemake import Snakemake

    command = Snakemake(folder=folder).command((), "--dry-run", "--quiet", "rules")
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        output.seek(0)
        text = output.read()
    if status:
        sys.exit(text)
    jobs, cpu = jobs_in(text.splitlines()), round(usage.ru_utime + usage.ru_stime, 1)
    return {"jobs": jobs, "seconds": round(seconds, 1), "cpu": cpu, "peak_mb": round(usage.ru_maxrss / 1024)}


def jobs_in(lines: Iterable[str]) -> dict[str, int]:
    """Jobs by rule from a dry run's table; empty where there is nothing to be done."""
    matches = filter(None, map(STATS_ROW.match, lines))
    return {row["rule"]: int(row["count"]) for row in matches if row["rule"] not in ("all", "total")}


if __name__ == "__main__":
    main()
