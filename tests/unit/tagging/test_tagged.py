"""Tags with their origin, core tags by confidence, and why every dropped tag went."""

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.tables import FILTERED, MEASURED, RAW, read_table, write_table
from charaloom.tagging.tagged import contradicted, interval, judge_core, tag_views, variants
from charaloom.tagging.vocabulary import (
    Vocabulary,
    contradictions,
    hidden,
    implied,
    is_clothing,
    is_headwear,
    is_identity,
)
from tests.standins import write_vocabulary

PARAMS = {
    "thresholds": {"people": 0.35, "person": 0.35, "clothing": 0.35, "other": 0.35},
    "tag": "hana_(charaloom)",
    "board_tags": True,
    "core_share": 0.6,
    "core_add": [],
    "core_forbid": [],
    "blacklist": ["signature", "*_request"],
    "seed": 7,
    "version": 1,
}


@pytest.mark.parametrize("tag", ["red_kimono", "pleated_skirt", "long_sleeves", "witch_hat", "tiara"])
def test_clothing(tag: str) -> None:
    assert is_clothing(tag)
    assert not is_identity(tag)


@pytest.mark.parametrize("tag", ["blue_hair", "cat_ears", "dark_skin", "red_hair_bow", "glasses", "halo"])
def test_identity(tag: str) -> None:
    assert is_identity(tag)
    assert not is_clothing(tag)


@pytest.mark.parametrize("tag", ["smile", "closed_eyes", "holding_hat", "no_shirt", "outdoors", "chair"])
def test_neither(tag: str) -> None:
    assert not is_clothing(tag)
    assert not is_identity(tag)


def test_implied_and_hidden() -> None:
    assert implied(["kimono", "red_kimono", "hair", "long_hair"]) == {"kimono", "hair"}
    assert is_headwear("witch_hat")
    assert hidden("hairband", ["witch_hat"])
    assert hidden("blue_eyes", ["closed_eyes"])
    assert not hidden("blue_hair", ["witch_hat", "closed_eyes"])


def test_interval_is_wilsons() -> None:
    assert interval(9, 10) == pytest.approx({"share": 0.9, "low": 0.5958, "high": 0.9821, "views": 10})
    assert interval(0, 0) == {"share": 0.0, "low": 0.0, "high": 1.0, "views": 0}


def drawn_views(rng: random.Random, number: int = 90) -> list[set[str]]:
    """Three outfits, one with a hat that hides the hairband, one with a ribbon of its own; a tagger that errs."""
    outfits = (["red_kimono", "sash"], ["black_robe", "witch_hat"], ["white_dress", "hair_ribbon"])
    views = []
    for _ in range(number):
        outfit = rng.choice(outfits)
        tags = ["1girl", "blue_hair", "twintails", "red_eyes", *outfit]
        tags += [] if "witch_hat" in outfit else ["hairband"]
        tags += ["smile"] if rng.random() < 0.8 else []
        closed = rng.random() < 0.3
        tags = [tag for tag in tags if not (closed and tag == "red_eyes")] + ["closed_eyes"] * closed
        views.append({tag for tag in tags if rng.random() < 0.93})
    return views


def judged(views: list[set[str]], params: dict[str, Any] = PARAMS, origin: str = "both") -> list[dict[str, Any]]:
    merged = [dict.fromkeys(view, (0.9, origin)) for view in views]
    with tempfile.TemporaryDirectory() as folder:
        return judge_core(merged, params, Vocabulary(write_vocabulary(Path(folder))))


@pytest.mark.parametrize("seed", range(10))
def test_core_is_what_holds_in_every_outfit(seed: int) -> None:
    rows = judged(drawn_views(random.Random(seed)))
    core = {row["tag"] for row in rows if row["core"]}
    assert core == {"blue_hair", "twintails", "red_eyes", "hairband"}
    why = {row["tag"]: row["why"] for row in rows}
    assert why["smile"] == "not a trait of the person"
    assert why["hair_ribbon"] == "too rare"


def test_an_accessory_of_the_common_outfit_is_not_core() -> None:
    """A ribbon worn in 75 % of the views, always with the same dress."""
    views = [{"blue_hair", "white_dress", "hair_ribbon"}] * 75 + [{"blue_hair", "red_kimono"}] * 25
    rows = {row["tag"]: row for row in judged(views)}
    assert rows["hair_ribbon"]["low"] > 0.6
    assert not rows["hair_ribbon"]["core"]
    assert rows["hair_ribbon"]["why"] == "belongs to an outfit"
    assert rows["hair_ribbon"]["weakest"] == {"given": "red_kimono", **interval(0, 25)}
    assert rows["blue_hair"]["core"]


def test_core_can_be_added_and_forbidden() -> None:
    views = [{"blue_hair", "red_eyes"}] * 40
    params = {**PARAMS, "core_add": ["scar"], "core_forbid": ["red_eyes"]}
    rows = {row["tag"]: row for row in judged(views, params)}
    assert {tag for tag, row in rows.items() if row["core"]} == {"blue_hair", "scar"}


def test_general_core_tags_give_way_to_special_ones() -> None:
    rows = {row["tag"]: row for row in judged([{"hair_bow", "red_hair_bow"}] * 40)}
    assert rows["red_hair_bow"]["core"]
    assert rows["hair_bow"]["why"] == "implied by another core tag"


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
    write_table(folder / "raw.parquet", raw, RAW, "picture", {})
    write_table(folder / "measured.parquet", measured, MEASURED, "view", {})
    write_table(folder / "filtered.parquet", filtered, FILTERED, "view", {})
    (folder / "filtered.manifest.json").write_text("{}")


