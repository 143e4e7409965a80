"""The figures of the filters on a world of eight posts whose verdicts are written by hand."""

from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.tables import FILTERED, RAW, write_table
from charaloom.demo.scores.filters import COLUMNS, counted, figures
from charaloom.demo.scores.stages import figures_table

POSTS = {  # post: (faults, keep_for, duplicate_of)
    "1": ([], ["hana"], None),
    "2": ([], ["hana"], None),
    "3": (["reencoded_duplicate"], [], "1"),
    "4": (["cropped_duplicate"], [], "2"),
    "5": (["other_character"], [], None),
    "6": (["cosplays_another"], [], None),
    "7": (["sensitive_rating"], [], None),
    "8": ([], ["hana"], None),
}
RIGHT = {"1": "keep", "2": "keep", "8": "keep"}


def truth() -> dict[str, Any]:
    facts = {}
    for post, (faults, keep_for, of) in POSTS.items():
        facts[post] = {"faults": faults, "keep_for": keep_for, "either_for": [], "duplicate_of": of, "people": []}
    return {"posts": facts}


def write(folder: Path, kept: dict[str, str], groups: dict[str, str] | None = None) -> Path:
    """`groups` gives the best of the duplicate group that a post's picture stands in."""
    raw, filtered = [], []
    for post in POSTS:
        picture = post * 64
        posts = [{"site": "demo", "post_id": post}]
        raw.append({"picture": picture, "bytes": b"", "size": 1, "format": "PNG", "problem": None, "posts": posts})
        row = dict.fromkeys(FILTERED.names) | {"view": f"{picture}/picture/0", "picture": picture, "kind": "picture"}
        group = (groups or {}).get(post, post) * 64
        row |= {"x0": 0, "y0": 0, "x1": 9, "y1": 9, "duplicate_group": f"{group}/picture/0"}
        filtered.append(row | {"verdict": kept.get(post, "drop")})
    write_table(folder / "raw.parquet", raw, RAW, "picture")
    write_table(folder / "filtered.parquet", filtered, FILTERED, "view")
    return folder


def test_everything_right(tmp_path: Path) -> None:
    line = figures("x", counted(write(tmp_path, RIGHT, {"3": "1", "4": "2"}), "hana", truth()))
    assert line == {
        **{"": "x", "precision": 1.0, "recall": 1.0, "reencoded": 1.0, "crops": 1.0, "false merges": 0.0},
        **{"others": 1.0, "cosplay": 1.0, "cosplay handled": None, "above rating": 0, "orders": None},
    }


def test_everything_wrong(tmp_path: Path) -> None:
    kept = dict.fromkeys(["1", "2", "3", "4", "5", "6", "7"], "keep")
    line = figures("x", counted(write(tmp_path, kept, {"8": "1"}), "hana", truth()))
    assert line["recall"] == pytest.approx(2 / 3, abs=1e-3)
    assert line["precision"] == pytest.approx(2 / 7, abs=1e-3)
    assert (line["reencoded"], line["crops"], line["others"], line["cosplay"]) == (0, 0, 0, 0)
    assert line["above rating"] == 1
    assert line["false merges"] == pytest.approx(2 / 6, abs=1e-3)  # 1 and 8, of the six that are no copies


def test_worlds_add_up_and_print(tmp_path: Path) -> None:
    first = counted(write(tmp_path, RIGHT), "hana", truth())
    both = first + first
    assert (both.alone, both.counts.right) == (2 * first.alone, 2 * first.counts.right)
    printed = figures_table([figures("seed 1", both)], COLUMNS)
    assert "false merges" in printed
    assert "seed 1" in printed
