"""Crawl 10,000 posts from a fast loopback board, with the limit lifted: pictures a second, memory, requests.

    make bench-crawl [ARGS="--posts 2000"]

To reach (issue 17): at least 100 pictures/s, at most 500 MB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "scripts")]

from charaloom.config.params import Raw  # noqa: E402
from charaloom.demo.world.serving import board  # noqa: E402
from charaloom.sources.kinds import Machine  # noqa: E402
from charaloom.sources.raw import build_raw  # noqa: E402
from tests.servers.small_world import TAG, described, drawn  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--crawl", nargs=2, metavar=("FOLDER", "ROOT"), help="(of the benchmark itself)")
    arguments = parser.parse_args()
    if arguments.crawl:
        crawl(Path(arguments.crawl[0]), arguments.crawl[1], arguments.posts)
        return
    with tempfile.TemporaryDirectory(prefix="charaloom-crawl-") as scratch:
        folder = Path(scratch)
        write_world(folder / "world", arguments.posts)
        with board(folder / "world") as root:
            again = ["--posts", str(arguments.posts), "--crawl", scratch, root]
            subprocess.run([sys.executable, __file__, *again], check=True)


def write_world(folder: Path, number: int) -> None:
    (folder / "data").mkdir(parents=True)
    with (folder / "posts.jsonl").open("w", encoding="utf-8") as lines:
        for post_id in range(1000, 1000 + number):
            data = drawn(post_id)
            post = described(post_id, data, "png")
            (folder / post["file_url"].lstrip("/")).write_bytes(data)
            lines.write(json.dumps(post) + "\n")


def crawl(folder: Path, root: str, number: int) -> None:
    source = {"kind": "board", "name": "demo", "dialect": "danbooru", "root": root, "seconds_between_requests": 0.0}
    params = {
        "sources": [{**source, "query": TAG}], "age": "adult", "version": 1, "limit": number, "minimum": number,
        "ratings": ["general"], "maximum_pixels": 10**8, "maximum_bytes": 2**26,
    }  # fmt: skip
    for name in ("first", "second"):
        began = time.monotonic()
        table, facet, manifest = (folder / f"raw.{end}" for end in ("parquet", "pictures.json", "manifest.json"))
        build_raw("hana", Raw.of(params), table, facet, manifest, Machine(folder / "work"))
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name} run: {seconds:.1f} s, {number / seconds:.0f} pictures/s, peak {peak:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
