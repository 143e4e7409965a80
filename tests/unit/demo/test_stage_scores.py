"""The scores of a small world whose truth is written by hand."""

import json
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import write_json
from charaloom.artifacts.tables import CLUSTERED, FILTERED, RAW, write_table
from charaloom.demo.scores import stages as scoring

POSTS: dict[str, Any] = {
    "1": {"keep_for": ["hana"], "faults": [], "worn": "kimono"},
    "2": {"keep_for": ["hana"], "faults": [], "worn": "dress"},
    "3": {"faults": ["reencoded_duplicate"], "duplicate_of": 1, "worn": "kimono"},
    "4": {"faults": ["other_character"], "who": "mei"},
    "5": {"faults": ["several_people"], "either_for": ["hana", "mei"], "worn": "dress"},
    "6": {"faults": ["monochrome"], "worn": "dress"},
}
KEPT = {"1", "3", "4", "5"}


def truth() -> dict[str, Any]:
    posts = {}
    for name, fact in POSTS.items():
        person = {"character": fact.get("who", "hana"), "outfit": fact.get("worn"), "box": [0, 0, 10, 10]}
        people = [person, {"character": "mei", "outfit": "suit", "box": [50, 0, 60, 10]}] if name == "5" else [person]
        posts[name] = {"keep_for": [], "either_for": [], "duplicate_of": None, **fact, "people": people}
    return {"seed": 9, "posts": posts, "characters": {}}


def make_results(folder: Path, keeping: set[str] = KEPT) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    raw = [{"picture": f"p{name}", "posts": [{"site": "demo", "post_id": name}]} for name in POSTS]
    write_table(folder / "raw.parquet", raw, RAW, "picture")
    box = {"x0": 0, "y0": 0, "x1": 10, "y1": 10, "kind": "picture"}
    views = [
        {"view": f"p{name}/picture/0", "picture": f"p{name}", "verdict": "keep" if name in keeping else "drop", **box}
        for name in POSTS
    ]
    write_table(folder / "filtered.parquet", views, FILTERED, "view")
    outfits = [
        {"view": f"p{name}/picture/0", "picture": f"p{name}", "outfit": "a" if name == "1" else None}
        for name in keeping
    ]
    write_table(folder / "clustered.parquet", outfits, CLUSTERED, "view")
    write_json(folder / "outfits.json", {"outfits": [{"id": "a", "trained": True}, {"id": "b", "trained": False}]})
    numbers = {"checkpoint": "step-000100", "recognised": 1, "asked": 2}
    per_base = [
        {"base": "other", "with_lora": {"recognised": 2, "asked": 2}, "without_lora": None},
        {"base": "tiny", "with_lora": numbers, "without_lora": {"recognised": 0, "asked": 2}},
    ]
    chosen = {"base": "tiny", "chosen": "step-000100", "checkpoints": [numbers], "per_base": per_base}
    write_json(folder / "selection.json", chosen)


def test_scores_of_a_small_world(tmp_path: Path) -> None:
    make_results(tmp_path / "hana")
    write_json(tmp_path / "truth.json", truth())
    scores = scoring.scored(tmp_path, tmp_path / "truth.json", ["hana"])
    # Right: drawing 1. Wrong: its copy 3, kept as well, and 4. Missed: 2. Picture 5 shows the character: not counted.
    assert scores["seed"] == 9
    assert scores["filter"]["precision"] == round(1 / 3, 4)
    assert scores["filter"]["recall"] == 0.5
    assert scores["filter"]["by_fault"] == {
        "monochrome": {"total": 1, "found": 1},
        "other_character": {"total": 1, "found": 0},
        "reencoded_duplicate": {"total": 1, "found": 0},
        "several_people": {"total": 1, "found": 0},
    }
    assert scores["outfits"]["pictures"] == 3
    assert scores["previews"]["recognised"] == 0.5
    assert scores["previews"]["recognised_without_lora"] == 0
    assert scores["characters"]["hana"]["filter"] == scores["filter"]
    assert "0.333" in scoring.score_tables(scores)
    json.dumps(scores, allow_nan=False)


def test_the_copy_kept_instead_of_the_original_is_as_good(tmp_path: Path) -> None:
    make_results(tmp_path / "hana", keeping={"2", "3"})
    write_json(tmp_path / "truth.json", truth())
    scores = scoring.scored(tmp_path, tmp_path / "truth.json", ["hana"])
    assert scores["filter"]["precision"] == scores["filter"]["recall"] == 1
    assert scores["filter"]["by_fault"]["reencoded_duplicate"] == {"total": 1, "found": 1}


def test_a_crop_of_somebody_else_is_wrong() -> None:
    people = truth()["posts"]["5"]["people"]
    assert scoring.person_shown({"x0": 0, "y0": 0, "x1": 11, "y1": 10}, people) == "hana"
    assert scoring.person_shown({"x0": 45, "y0": 0, "x1": 62, "y1": 12}, people) == "mei"
