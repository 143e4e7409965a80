"""make bench-decide: time and memory of deciding about 10,000 measured pictures; the goal is 15 s and 1 GB.

The tables come from a seed: one person in three quarters of the pictures, strangers in the rest, 5 % copies, 5 %
crops, and embeddings that lie as near to each other as those of one character's pictures do. A child process decides,
so that its memory is measured alone.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

CCIP, TAGS = 768, 1024
KINDS = ("picture", "person")
COPIES, CROPS, STRANGERS = 0.05, 0.05, 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--decide", type=Path, help="decide on the tables of this folder (the child process)")
    options = parser.parse_args()
    if options.decide:
        decide(options.decide)
        return
    with tempfile.TemporaryDirectory(prefix="charaloom-bench-") as scratch:
        write_tables(Path(scratch), options.pictures)
        subprocess.run([sys.executable, "-W", "ignore", __file__, "--decide", scratch], check=True)


def decide(folder: Path) -> None:
    from charaloom.artifacts.files import read_json
    from charaloom.config.layers import DEFAULTS, read_config
    from charaloom.config.params import Filtered
    from charaloom.curation.filtered import filter_views

    facts = {"seed": 1, "ratings": ["general"], "tag": "hana_(charaloom)", "version": 1}
    sizes = {"short_side": dict.fromkeys(KINDS, 512), "area": dict.fromkeys(KINDS, 0)}  # what `auto` would become
    params = Filtered.of({**read_config([DEFAULTS])["filtered"], **sizes, **facts})
    started = time.perf_counter()
    filter_views(
        character="hana",
        params=params,
        raw=folder / "raw.parquet",
        measured=folder / "measured.parquet",
        hub=folder / "hub",
        upstream=[folder / "measured.manifest.json"],
        table=folder / "filtered.parquet",
        decisions=folder / "filtered.decisions.json",
        manifest=folder / "filtered.manifest.json",
    )
    seconds = time.perf_counter() - started
    counts = read_json(folder / "filtered.manifest.json")["counts"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 1), "peak_mb": round(memory), **counts}, default=str))


def write_tables(folder: Path, number: int) -> None:
    from charaloom.artifacts.tables import MEASURED, RAW, write_stream
    from charaloom.config.params import Models
    from charaloom.vision.models import fetch_models
    from tests.standins import read_lock, write_models

    params = Models.of({"lock": read_lock(), "hub": str(write_models(folder / "source"))})
    fetch_models(params, folder / "hub", folder / "models.manifest.json")
    write_stream(folder / "raw.parquet", (raw_row(k) for k in range(number)), RAW)
    write_stream(folder / "measured.parquet", measured_rows(number), MEASURED)
    (folder / "measured.manifest.json").write_text("{}")


def raw_row(number: int) -> dict[str, Any]:
    post = dict.fromkeys(
        ("page_url", "file_url", "md5", "score", "favourites", "parent_id", "created", "source", "artists")
    )
    tags = {"tags_general": ["1girl", "solo"], "tags_copyright": [], "tags_meta": []}
    post |= {"site": "demo", "post_id": str(number), "rating": "general", **tags}
    post["tags_character"] = ["hana_(charaloom)"]
    return {"picture": f"{number:064x}", "bytes": b"", "size": 1000, "format": "PNG", "problem": None, "posts": [post]}


def measured_rows(number: int) -> Iterator[dict[str, Any]]:
    """Picture, person, half body and head of each; copies and crops repeat an earlier picture."""
    people = np.random.default_rng(1).normal(size=(20, CCIP)).astype(np.float32)
    common = np.random.default_rng(2).normal(size=TAGS).astype(np.float32)
    for k in range(number):
        rng = np.random.default_rng([3, k])
        kind = rng.random()
        of = int(rng.integers(max(k // 2, 1))) if kind < COPIES + CROPS else k
        own = np.random.default_rng([4, of])
        who = 0 if own.random() > STRANGERS else int(own.integers(1, 20))
        own_tags = common + 0.7 * own.normal(size=TAGS).astype(np.float32)
        part = COPIES <= kind < COPIES + CROPS
        facts = {
            "ccip": people[who] + own.normal(size=CCIP).astype(np.float32) * 0.1,
            "tag_embedding": own_tags + rng.normal(size=TAGS).astype(np.float32) * (0.3 if part else 0.02),
            "phash": (own if not part else rng).bytes(8).hex(),
            "tags": [{"name": f"tag_{t}", "score": 0.5} for t in own.integers(0, 2000, 30).tolist()],
        }
        yield from views(f"{k:064x}", of, part, facts)


def views(name: str, of: int, part: bool, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from charaloom.images.fingerprints import thumbnail
    from charaloom.vision.measured import unmeasured

    spots = np.random.default_rng([5, of]).integers(0, 255, (9, 12), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(spots).resize((96, 128), Image.Resampling.BICUBIC))
    small = thumbnail(grey[10:118, 8:88] if part else grey)
    empty = {**unmeasured(name, ""), "problem": None, "sharpness": 100.0, "x0": 0, "y0": 0}
    size = {"width": 960, "height": 1280, "x1": 960, "y1": 1280}
    picture = {
        **{"monochrome": 0.1, "ai": 0.1, "aesthetic": 0.5, "generated": False, "persons": 1, "heads": 1, "faces": 1},
        "classes": [{"name": "illustration", "score": 1.0}],
        "rating": [{"name": "safe", "score": 1.0}],
        "thumbnail": small.tobytes(),
        "thumbnail_width": small.shape[1],
    }
    part_of = {**empty, **size, "confidence": 0.9, "person": 0}
    yield {**part_of, "view": f"{name}/halfbody/0", "kind": "halfbody", "phash": facts["phash"]}
    yield {**part_of, "view": f"{name}/head/0", "kind": "head", "phash": facts["phash"], "height": 300, "y1": 300}
    yield {**part_of, **facts, "view": f"{name}/person/0", "kind": "person"}
    yield {**empty, **size, **picture, **facts, "view": f"{name}/picture/0", "kind": "picture"}


if __name__ == "__main__":
    main()
