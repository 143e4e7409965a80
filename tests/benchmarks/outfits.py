"""make bench-outfits: time and memory of tags, clusters and captions for 5,000 kept pictures; the goal: 10 s, 1 GB.

The tables are drawn by seed: eight outfits, the first with half of the pictures, the last with 60; clothes that are
missed and mistaken, 25 other tags of 200 in each view, embeddings of 1,024 numbers. A process of its own works,
so that its memory is its own.
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

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

EMBEDDING = 1024
COLOURS = ("red", "blue", "green", "white", "black", "pink", "purple", "yellow")
GARMENTS = ("kimono", "dress", "coat", "shirt", "skirt", "hoodie", "robe", "sweater")
PIECES = ("boots", "gloves", "sash", "necktie", "belt", "scarf", "long_sleeves", "wide_sleeves", "apron", "frills")
TRAITS = ("blue_hair", "red_eyes", "twintails", "ahoge", "hairclip")
SIZES = (0.5, 0.2, 0.1, 0.07, 0.05, 0.04, 0.028, 0.012)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5_000)
    parser.add_argument("--work", type=Path, help="work on the tables of this folder (the child process)")
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    with tempfile.TemporaryDirectory(prefix="charaloom-bench-") as scratch:
        write_tables(Path(scratch), options.pictures)
        subprocess.run([sys.executable, "-W", "ignore", __file__, "--work", scratch], check=True)


def work(folder: Path) -> None:
    from charaloom.artifacts.files import read_json
    from charaloom.artifacts.tables import read_table
    from charaloom.config.layers import DEFAULTS, read_config
    from charaloom.config.params import Clustered, Tagged
    from charaloom.outfits.clustered import ClusterInputs, cluster_outfits
    from charaloom.tagging.tagged import TaggedInputs, tag_views

    config, hub = read_config([DEFAULTS]), folder / "hub"
    started = time.perf_counter()
    tag_views(
        character="hana",
        params=Tagged.of({**config["tagged"], "tag": "hana_(charaloom)", "version": 1}),
        inputs=TaggedInputs(
            raw=folder / "raw.parquet",
            measured=folder / "measured.parquet",
            filtered=folder / "filtered.parquet",
            hub=hub,
            upstream=[folder / "filtered.manifest.json"],
        ),
        table=folder / "tagged.parquet",
        core=folder / "core.json",
        manifest=folder / "tagged.manifest.json",
    )
    tagged = time.perf_counter()
    cluster_outfits(
        character="hana",
        params=Clustered.of({**config["clustered"], "seed": 1, "trigger": "hana_charaloom", "version": 1}),
        inputs=ClusterInputs(
            measured=folder / "measured.parquet",
            tagged=folder / "tagged.parquet",
            core=folder / "core.json",
            hub=hub,
            upstream=[folder / "tagged.manifest.json"],
        ),
        table=folder / "clustered.parquet",
        outfits=folder / "outfits.json",
        prompts_facet=folder / "clustered.prompts.json",
        manifest=folder / "clustered.manifest.json",
    )
    ended = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = read_json(folder / "clustered.manifest.json")["counts"]
    truth = read_json(folder / "truth.json")
    worn = {row["view"]: row["outfit"] or row["view"] for row in read_table(folder / "clustered.parquet")}
    print(f"tags {tagged - started:.1f} s, clusters and captions {ended - tagged:.1f} s, {counts['outfits']} outfits")
    figures = {"seconds": round(ended - started, 1), "peak_mb": round(memory), "ari": agreement(truth, worn), **counts}
    print(json.dumps(figures))


def agreement(truth: dict[str, int], worn: dict[str, str]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return round(float(adjusted_rand_score(list(truth.values()), [worn[view] for view in truth])), 3)


def write_tables(folder: Path, number: int) -> None:
    from charaloom.artifacts.tables import FILTERED, MEASURED, RAW, write_stream
    from tests.standins import write_vocabulary

    write_vocabulary(folder / "hub")
    rng = np.random.default_rng(1)
    worn = rng.choice(len(SIZES), number, p=SIZES)
    outfits = [
        [f"{COLOURS[k]}_{GARMENTS[k]}", GARMENTS[k], *rng.choice(PIECES, 3, replace=False).tolist()]
        for k in range(len(SIZES))
    ]
    tags = [drawn_tags(rng, outfits[k], outfits) for k in worn.tolist()]
    scores = [{name: round(float(rng.uniform(0.4, 1)), 3) for name in names} for names in tags]
    (folder / "truth.json").write_text(json.dumps({view(k): int(outfit) for k, outfit in enumerate(worn)}))
    (folder / "filtered.manifest.json").write_text("{}")
    write_stream(folder / "raw.parquet", raw_rows(rng, tags), RAW)
    write_stream(folder / "measured.parquet", measured_rows(rng, scores, worn), MEASURED)
    write_stream(folder / "filtered.parquet", filtered_rows(number), FILTERED)


def drawn_tags(rng: np.random.Generator, outfit: list[str], outfits: list[list[str]]) -> list[str]:
    """Clothes with gaps and mistakes, traits, and what a picture shows besides."""
    mistaken = outfits[rng.integers(len(outfits))][:1] if rng.random() < 0.15 else []
    clothes = [tag for tag in outfit if rng.random() < 0.8] + mistaken
    scene = [f"sky_{k}" for k in rng.choice(200, 25, replace=False)]
    return list(dict.fromkeys(["1girl", "solo", *(t for t in TRAITS if rng.random() < 0.95), *clothes, *scene]))


def view(number: int) -> str:
    return f"{number:064x}/picture/0"


def box(number: int) -> dict[str, Any]:
    place = {"x0": 0, "y0": 0, "x1": 600, "y1": 800}
    return {"view": view(number), "picture": f"{number:064x}", "kind": "picture", "person": None, **place}


def raw_rows(rng: np.random.Generator, tags: list[list[str]]) -> Iterator[dict[str, Any]]:
    keys = ("page_url", "file_url", "md5", "score", "favourites", "parent_id", "created", "source", "artists")
    for number, names in enumerate(tags):
        tagged = [name for name in names if rng.random() < 0.7]
        post = {**dict.fromkeys(keys), "site": "demo", "post_id": str(number), "rating": "general"}
        post |= {"tags_general": tagged, "tags_character": ["hana_(charaloom)"], "tags_copyright": [], "tags_meta": []}
        name = f"{number:064x}"
        yield {"picture": name, "bytes": b"", "size": 1, "format": "PNG", "problem": None, "posts": [post]}


def measured_rows(
    rng: np.random.Generator, scores: list[dict[str, float]], worn: np.ndarray
) -> Iterator[dict[str, Any]]:
    centres = rng.normal(size=(len(SIZES), EMBEDDING)).astype(np.float32)
    for number, view_scores in enumerate(scores):
        embedding = centres[worn[number]] + 2 * rng.normal(size=EMBEDDING).astype(np.float32)
        pairs = [{"name": name, "score": score} for name, score in view_scores.items()]
        yield {**box(number), "tags": pairs, "tag_embedding": embedding}


def filtered_rows(number: int) -> Iterator[dict[str, Any]]:
    for k in range(number):
        yield {**box(k), "verdict": "keep", "split": "held_out" if k % 7 == 0 else "train"}


if __name__ == "__main__":
    main()
