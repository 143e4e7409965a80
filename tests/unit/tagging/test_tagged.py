"""The stage: tags with their origin, core tags, and the reason of every dropped tag."""

import json
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.tables import FILTERED, MEASURED, RAW, read_table, write_table
from charaloom.config.params import Tagged
from charaloom.errors import CharaloomError
from charaloom.tagging.tagged import TaggedInputs, tag_views
from tests.standins import write_vocabulary

PARAMS = {
    "thresholds": {"people": 0.35, "person": 0.35, "clothing": 0.35, "other": 0.35},
    "tag": "hana_(charaloom)",
    "board_tags": True,
    "core_share": 0.6,
    "core_add": [],
    "core_forbid": [],
    "blacklist": ["signature", "*_request"],
    "version": 1,
}


POST = {
    **dict.fromkeys(("site", "post_id", "page_url", "file_url", "md5", "rating", "parent_id", "created", "source")),
    **{"score": None, "favourites": None, "artists": ["maker"]},
    "tags_general": ["1girl", "red_kimono", "signature", "commentary_request", "umbrella", "holding_umbrella"],
    "tags_character": ["hana_(charaloom)"],
    "tags_copyright": ["charaloom"],
    "tags_meta": ["highres"],
}


def write_world(folder: Path, number: int = 20) -> None:
    raw, measured, filtered = [], [], []
    for index in range(number):
        name = f"{index:064x}"
        raw.append({"picture": name, "bytes": b"", "size": 1, "format": "PNG", "problem": None, "posts": [POST]})
        kept = "picture" if index % 4 else "person"
        for kind in ("picture", "person"):
            verdict = "keep" if kind == kept else "drop"
            view = {"view": f"{name}/{kind}/0", "picture": name, "kind": kind, "x0": 0, "y0": 0, "x1": 9, "y1": 9}
            named = {"1girl": 0.99, "blue_hair": 0.95, "kimono": 0.8, "charaloom": 0.6, "umbrella": 0.2, "smile": 0.3}
            tags = [{"name": tag, "score": score} for tag, score in named.items()]
            measured.append({**dict.fromkeys(MEASURED.names), **view, "tags": tags})
            split = "train" if verdict == "keep" else None
            filtered.append({**dict.fromkeys(FILTERED.names), **view, "verdict": verdict, "split": split})
    write_table(folder / "raw.parquet", raw, RAW, "picture")
    write_table(folder / "measured.parquet", measured, MEASURED, "view")
    write_table(folder / "filtered.parquet", filtered, FILTERED, "view")
    (folder / "filtered.manifest.json").write_text("{}")


def run(folder: Path, **changes: Any) -> dict[str, dict[str, Any]]:
    tag_views(
        character="hana",
        params=Tagged.of({**PARAMS, **changes}),
        inputs=TaggedInputs(
            raw=folder / "raw.parquet",
            measured=folder / "measured.parquet",
            filtered=folder / "filtered.parquet",
            hub=write_vocabulary(folder / "hub"),
            upstream=[folder / "filtered.manifest.json"],
        ),
        table=folder / "tagged.parquet",
        core=folder / "core.json",
        manifest=folder / "tagged.manifest.json",
    )
    return {row["view"]: row for row in read_table(folder / "tagged.parquet")}


def test_board_and_tagger_are_merged_and_drops_have_reasons(tmp_path: Path) -> None:
    write_world(tmp_path)
    rows = run(tmp_path)
    assert len(rows) == 20
    whole = rows[f"{1:064x}/picture/0"]
    assert [(tag["name"], round(tag["score"], 3), tag["origin"]) for tag in whole["tags"]] == [
        ("1girl", 0.99, "both"),
        ("holding_umbrella", 0.35, "board"),
        ("red_kimono", 0.35, "board"),
    ]
    assert {entry["name"]: entry["reason"] for entry in whole["dropped"]} == {
        "blue_hair": "core",
        "charaloom": "not a general tag",
        "commentary_request": "blacklist",
        "kimono": "implied",
        "signature": "blacklist",
        "umbrella": "implied",
    }


def test_a_person_cut_from_a_picture_takes_no_board_tags(tmp_path: Path) -> None:
    write_world(tmp_path)
    person = run(tmp_path)[f"{0:064x}/person/0"]
    assert [(tag["name"], tag["origin"]) for tag in person["tags"]] == [("1girl", "tagger"), ("kimono", "tagger")]


def test_board_tags_can_be_switched_off_and_results_repeat(tmp_path: Path) -> None:
    write_world(tmp_path)
    rows = run(tmp_path, board_tags=False)
    assert {tag["origin"] for row in rows.values() for tag in row["tags"]} == {"tagger"}
    first = (tmp_path / "tagged.parquet").read_bytes(), (tmp_path / "core.json").read_bytes()
    run(tmp_path, board_tags=False)
    assert ((tmp_path / "tagged.parquet").read_bytes(), (tmp_path / "core.json").read_bytes()) == first
    core = json.loads(first[1])
    assert core["core"] == ["blue_hair"]
    assert core["tags"][0]["why"] == "holds in every outfit"


def test_thresholds_go_by_the_kind_of_a_tag(tmp_path: Path) -> None:
    write_world(tmp_path)
    rows = run(tmp_path, thresholds={**PARAMS["thresholds"], "clothing": 0.9, "other": 0.25}, board_tags=False)
    names = {tag["name"] for row in rows.values() for tag in row["tags"]}
    assert "kimono" not in names
    assert "smile" in names


def test_a_refusal_of_the_filters_ends_here(tmp_path: Path) -> None:
    write_world(tmp_path)
    decisions = tmp_path / "filtered.decisions.json"
    decisions.write_text('{"refusal": "hana: only 3 views"}')
    inputs = TaggedInputs(tmp_path, tmp_path, tmp_path, tmp_path, upstream=(), decisions=decisions)
    with pytest.raises(CharaloomError, match="hana: only 3 views"):
        tag_views("hana", Tagged.of(PARAMS), inputs, tmp_path / "t", tmp_path / "c", tmp_path / "m")
