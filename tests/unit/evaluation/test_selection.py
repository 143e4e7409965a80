"""The rule that chooses a checkpoint, on hand-made scores."""

import pytest

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import SCORES, write_table
from charaloom.config.params import PreviewBase, Selection, SelectionRule
from charaloom.errors import CharaloomError
from charaloom.evaluation.previews import manners
from charaloom.evaluation.rounds import survivors
from charaloom.evaluation.selection import choose, confusion, select
from charaloom.pages.previews import write_page
from tests.html_page import Page
from tests.unit.evaluation.score_rows import THRESHOLD, drawn, picture

STAGE_PARAMS = {"version": 1}
RULE = SelectionRule(scores={"recognised": 1}, first=0.25, keep=0.5)


def chosen(*checkpoints: tuple[str, list[float | None]], **more) -> dict:
    rows = [row for name, distances in checkpoints for row in drawn(name, distances, **more)]
    names = [name for name, _ in checkpoints if name != "none"]
    return choose(rows, ["one"], names, RULE, THRESHOLD, "scores.parquet")


# --- the rule


def test_the_score_decides_first():
    choice = chosen(("step-000100", [0.01, 0.3, 0.3]), ("step-000200", [0.17, 0.17, 0.3]))
    assert (choice["chosen"], choice["step"]) == ("step-000200", 200)


def test_then_the_median_distance():
    assert chosen(("step-000100", [0.12, 0.12]), ("step-000200", [0.11, 0.11]))["chosen"] == "step-000200"


def test_then_the_fewest_steps():
    same = [0.1, 0.1]
    assert chosen(("step-000300", same), ("step-000100", same), ("step-000200", same))["chosen"] == "step-000100"


def test_differences_below_the_written_digits_decide_nothing():
    assert chosen(("step-000100", [0.10004]), ("step-000200", [0.10001]))["chosen"] == "step-000100"


def test_a_late_bloomer_that_left_early_is_not_chosen_and_rounds_are_recorded():
    rows = [
        *drawn("step-000100", [0.3]),
        *drawn("step-000200", [0.15]),
        *drawn("step-000300", [0.1]),
        picture("step-000200", 1, 0.1, round=2),
        picture("step-000300", 1, 0.3, round=2),
        picture("step-000200", 2, 0.1, round=3),
    ]
    assert survivors(rows[:3], RULE, THRESHOLD) == ["step-000300", "step-000200"]
    names = ["step-000100", "step-000200", "step-000300"]
    choice = choose(rows, ["one"], names, RULE, THRESHOLD, "scores.parquet")
    assert choice["chosen"] == "step-000200"
    rounds = [([entry["checkpoint"] for entry in played["checkpoints"]], played["left"]) for played in choice["rounds"]]
    assert rounds == [
        (["step-000300", "step-000200", "step-000100"], ["step-000300", "step-000200"]),
        (["step-000200", "step-000300"], ["step-000200"]),
        (["step-000200"], ["step-000200"]),
    ]
    assert choice["cost"] == {"drawn": 6, "full": 9, "share": 0.6667}
    assert "3, then 2 checkpoints" in choice["reason"]


