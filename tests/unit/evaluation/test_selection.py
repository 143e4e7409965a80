"""The rule that chooses a checkpoint, on hand-made scores."""

from dataclasses import replace

import pytest

from charaloom.artifacts.files import read_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import SCORES, write_table
from charaloom.config.params import Selection, SelectionRule
from charaloom.errors import CharaloomError
from charaloom.evaluation.rounds import schedule, survivors
from charaloom.evaluation.scores import numbers, scores_of, wilson
from charaloom.evaluation.selection import choose, confusion, select
from charaloom.pages.previews import write_page
from tests.html_page import Page

STAGE_PARAMS = {"version": 1}
THRESHOLD = 0.178
RULE = SelectionRule(scores={"recognised": 1}, first=0.25, keep=0.5)


def picture(checkpoint: str, number: int, distance: float | None, base: str = "one", **more) -> dict:
    """One row; a distance of None is a picture withheld for its rating."""
    none = checkpoint == "none"
    row = {
        "base": base,
        "checkpoint": checkpoint,
        "step": 0 if none else int(checkpoint[-6:]),
        "weight": 0.0 if none else 1.0,
        "embedding": False,
        "round": 1 if base == "one" and not none else None,
        "prompt_id": f"p{number}",
        "kind": "outfit",
        "outfit": None,
        "prompt": "hana",
        "seed": number,
        "kept": distance is not None,
        "rating": [],
        "identity_distance": distance,
        "recognised": distance is not None and distance <= THRESHOLD,
        "outfit_drawn": None,
        "asked": [],
        "seen": [],
        "core_seen": None,
        "faults": [],
        "training_likeness": None,
        "training_view": None,
        "memorised": False,
        "embedding_vector": None,
    }
    row |= more
    return {**row, "file": f"{row['base']}/{checkpoint}/{row['weight']}-{row['embedding']}-{number}.png"}


def drawn(checkpoint: str, distances: list[float | None], **more) -> list[dict]:
    return [picture(checkpoint, number, distance, **more) for number, distance in enumerate(distances)]


def chosen(*checkpoints: tuple[str, list[float | None]], **more) -> dict:
    rows = [row for name, distances in checkpoints for row in drawn(name, distances, **more)]
    names = [name for name, _ in checkpoints if name != "none"]
    return choose(rows, ["one"], names, RULE, THRESHOLD, "scores.parquet")


# --- the rule


def test_the_score_decides_first():
    found = chosen(("step-000100", [0.01, 0.3, 0.3]), ("step-000200", [0.17, 0.17, 0.3]))
    assert (found["chosen"], found["step"]) == ("step-000200", 200)


def test_then_the_median_distance():
    assert chosen(("step-000100", [0.12, 0.12]), ("step-000200", [0.11, 0.11]))["chosen"] == "step-000200"


def test_then_the_fewest_steps():
    same = [0.1, 0.1]
    assert chosen(("step-000300", same), ("step-000100", same), ("step-000200", same))["chosen"] == "step-000100"


def test_differences_below_the_written_digits_decide_nothing():
    assert chosen(("step-000100", [0.10004]), ("step-000200", [0.10001]))["chosen"] == "step-000100"


def test_the_score_is_the_weighted_mean_of_what_could_be_counted():
    rows = drawn("step-000100", [0.1, 0.1, 0.3, 0.3], outfit="red", outfit_drawn="red")
    rule = replace(
        RULE, scores={"recognised": 1, "outfit": 3, "following": 5}
    )  # no tag was asked: following is not counted
    assert numbers(rows, rule, THRESHOLD)["score"] == pytest.approx((0.5 + 3 * 1.0) / 4)


@pytest.mark.parametrize(
    ("checkpoints", "expected"),
    [
        (1, [(1, 1.0)]),
        (2, [(2, 0.25), (1, 1.0)]),
        (4, [(4, 0.25), (2, 0.5), (1, 1.0)]),
        (8, [(8, 0.25), (4, 0.5), (2, 1.0), (1, 1.0)]),
    ],
)
def test_rounds_halve_the_checkpoints_and_double_the_prompts(checkpoints, expected):
    assert schedule(checkpoints, RULE) == expected


