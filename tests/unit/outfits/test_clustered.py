"""Outfits from clothing tags: found, named the same again, trained only with enough pictures, and captioned."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.tables import CLUSTERED, MEASURED, TAGGED, read_table, write_table
from charaloom.config.params import Clustered
from charaloom.config.roster import embedding_word
from charaloom.outfits.clustered import ClusterInputs, Grouping, by_clothes, cluster_outfits
from charaloom.outfits.names import Outfit, name_all, outfit_trigger
from tests.standins import write_vocabulary
from tests.unit.outfits.tagged_views import REST, drawn, world

PARAMS = Clustered(
    version=1,
    minimum_support=8,
    minimum_stability=0.6,
    resamples=10,
    balance=0.5,
    repeats_most=8,
    seed=7,
    trigger="hana_charaloom",
)


def run(
    folder: Path, views: list[dict[str, Any]], grouping: Grouping = by_clothes, **changes: Any
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Rows of the table by view, and outfits.json."""
    write_table(folder / "tagged.parquet", views, TAGGED, "view")
    write_table(folder / "measured.parquet", [], MEASURED, "view")
    (folder / "tagged.manifest.json").write_text("{}")
    (folder / "core.json").write_text(json.dumps({"core": ["blue_hair"], "tags": []}))
    cluster_outfits(
        character="hana",
        params=replace(PARAMS, **changes),
        inputs=ClusterInputs(
            measured=folder / "measured.parquet",
            tagged=folder / "tagged.parquet",
            core=folder / "core.json",
            hub=write_vocabulary(folder / "hub"),
            upstream=[folder / "tagged.manifest.json"],
        ),
        table=folder / "clustered.parquet",
        outfits=folder / "outfits.json",
        prompts_facet=folder / "clustered.prompts.json",
        manifest=folder / "clustered.manifest.json",
        grouping=grouping,
    )
    rows = read_table(folder / "clustered.parquet")
    assert set(rows[0]) == set(CLUSTERED.names)
    return {row["view"]: row for row in rows}, json.loads((folder / "outfits.json").read_text())


@pytest.mark.parametrize("seed", range(5))
def test_outfits_are_found(tmp_path: Path, seed: int) -> None:
    from sklearn.metrics import adjusted_rand_score

    views, truth = world(seed)
    rows, content = run(tmp_path, views)
    worn = [rows[view["view"]]["outfit"] or "none" for view in views]
    assert adjusted_rand_score(truth, worn) > 0.85
    assert len(content["outfits"]) == 3
    assert {outfit["id"] for outfit in content["outfits"]} >= {"red_kimono", "black_robe"}


def test_names_survive_more_pictures(tmp_path: Path) -> None:
    views, _ = world(1, 80)
    _, before = run(tmp_path, views[:70])
    _, after = run(tmp_path, views)
    assert {outfit["id"] for outfit in before["outfits"]} == {outfit["id"] for outfit in after["outfits"]}


def test_no_trigger_of_an_outfit_begins_with_the_word_of_the_embedding() -> None:
    outfits = [
        Outfit([], 1.0, [{"tag": tag, "score": 0.9} for tag in tags], official)
        for tags, official in ((["embroidered_dress"], None), (["emblem", "boots"], "embers_(idol)"))
    ]
    name_all(outfits)
    triggers = [outfit_trigger("nagi", outfit) for outfit in outfits]
    assert triggers == ["nagi_outfit_embroidered_dress", "nagi_outfit_embers__idol"]
    assert not any(embedding_word("nagi") in trigger for trigger in triggers)


def test_what_the_file_says_of_an_outfit(tmp_path: Path) -> None:
    views, _ = world(2)
    rows, content = run(tmp_path, views)
    kimono = next(outfit for outfit in content["outfits"] if outfit["id"] == "red_kimono")
    assert (kimono["trigger"], kimono["name"], kimono["trained"]) == ("hana_red_kimono", "red kimono", True)
    assert {row["tag"] for row in kimono["signature"]} == {"red_kimono", "sash", "wide_sleeves"}
    assert kimono["support"] == sum(row["outfit"] == "red_kimono" for row in rows.values())
    assert kimono["stability"] > 0.8
    assert 0 < len(kimono["representatives"]) <= 4
    assert {rows[view]["split"] for view in kimono["representatives"]} == {"train"}
    prompts = {prompt["id"]: prompt for prompt in content["prompts"]}
    text = prompts["red_kimono-portrait"]["text"]
    assert text.startswith("hana_charaloom, hana_red_kimono, 1girl, solo, ")
    assert "red kimono" in text
    assert "portrait" in text
    assert {prompt["outfit"] for prompt in content["prompts"]} == {outfit["id"] for outfit in content["outfits"]} | {
        None
    }


def test_half_of_the_captions_leave_the_signature_to_the_trigger(tmp_path: Path) -> None:
    views, _ = world(3, 120)
    rows, content = run(tmp_path, views)
    signature = {row["tag"].replace("_", " ") for row in content["outfits"][0]["signature"]}
    captions = [row["caption"] for row in rows.values() if row["outfit"] == content["outfits"][0]["id"]]
    assert all(text.startswith(f"hana_charaloom, {content['outfits'][0]['trigger']}, ") for text in captions)
    spelled = [bool(signature & set(text.split(", "))) for text in captions]
    assert 0.25 < sum(spelled) / len(spelled) < 0.75


