"""Tagged views of a character with three outfits: clothes with gaps and errors, whose truth is known."""

import random
from typing import Any

OUTFITS = {
    "red_kimono": ["red_kimono", "sash", "wide_sleeves"],
    "blue_serafuku": ["blue_skirt", "serafuku", "sailor_collar", "neckerchief"],
    "black_robe": ["black_robe", "capelet", "witch_hat"],
}
REST = ["smile", "upper_body", "outdoors", "full_body", "open_mouth", "standing", "looking_at_viewer", "night"]


def drawn(rng: random.Random, index: int, outfit: str | None) -> dict[str, Any]:
    """A tagged view: clothes with gaps and errors, scene tags that have nothing to do with the outfit."""
    worn = [tag for tag in OUTFITS.get(outfit or "", []) if rng.random() < 0.85]
    wrong = [rng.choice(["belt", "boots", "necktie", "apron", "white_dress"])] if rng.random() < 0.25 else []
    names = ["1girl", "solo", *worn, *wrong, *rng.sample(REST, 3)]
    tags = [{"name": name, "score": round(rng.uniform(0.4, 1), 4), "origin": "tagger"} for name in dict.fromkeys(names)]
    view = {"view": f"{index:064x}/picture/0", "picture": f"{index:064x}", "kind": "picture", "person": None}
    box = {"x0": 0, "y0": 0, "x1": 512, "y1": 512}
    return {
        **view,
        **box,
        "split": "held_out" if index % 6 == 0 else "train",
        "tags": tags,
        "dropped": [],
        "variants": [],
    }


def world(seed: int, number: int = 60) -> tuple[list[dict[str, Any]], list[str]]:
    rng = random.Random(seed)
    truth = [rng.choices(list(OUTFITS), (5, 3, 2))[0] for _ in range(number)]
    return [drawn(rng, index, outfit) for index, outfit in enumerate(truth)], truth