def test_no_row_of_a_checkpoint_is_an_error_that_names_the_file():
    with pytest.raises(CharaloomError, match=r"scores\.parquet: no preview of any checkpoint"):
        choose(drawn("none", [0.1]), ["one"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")


# --- numbers


def test_a_withheld_picture_counts_as_not_recognised():
    choice = chosen(("step-000100", [0.1, 0.1, 0.3]), ("step-000200", [0.1, None, None]))
    assert choice["chosen"] == "step-000100"
    second = choice["checkpoints"][1]
    assert (second["withheld"], second["recognised"], second["pictures"]) == (2, 1, 3)


def test_everything_withheld_is_still_an_answer():
    choice = chosen(("step-000100", [None, None]))
    assert choice["checkpoints"][0]["median_distance"] is None
    assert "withheld for its rating" in choice["reason"]


# --- what the choice is worth


def test_neither_the_base_alone_nor_the_trigger_alone_can_be_chosen():
    rows = [
        *drawn("none", [0.01]),
        *drawn("step-000100", [0.2], embedding=True),
        *drawn("step-000100", [0.02], round=None),
    ]
    choice = choose(rows, ["one"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")
    assert choice["chosen"] == "step-000100"
    assert choice["without_lora"]["recognised"] == 1
    assert choice["without_embedding"]["text_only"]["recognised"] == 1
    assert choice["without_embedding"]["with_embedding"]["recognised"] == 0
    assert "taught too little" in choice["reason"]


def test_other_bases_show_the_chosen_checkpoint():
    rows = [
        *drawn("none", [0.3]),
        *drawn("step-000100", [0.1]),
        *drawn("none", [0.3], base="two"),
        *drawn("step-000100", [0.2], base="two"),
    ]
    choice = choose(rows, ["one", "two"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")
    two = choice["per_base"][1]
    assert (two["base"], two["with_lora"]["recognised"], two["without_lora"]["recognised"]) == ("two", 0, 0)


def test_the_weight_to_recommend_is_the_best_and_of_equals_the_nearest_to_one():
    def at(weight: float, distances: list[float | None]) -> list[dict]:
        return drawn("step-000100", distances, weight=weight, round=1 if weight == 1 else None)

    rows = [*at(0.6, [0.1, 0.1]), *at(0.8, [0.1, 0.1]), *at(1.0, [0.1, 0.3, 0.3]), *at(1.4, [0.3, 0.3])]
    sweep = choose(rows, ["one"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")["sweep"][0]
    assert sweep["recommended"] == 0.8
    assert [counted["pictures"] for counted in sweep["weights"]] == [2, 2, 2, 2]  # the same prompts at every weight


def test_the_confusion_table_counts_the_outfits_of_prompts_and_pictures():
    rows = [
        picture("s000100", 0, 0.1, outfit="red", outfit_drawn="red"),
        picture("s000100", 1, 0.1, outfit="red", outfit_drawn="blue"),
        picture("s000100", 2, 0.1, outfit="blue", outfit_drawn="blue"),
        picture("s000100", 3, 0.1, outfit="blue", outfit_drawn=None),
        picture("s000100", 4, 0.1, kind="clothes", outfit_drawn="red"),
        picture("s000100", 5, None, outfit="red", outfit_drawn=None),
    ]
    assert confusion(rows) == {
        "columns": ["blue", "red", "none of these"],
        "lines": [
            {"asked": "blue", "drawn": [1, 0, 1]},
            {"asked": "red", "drawn": [1, 1, 0]},
            {"asked": "other clothes", "drawn": [0, 1, 0]},
        ],
    }


def test_the_stage_writes_the_same_bytes_and_a_page_without_pictures_that_were_withheld(tmp_path):
    rows = [*drawn("none", [0.3, 0.3]), *drawn("step-000100", [0.1, None]), *drawn("step-000200", [0.2, 0.2])]
    from PIL import Image

    folder = tmp_path / "previews"
    for row in rows:
        (folder / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (200, 20, 20)).save(folder / row["file"])
    write_table(folder / "scores.parquet", rows, SCORES, "file")
    settings = {"threshold": THRESHOLD, "memorised": 0.85, "steps": 2, "width": 32, "height": 32, "weights": [1.0]}
    settings["bases"] = [manners(PreviewBase(name="one", family="sd15", clip_skip=0))]
    rendered = {"bases": [{"name": "one"}], "checkpoints": ["step-000100", "step-000200"], "settings": settings}
    write_manifest(tmp_path / "previews.json", lineage("previews", "hana", STAGE_PARAMS, ()), {}, {}, **rendered)
    write_manifest(tmp_path / "checkpoints.json", lineage("checkpoints", "hana", {}, ()), {}, {"pictures": 90})
    write_json(tmp_path / "outfits.json", {"outfits": []})
    for name in ("a", "b"):
        select(
            character="hana",
            params=Selection(version=2, minimum=0.3, **RULE.plain()),
            previews=folder,
            previews_manifest=tmp_path / "previews.json",
            checkpoints_manifest=tmp_path / "checkpoints.json",
            outfits=tmp_path / "outfits.json",
            selection=tmp_path / name / "selection.json",
            page=tmp_path / name / "previews.html",
            manifest=tmp_path / name / "selection.manifest.json",
            write_page=write_page,
        )
    for file in ("selection.json", "previews.html", "selection.manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    choice = read_json(tmp_path / "a" / "selection.json")
    assert choice["chosen"] == "step-000100"
    assert "recognised (counts 1)" in choice["rule"]
    assert choice["reason"] in Page((tmp_path / "a" / "previews.html").read_text()).text
