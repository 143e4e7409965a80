"""What became of each kind of post of a hard world, on six posts whose verdicts are written by hand."""

from pathlib import Path
from typing import Any

from charaloom.artifacts.files import write_json
from charaloom.artifacts.tables import CLUSTERED, FILTERED, RAW, write_table
from charaloom.demo.scores.kinds import counted_kinds

BOX = [0, 0, 9, 9]
POSTS: dict[str, Any] = {  # kinds, faults, who, keep_for, either_for
    "1": (["chibi"], [], "hana", ["hana"], []),
    "2": (["chibi", "back_view"], [], "hana", ["hana"], []),
    "3": (["look_alike"], ["other_character"], "mei", [], []),
    "4": (["cosplays_another"], ["cosplays_another"], "hana", [], ["hana"]),
    "5": (["cosplays_another"], ["cosplays_another"], "hana", [], ["hana"]),
    "6": (["twin"], ["several_people"], "mei", [], ["hana", "mei"]),
}


def written(folder: Path, kept: dict[str, tuple[str | None, str]]) -> dict[str, Any]:
    """The tables of posts of which `kept` have an outfit and a caption; the truth."""
    raw = [{"picture": f"p{name}", "posts": [{"site": "demo", "post_id": name}]} for name in POSTS]
    write_table(folder / "raw.parquet", raw, RAW, "picture")
    views = [
        {
            **{"view": f"p{name}/picture/0", "picture": f"p{name}", "kind": "picture"},
            **{"x0": 0, "y0": 0, "x1": 9, "y1": 9, "verdict": "keep" if name in kept else "drop"},
        }
        for name in POSTS
    ]
    write_table(folder / "filtered.parquet", views, FILTERED, "view")
    rows = [
        {"view": f"p{name}/picture/0", "picture": f"p{name}", "outfit": outfit, "caption": text}
        for name, (outfit, text) in kept.items()
    ]
    write_table(folder / "clustered.parquet", rows, CLUSTERED, "view")
    write_json(folder / "outfits.json", {"outfits": [{"id": "a", "trained": True}, {"id": "b", "trained": False}]})
    facts = {
        name: {
            **{"kinds": kinds, "faults": faults, "keep_for": keep, "either_for": either, "duplicate_of": None},
            "people": [{"character": who, "outfit": "x", "box": BOX}],
        }
        for name, (kinds, faults, who, keep, either) in POSTS.items()
    }
    return {"level": "hard", "posts": facts}


def test_kinds_are_counted_one_by_one(tmp_path: Path) -> None:
    kept = {
        "1": ("a", "hana, hana_a"),
        "4": (None, "hana, 1girl, red dress"),
        "5": ("a", "hana, hana_a, red dress"),
        "6": (None, "hana"),
    }
    counts = counted_kinds(tmp_path, "hana", written(tmp_path, kept))
    assert counts.lines() == {
        "back_view": {"total": 1, "right": 0},
        "chibi": {"total": 2, "right": 1},
        "cosplays_another": {"total": 2, "right": 1},
        "look_alike": {"total": 1, "right": 1},
        "twin": {"total": 1, "right": 0},
    }
    assert counts.handled() == 0.5
    assert "look_alike" in counts.text()


def test_a_caption_without_clothes_handles_nothing(tmp_path: Path) -> None:
    counts = counted_kinds(tmp_path, "hana", written(tmp_path, {"4": (None, "hana, 1girl"), "5": ("b", "hana, hat")}))
    assert counts.right["cosplays_another"] == 1


def test_easy_worlds_have_no_kinds(tmp_path: Path) -> None:
    truth = written(tmp_path, {})
    del truth["level"]
    assert not counted_kinds(tmp_path, "hana", truth).total