def test_every_round_leaves_one_fewer_at_least():
    assert [count for count, _ in schedule(4, replace(RULE, keep=0.99))] == [4, 3, 2, 1]


def test_a_late_bloomer_that_left_early_is_not_chosen_and_rounds_are_told():
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
    found = choose(rows, ["one"], names, RULE, THRESHOLD, "scores.parquet")
    assert found["chosen"] == "step-000200"
    told = [([one["checkpoint"] for one in round["checkpoints"]], round["left"]) for round in found["rounds"]]
    assert told == [
        (["step-000300", "step-000200", "step-000100"], ["step-000300", "step-000200"]),
        (["step-000200", "step-000300"], ["step-000200"]),
        (["step-000200"], ["step-000200"]),
    ]
    assert found["cost"] == {"drawn": 6, "full": 9, "share": 0.6667}
    assert "3, then 2 checkpoints" in found["reason"]


def test_no_row_of_a_checkpoint_is_an_error_that_names_the_file():
    with pytest.raises(CharaloomError, match=r"scores\.parquet: no preview of any checkpoint"):
        choose(drawn("none", [0.1]), ["one"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")


# --- numbers


def test_a_withheld_picture_counts_as_not_recognised():
    found = chosen(("step-000100", [0.1, 0.1, 0.3]), ("step-000200", [0.1, None, None]))
    assert found["chosen"] == "step-000100"
    second = found["checkpoints"][1]
    assert (second["withheld"], second["recognised"], second["pictures"]) == (2, 1, 3)


def test_everything_withheld_is_still_an_answer():
    found = chosen(("step-000100", [None, None]))
    assert found["checkpoints"][0]["median_distance"] is None
    assert "withheld for its rating" in found["reason"]


def test_what_each_score_counts():
    rows = [
        picture("s000100", 0, 0.0, outfit="red", outfit_drawn="red", asked=["a", "b"], seen=["a"], core_seen=1.0),
        picture("s000100", 1, 0.178, outfit="red", outfit_drawn="blue", asked=["a"], seen=["a"], core_seen=0.5),
        picture("s000100", 2, 0.5, kind="clothes", outfit_drawn="red", faults=["nobody"], memorised=True),
        picture("s000100", 3, 0.0, kind="plain", core_seen=0.25),
        picture("s000100", 4, None, outfit="red", asked=["a"]),
    ]
    found = {name: score["value"] for name, score in scores_of(rows, THRESHOLD).items()}
    assert found == {
        "recognised": 0.5,  # two of the four that name the character
        "likeness": pytest.approx((1 + 0.5 + 0 + 0) / 4),
        "outfit": pytest.approx(1 / 3, abs=1e-4),
        "following": pytest.approx((0.5 + 1 + 0) / 3),
        "core": 0.75,
        "sound": 0.6,  # neither the fault nor the withheld one
        "fresh": 0.8,
        "bleeding": 0.5,  # blue for red, red for other clothes
        "leaking": 0.25,
        "diversity": None,
    }


def test_diversity_is_how_far_apart_pictures_of_one_prompt_are():
    vectors = {0: [1.0, 0.0], 1: [0.0, 1.0], 2: [1.0, 0.0]}
    rows = [picture("s000100", k, 0.1, prompt_id=f"p{k // 2}", embedding_vector=v) for k, v in vectors.items()]
    assert scores_of(rows, THRESHOLD)["diversity"]["value"] == 1.0


def test_every_score_has_its_interval():
    scores = scores_of(drawn("s000100", [0.1, 0.2, 0.05, 0.12]), THRESHOLD)
    for name in ("recognised", "likeness", "sound", "fresh"):
        assert 0 <= scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"] <= 1
        assert scores[name]["n"] == 4


def test_the_interval_of_a_share_is_wilsons():
    """Reference values: Newcombe 1998, table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


# --- what the choice is worth


def test_neither_the_base_alone_nor_the_trigger_alone_can_be_chosen():
    rows = [
        *drawn("none", [0.01]),
        *drawn("step-000100", [0.2], embedding=True),
        *drawn("step-000100", [0.02], round=None),
    ]
    found = choose(rows, ["one"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")
    assert found["chosen"] == "step-000100"
    assert found["without_lora"]["recognised"] == 1
    assert found["without_embedding"]["text_only"]["recognised"] == 1
    assert found["without_embedding"]["with_embedding"]["recognised"] == 0
    assert "taught too little" in found["reason"]


def test_other_bases_show_the_chosen_checkpoint():
    rows = [
        *drawn("none", [0.3]),
        *drawn("step-000100", [0.1]),
        *drawn("none", [0.3], base="two"),
        *drawn("step-000100", [0.2], base="two"),
    ]
    found = choose(rows, ["one", "two"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")
    two = found["per_base"][1]
    assert (two["base"], two["with_lora"]["recognised"], two["without_lora"]["recognised"]) == ("two", 0, 0)


def test_the_weight_to_recommend_is_the_best_and_of_equals_the_nearest_to_one():
    def at(weight: float, distances: list[float | None]) -> list[dict]:
        return drawn("step-000100", distances, weight=weight, round=1 if weight == 1 else None)

    rows = [*at(0.6, [0.1, 0.1]), *at(0.8, [0.1, 0.1]), *at(1.0, [0.1, 0.3, 0.3]), *at(1.4, [0.3, 0.3])]
    sweep = choose(rows, ["one"], ["step-000100"], RULE, THRESHOLD, "scores.parquet")["sweep"][0]
    assert sweep["recommended"] == 0.8
    assert [one["pictures"] for one in sweep["weights"]] == [2, 2, 2, 2]  # the same prompts at every weight


def test_the_confusion_matrix_tells_what_was_drawn_where_each_outfit_was_asked_for():
    rows = [
        picture("s000100", 0, 0.1, outfit="red", outfit_drawn="red"),
        picture("s000100", 1, 0.1, outfit="red", outfit_drawn="blue"),
        picture("s000100", 2, 0.1, outfit="blue", outfit_drawn="blue"),
        picture("s000100", 3, 0.1, outfit="blue", outfit_drawn=None),
        picture("s000100", 4, 0.1, kind="clothes", outfit_drawn="red"),
        picture("s000100", 5, None, outfit="red", outfit_drawn=None),
    ]
    assert confusion(rows) == {
        "columns": ["blue", "red", "none of theirs"],
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
    write_table(folder / "scores.parquet", rows, SCORES, "file", {})
    settings = {"threshold": THRESHOLD, "memorised": 0.85, "negative": "nsfw", "steps": 2, "guidance": 7.0}
    settings |= {"width": 32, "height": 32, "sampler": "DPM++ 2M", "schedule": "Karras", "weights": [1.0]}
    told = {"bases": [{"name": "one"}], "checkpoints": ["step-000100", "step-000200"], "settings": settings}
    write_manifest(tmp_path / "previews.json", lineage("previews", "hana", STAGE_PARAMS, {}), {}, {}, **told)
    for name in ("a", "b"):
        select(
            character="hana",
            params=Selection(version=2, **RULE.plain()),
            previews=folder,
            previews_manifest=tmp_path / "previews.json",
            selection=tmp_path / name / "selection.json",
            page=tmp_path / name / "previews.html",
            manifest=tmp_path / name / "selection.manifest.json",
            write_page=write_page,
        )
    for file in ("selection.json", "previews.html", "selection.manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    found = read_json(tmp_path / "a" / "selection.json")
    assert found["chosen"] == "step-000100"
    assert "recognised (counts 1)" in found["rule"]
    assert found["reason"] in Page((tmp_path / "a" / "previews.html").read_text()).text