def test_an_outfit_with_too_few_pictures_is_named_but_captioned_plainly(tmp_path: Path) -> None:
    views, truth = world(4)
    few = truth.count("black_robe")
    rows, content = run(tmp_path, views, minimum_support=few + 3)
    robe = next(outfit for outfit in content["outfits"] if outfit["id"] == "black_robe")
    assert not robe["trained"]
    assert {row["outfit"] for row in rows.values()} >= {"black_robe"}
    captions = [row["caption"] for row in rows.values() if row["outfit"] == "black_robe"]
    assert not any("hana_black_robe" in text for text in captions)
    assert "black_robe" not in {prompt["outfit"] for prompt in content["prompts"]}


def test_without_clothes_there_is_one_plain_prompt_set(tmp_path: Path) -> None:
    rng = random.Random(5)
    views = [drawn(rng, index, None) for index in range(12)]
    for view in views:
        view["tags"] = [tag for tag in view["tags"] if tag["name"] in ("1girl", "solo", *REST)]
    rows, content = run(tmp_path, views)
    assert content["outfits"] == []
    assert content["unassigned"] == 12
    assert {row["outfit"] for row in rows.values()} == {None}
    assert content["prompts"][0]["id"] == "any-portrait"
    assert content["prompts"][0]["outfit"] is None


def test_same_input_same_bytes_in_any_order(tmp_path: Path) -> None:
    views, _ = world(6)
    run(tmp_path, views)
    names = ("clustered.parquet", "outfits.json", "clustered.manifest.json")
    first = [(tmp_path / name).read_bytes() for name in names]
    run(tmp_path, views[::-1])
    assert [(tmp_path / name).read_bytes() for name in names] == first


def test_boards_names_of_outfits_are_anchors(tmp_path: Path) -> None:
    """Two outfits that no tag tells apart, one of which boards call by a name."""
    views = [drawn(random.Random(index), index, "red_kimono") for index in range(40)]
    for index, view in enumerate(views):
        view["variants"] = ["new_year"] if index % 2 else []
    _, content = run(tmp_path, views)
    names = {outfit["id"]: outfit for outfit in content["outfits"]}
    assert names["new_year"]["official"] == "new_year"
    assert names["new_year"]["support"] == 20
    assert names["new_year"]["trigger"] == "hana_new_year"


def test_an_alternate_costume_is_reported(tmp_path: Path) -> None:
    views, truth = world(2)
    for view, outfit in zip(views, truth, strict=True):
        if outfit == "black_robe":
            view["tags"].append({"name": "alternate_costume", "score": 0.9, "origin": "board"})
    _, content = run(tmp_path, views)
    shares = {outfit["id"]: outfit["alternate"] for outfit in content["outfits"]}
    assert shares["black_robe"] > 0.8 > 0.2 > shares["red_kimono"]


def test_a_rare_outfit_is_seen_more_often(tmp_path: Path) -> None:
    views = [drawn(random.Random(k), k, "red_kimono" if k < 110 else "black_robe") for k in range(121)]
    rows, content = run(tmp_path, views, balance=0.5)
    robe, kimono = (next(o for o in content["outfits"] if o["id"] == name) for name in ("black_robe", "red_kimono"))
    assert (kimono["repeats"], robe["repeats"]) == (1, round((kimono["pictures"] / robe["pictures"]) ** 0.5))
    assert robe["repeats"] > 1
    assert {row["repeats"] for row in rows.values() if row["outfit"] == "black_robe"} == {robe["repeats"]}
    plain = sum(row["split"] == "train" and row["outfit"] is None for row in rows.values())
    epoch = plain + kimono["pictures"] + robe["repeats"] * robe["pictures"]
    assert robe["share"] == pytest.approx(robe["repeats"] * robe["pictures"] / epoch, abs=1e-4)
    _, content = run(tmp_path, views, balance=1.0, repeats_most=5)
    assert next(o for o in content["outfits"] if o["id"] == "black_robe")["repeats"] == 5
    _, content = run(tmp_path, views, balance=0.0)
    assert {outfit["repeats"] for outfit in content["outfits"]} == {1}


def test_another_grouping_can_take_the_place_of_ours(tmp_path: Path) -> None:
    import numpy as np

    views, _ = world(1, 80)
    halves = np.repeat([0, 1, -1], (30, 30, 20))
    _, content = run(tmp_path, views, grouping=lambda views, alike, least: halves)
    assert [outfit["support"] for outfit in content["outfits"]] == [30, 30]
    assert content["unassigned"] == 20


def test_what_the_previews_ask_for(tmp_path: Path) -> None:
    views, _ = world(2)
    _, content = run(tmp_path, views)
    prompts = {prompt["id"]: prompt for prompt in content["prompts"]}
    assert Counter(prompt["kind"] for prompt in content["prompts"]) == {
        "outfit": 6,  # portrait and full body of three outfits: the stand-in tagger has no words for other scenes
        "core": 1,
        "trigger": 1,
        "plain": 1,
    }
    portrait = prompts["red_kimono-portrait"]
    said = portrait["text"].split(", ")
    assert said[:4] == ["hana_charaloom", "hana_red_kimono", "1girl", "solo"]
    assert sorted(said[4:7]) == ["red kimono", "sash", "wide sleeves"]
    assert said[7:] == ["portrait", "smile"]
    assert portrait["asked"] == ["red_kimono", "portrait", "smile"]  # those that the tagger can see
    assert prompts["core_tags"]["text"] == "hana_charaloom, 1girl, solo, blue hair, upper body"
    assert prompts["trigger_only"]["text"] == "hana_charaloom, 1girl, solo"
    assert "hana" not in prompts["without_trigger"]["text"]
