"""Kill a crawl at many points, and disturb crawls at random: nothing is fetched twice, nothing is lost.

    make drill-crawl [ARGS="--kills 50 --seeds 20 --pictures 1000"]

To reach (issue 17, N15 of the faults): after 50 kills -9 no finished file was fetched twice and `raw.parquet` has the
bytes of an undisturbed crawl; of 1,000 pictures at 5 % random faults none is missing, for 20 seeds. Exits with 1 else.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from charaloom.demo.world.board import Board, serve  # noqa: E402
from tests.benchmarks.crawl import write_world  # noqa: E402
from tests.servers.scripted import scripted  # noqa: E402
from tests.servers.small_world import TAG, drawn  # noqa: E402
from tests.unit.sources.test_faults import faulty, fetch, post  # noqa: E402

RUN = "import json, sys; from charaloom.config.params import Raw; from charaloom.sources.raw import build_raw; "
RUN += "from charaloom.sources.kinds import Machine; from pathlib import Path; "
RUN += "build_raw('hana', Raw.of(json.loads(sys.argv[1])), *sys.argv[2:-1], Machine(Path(sys.argv[-1])))"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="charaloom-drill-") as scratch:
        whole = killed(Path(scratch), arguments.kills) if arguments.kills else True
        same = [disturbed(Path(scratch), seed, arguments.pictures) for seed in range(arguments.seeds)]
    print(f"random faults: {sum(same)} of {len(same)} seeds end with the same {arguments.pictures} pictures")
    return 0 if whole and all(same) else 1


def killed(folder: Path, kills: int) -> bool:
    """Kill one crawl again and again, every time after some more requests than the last."""
    write_world(folder / "world", 8 * kills + 40)
    with serve(folder / "world") as board:
        start(board, folder / "control").wait()
        chosen, twice = random.Random(1), 0
        for _ in range(kills):
            before, finished = len(board.requests), names(folder)
            process = start(board, folder / "killed")
            more = chosen.randrange(4, 16)
            while len(board.requests) < before + more and process.poll() is None:
                time.sleep(0.002)
            time.sleep(chosen.random() / 50)
            process.send_signal(signal.SIGKILL)
            process.wait()
            twice += len(finished & fetched(board, before))
        before, finished = len(board.requests), names(folder)
        start(board, folder / "killed").wait()
        twice += len(finished & fetched(board, before))
    tables = [(folder / name / "raw.parquet").read_bytes() for name in ("control", "killed")]
    outcome = "the same bytes" if tables[0] == tables[1] else "OTHER BYTES"
    print(f"{kills} kills: {twice} finished files fetched twice, {outcome} in raw.parquet", flush=True)
    return twice == 0 and tables[0] == tables[1]


def start(board: Board, folder: Path) -> subprocess.Popen[bytes]:
    source = {
        "kind": "board",
        "name": "demo",
        "dialect": "danbooru",
        "root": board.root,
        "seconds_between_requests": 0.01,
    }
    params = {
        "sources": [{**source, "query": TAG}], "age": "adult", "version": 1, "limit": 10**4, "minimum": 1,
        "ratings": ["general"], "maximum_pixels": 10**8, "maximum_bytes": 2**26,
    }  # fmt: skip
    places = [str(folder / name) for name in ("raw.parquet", "raw.pictures.json", "raw.manifest.json", "work")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-c", RUN, json.dumps(params), *places]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def names(folder: Path) -> set[str]:
    """Post ids of the files that are finished."""
    return {path.stem for path in (folder / "killed").glob("work/hana/*/files/*")}


def fetched(board: Board, since: int) -> set[str]:
    by_path = {item["file_url"]: str(item["id"]) for item in board.posts}
    return {by_path[entry.path] for entry in board.requests[since:] if entry.method == "GET" and entry.path in by_path}


def disturbed(folder: Path, seed: int, number: int) -> bool:
    chosen = random.Random(seed)
    pictures = {name: drawn(name) for name in range(number)}
    with scripted({f"/{name}": faulty(data, chosen) for name, data in pictures.items()}) as board:
        result = fetch(board, [post(board, name, data) for name, data in pictures.items()], folder / f"seed{seed}")
    missing = sum(result[str(name)] != data for name, data in pictures.items())
    print(f"seed {seed}: {missing} of {number} pictures missing", flush=True)
    return missing == 0


if __name__ == "__main__":
    sys.exit(main())
