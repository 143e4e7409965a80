"""make bench-measure: pictures per second of measuring, against imgutils' functions called one by one.

Both measure the same files with the same models on 2 cores: detectors, classifiers, CCIP and tagger of the picture and
of each person, sharpness of every view. Ours skips CCIP and tagger for a person who is alone in a picture. The goal is
5 times as fast with the demo's small models, and 1.5 times (ARGS=--real-size) with graphs of random weights that cost
what the real models cost. Each side is a process of its own; its first picture, which opens the models, is not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]
SIZES = ((1200, 1700), (1400, 1000), (900, 1300), (1600, 2000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--real-size", action="store_true")
    parser.add_argument("--side", choices=("ours", "theirs"), help="one side of it (the child process)")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        measure = ours if options.side == "ours" else theirs
        print(json.dumps(measure(options.folder, options.threads)))
        return
    with tempfile.TemporaryDirectory(prefix="charaloom-bench-") as scratch:
        prepare(Path(scratch), options.pictures, options.real_size)
        figures = {side: run(side, scratch, options.threads) for side in ("theirs", "ours")}
    ratio = figures["ours"]["pictures_per_second"] / figures["theirs"]["pictures_per_second"]
    print(json.dumps({**figures, "ratio": round(ratio, 2)}))


def run(side: str, scratch: str, threads: int) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, "--side", side, "--folder", scratch, "--threads", str(threads)]
    hub = {"HF_HOME": f"{scratch}/hub", "HF_HUB_CACHE": f"{scratch}/hub/hub", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **hub})
    return json.loads(result.stdout.splitlines()[-1])


def prepare(folder: Path, number: int, real_size: bool) -> None:
    """Pictures of one and of several people, as JPEG and PNG, and a filled hub cache."""
    from charaloom.config.named_files import read_lock
    from charaloom.config.params import Models
    from charaloom.demo.world import cast
    from charaloom.demo.world.drawing import draw_group
    from charaloom.vision.models import fetch_models

    rng = Random(5)
    people = [cast.draw_character(rng, f"somebody{k}", outfits=1) for k in range(4)]
    (folder / "pictures").mkdir()
    for k in range(number + 1):
        company = [(p, p.outfits[0], cast.draw_staging(rng)) for p in rng.sample(people, 2 if k % 6 == 5 else 1)]
        picture, _ = draw_group(company, rng.choice(cast.BACKGROUNDS), "cel", SIZES[k % len(SIZES)], rng)
        name = folder / "pictures" / f"{k:03d}.{'png' if k % 3 == 2 else 'jpg'}"
        picture.convert("RGB").save(name, **({} if k % 3 == 2 else {"quality": 93}))
    source, lock = ROOT / "resources/demo/models", read_lock("resources/demo/models.yaml")
    if real_size:
        from tests.benchmarks.heavy import write_heavy

        source, lock = folder / "source", write_heavy(lock, source, folder / "source")
    fetch_models(Models(lock=lock, hub=str(source)), folder / "hub", folder / "models.manifest.json")


def ours(folder: Path, threads: int) -> dict[str, float]:
    from charaloom.vision.measured import Measurer, in_order

    measurer = Measurer(folder / "cache", folder / "hub")
    rows = [
        {"picture": path.name, "bytes": path.read_bytes(), "problem": None}
        for path in sorted((folder / "pictures").iterdir())
    ]
    list(in_order(measurer, rows[:1], threads))
    return rate(lambda: sum(len(views) for views, _ in in_order(measurer, rows[1:], threads)), len(rows) - 1)


def theirs(folder: Path, threads: int) -> dict[str, float]:
    """imgutils as it comes: a path goes in, each function decodes and resizes it, its sessions take all cores."""
    from imgutils.data import load_image
    from imgutils.detect import detect_faces, detect_halfbody, detect_heads, detect_person
    from imgutils.metrics import anime_dbaesthetic, ccip_extract_feature, laplacian_score
    from imgutils.tagging import get_wd14_tags
    from imgutils.validate import (
        anime_classify_score,
        anime_rating_score,
        get_ai_created_score,
        get_monochrome_score,
    )

    def identity_and_tags(image: Any) -> None:
        ccip_extract_feature(image)
        get_wd14_tags(image, general_threshold=0.05, fmt=("rating", "general", "embedding"))

    def measure(path: str) -> int:
        boxes = [box for box, _, _ in detect_person(path)]
        parts = [box for detect in (detect_halfbody, detect_heads) for box, _, _ in detect(path)]
        detect_faces(path)
        for score in (anime_classify_score, anime_rating_score, get_ai_created_score, get_monochrome_score):
            score(path)
        anime_dbaesthetic(path)
        identity_and_tags(path)
        laplacian_score(path)
        image = load_image(path, mode="RGB")
        for box in boxes:
            identity_and_tags(image.crop(box))
        for box in [*boxes, *parts]:
            laplacian_score(image.crop(box))
        return 1 + len(boxes) + len(parts)

    paths = sorted(str(path) for path in (folder / "pictures").iterdir())
    measure(paths[0])
    return rate(lambda: sum(measure(path) for path in paths[1:]), len(paths) - 1)


def rate(work: Any, pictures: int) -> dict[str, float]:
    started = time.perf_counter()
    views = work()
    seconds = time.perf_counter() - started
    return {"pictures_per_second": round(pictures / seconds, 3), "views": views, "seconds": round(seconds, 2)}


if __name__ == "__main__":
    main()