def run(folder: Path, **changes: Any) -> dict[str, dict[str, Any]]:
    tag_views(
        character="hana",
        params={**PARAMS, **changes},
        raw=folder / "raw.parquet",
        measured=folder / "measured.parquet",
        filtered=folder / "filtered.parquet",
        filtered_manifest=folder / "filtered.manifest.json",
        hub=write_vocabulary(folder / "hub"),
        table=folder / "tagged.parquet",
        core=folder / "core.json",
        manifest=folder / "tagged.manifest.json",
    )
    return {row["view"]: row for row in read_table(folder / "tagged.parquet")}


def test_board_and_tagger_are_merged_and_drops_explained(tmp_path: Path) -> None:
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


def test_implications_are_the_boards_own(tmp_path: Path) -> None:
    vocabulary = Vocabulary(write_vocabulary(tmp_path))
    assert vocabulary.implied(["school_swimsuit", "swimsuit", "smile"]) == {"swimsuit"}
    assert vocabulary.implied(["school_swimsuit"]) == set()
    assert vocabulary.counts["kimono"] == 1000
    assert "hana_(charaloom)" not in vocabulary.counts


def test_of_two_eye_colours_the_one_that_is_seen_more_is_core() -> None:
    views = [{"blue_eyes", "aqua_eyes"}] * 70 + [{"blue_eyes"}] * 20
    rows = {row["tag"]: row for row in judged(views)}
    assert rows["blue_eyes"]["core"]
    assert rows["aqua_eyes"]["why"] == "blue_eyes has more evidence"
    both = {row["tag"] for row in judged([view | {"heterochromia"} for view in views]) if row["core"]}
    assert both == {"blue_eyes", "aqua_eyes", "heterochromia"}


def test_boards_that_say_much_refute_what_only_the_tagger_sees() -> None:
    said = dict.fromkeys(["1girl", "solo", "smile", "sky", "day", "grass", "hat", "belt"], (0.9, "board"))
    views = [{**said, "blue_eyes": (0.9, "both"), "hairband": (0.8, "tagger")}] * 40
    with tempfile.TemporaryDirectory() as folder:
        rows = {row["tag"]: row for row in judge_core(views, PARAMS, Vocabulary(write_vocabulary(Path(folder))))}
    assert rows["blue_eyes"]["core"]
    assert rows["hairband"]["why"] == "boards do not say it"
    quiet = [{"1girl": (0.9, "board"), "hairband": (0.8, "tagger")}] * 40
    with tempfile.TemporaryDirectory() as folder:
        rows = {row["tag"]: row for row in judge_core(quiet, PARAMS, Vocabulary(write_vocabulary(Path(folder))))}
    assert rows["hairband"]["core"]


@pytest.mark.parametrize(
    ("tags", "core", "lost"),
    [
        ({"indoors": (0.5, "tagger"), "outdoors": (0.9, "tagger")}, set(), {"indoors"}),
        ({"indoors": (0.5, "both"), "outdoors": (0.9, "tagger")}, set(), {"outdoors"}),
        ({"aqua_eyes": (0.9, "tagger")}, {"blue_eyes"}, {"aqua_eyes"}),
        ({"aqua_eyes": (0.9, "board")}, {"blue_eyes"}, set()),
        ({"aqua_eyes": (0.9, "tagger"), "heterochromia": (0.9, "both")}, {"blue_eyes"}, set()),
        ({"solo": (0.9, "both"), "2girls": (0.5, "tagger")}, set(), {"solo"}),
        ({"red_kimono": (0.9, "both"), "pink_kimono": (0.5, "tagger")}, set(), {"pink_kimono"}),
        ({"red_kimono": (0.9, "tagger"), "pink_sash": (0.5, "tagger")}, set(), set()),
        ({"red_skirt": (0.9, "both"), "plaid_skirt": (0.5, "tagger")}, set(), set()),
    ],
)
def test_of_tags_that_exclude_each_other_evidence_decides(tags: Any, core: set[str], lost: set[str]) -> None:
    assert contradicted(tags, core) == lost


def test_contradictions_are_told_by_group() -> None:
    assert contradictions(["red_hair", "blue_hair", "day", "night", "smile"]) == [
        ["blue_hair", "red_hair"],
        ["day", "night"],
    ]
    assert contradictions(["red_hair", "blue_hair", "streaked_hair"]) == []


@pytest.mark.parametrize(
    ("tag", "names", "found"),
    [
        ("hana_(charaloom)", ["hana_(charaloom)", "hana_(swimsuit)_(charaloom)"], ["swimsuit"]),
        ("hana_(charaloom)", ["hana_(other)", "hana_(charaloom)_(cosplay)", "hanako_(swimsuit)_(charaloom)"], []),
        ("hatsune_miku", ["hatsune_miku", "hatsune_miku_(append)", "hatsune_miku_(cosplay)"], ["append"]),
        (None, ["hana_(swimsuit)_(charaloom)"], []),
    ],
)
def test_official_outfits_are_named_by_boards(tag: str | None, names: list[str], found: list[str]) -> None:
    assert variants(tag, [{**POST, "tags_character": names}]) == found


def test_thresholds_go_by_what_a_tag_speaks_of(tmp_path: Path) -> None:
    write_world(tmp_path)
    rows = run(tmp_path, thresholds={**PARAMS["thresholds"], "clothing": 0.9, "other": 0.25}, board_tags=False)
    names = {tag["name"] for row in rows.values() for tag in row["tags"]}
    assert "kimono" not in names
    assert "smile" in names
