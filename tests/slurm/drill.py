"""make drill-slurm: the demo on a real SLURM of three nodes and on this machine alone, compared byte by byte.

    make drill-slurm ARGS="--characters 4 --posts 60 --steps 20"

Training and previews are cut short: the comparison is whether a cluster changes a bit, not how good the models are.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import canonical_json, write_text
from charaloom.config.schemas import CODE
from charaloom.demo.commands.verify import PUBLISHED, digests, equality_table
from charaloom.demo.commands.world import CONFIGS
from charaloom.demo.world.building import build_world
from charaloom.demo.world.serving import board
from tests.slurm.cluster import Cluster, cluster, free_ports
from tests.slurm.project import Project, write_profile

SECONDS = 4 * 3600.0  # for one of the two builds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=20)
    parser.add_argument("--posts", type=int, default=60, help="per character")
    parser.add_argument("--steps", type=int, default=20, help="of training")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    port = free_ports(1)[0]
    root_url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="charaloom-drill-") as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        build_world(root / "world", options.seed, options.characters, options.posts)
        laptop, nodes = (place(root / name, root / "world", root_url, options.steps) for name in ("laptop", "nodes"))
        seconds = {}
        with board(root / "world", port):
            seconds["laptop"] = build(laptop, None, "--profile", "demo", "--cores", "2")
            with cluster(root / "slurm") as slurm:
                seconds["cluster"] = build(nodes, slurm, "--profile", str(nodes / "profile"))
        first, second = digests(laptop), digests(nodes)
    names = sorted({*first, *second})
    different = [name for name in names if first.get(name) != second.get(name)]
    print(equality_table(names, set(different)))
    for name in different[:50]:
        print(f"different: {name}")
    figures = {"files": len(names), "equal": len(names) - len(different), "characters": options.characters, **seconds}
    print(json.dumps(figures))
    return 1 if different or not names else 0


def place(folder: Path, world: Path, root_url: str, steps: int) -> Path:
    """A working directory with the demo's models, its roster and a config of little training and few previews."""
    folder.mkdir()
    (folder / "resources").symlink_to(CODE / "resources")
    write_text(folder / "characters.tsv", (world / "characters.tsv").read_text())
    own: dict[str, Any] = {
        "paths": {"results": "results", "work": "work"},
        "roster": "characters.tsv",
        "boards": {"demo": {"root": root_url}},
        "published": {"targets": {"folder": {"path": PUBLISHED}}},
        "training": {"steps": steps, "save_every": steps},
        "previews": {"bases": ["charaloom-demo"], "steps": 4, "scenes": 1},
    }
    write_text(folder / "drill.yaml", canonical_json(own))
    resources = {"slurm_partition": "gpu", "mem_mb": 3000, "runtime": 30}
    write_profile(
        folder / "profile",
        **{
            "slurm-shards-sizes": "checkpoints=2, filtered=4, curation=4, tagged=4, clustered=4, outfits=4, dataset=4",
            "set-resources": {"checkpoints": resources, "previews": resources},
            "resources": {"board_demo": 1},
        },
    )
    return folder


def build(folder: Path, slurm: Cluster | None, *arguments: str) -> float:
    """Run `charaloom run` there to its end; seconds."""
    started = time.monotonic()
    overlays = ["--configfile", *(str(CODE / path) for path in CONFIGS), "drill.yaml"]
    run = Project(folder, slurm).charaloom("run", *overlays, *arguments)
    if run.wait(SECONDS):
        sys.exit(run.said)
    print(f"built in {folder.name}: {run.said.splitlines()[-1]}", flush=True)
    return round(time.monotonic() - started, 1)


if __name__ == "__main__":
    sys.exit(main())
