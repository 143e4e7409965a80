"""The rule that chooses a checkpoint, on hand-made scores."""

import json
from pathlib import Path

import pytest

from charaloom.errors import CharaloomError
from charaloom.files import read_json
from charaloom.manifest import lineage, write_manifest
from charaloom.previews import TEXT_ONLY
from charaloom.selection import choose, select, wilson
from charaloom.tables import SCORES, write_table


def drawn(checkpoint: str, distances: list[float | None], base: str = "one", limit: float = 0.178) -> list[dict]:
    """Rows of one checkpoint; a distance of None is a picture withheld for its rating."""
    step = int(checkpoint.removesuffix(TEXT_ONLY)[-6:]) if checkpoint != "none" else 0
    return [
        {
            "base": base,
            "checkpoint": checkpoint,
            "step": step,
            "prompt_id": f"p{number}",
            "outfit": None,
            "prompt": "hana",
            "seed": number,
            "file": f"{base}/{checkpoint}/p{number}.png",
            "kept": distance is not None,
            "rating": [],
            "identity_distance": distance,
            "recognised": distance is not None and distance <= limit,
        }
        for number, distance in enumerate(distances)
    ]


def chosen(*checkpoints: tuple[str, list[float | None]]) -> dict:
    rows = [row for name, distances in checkpoints for row in drawn(name, distances)]
    names = [name for name, _ in checkpoints if name != "none" and not name.endswith(TEXT_ONLY)]
    return choose(rows, ["one"], names, "scores.parquet")


def test_the_share_recognised_decides_first():
    found = chosen(("step-000100", [0.01, 0.3, 0.3]), ("step-000200", [0.17, 0.17, 0.3]))
    assert (found["chosen"], found["step"]) == ("step-000200", 200)


def test_then_the_median_distance():
    assert chosen(("step-000100", [0.12, 0.12]), ("step-000200", [0.11, 0.11]))["chosen"] == "step-000200"


def test_then_the_fewest_steps():
    same = [0.1, 0.1]
    assert chosen(("step-000300", same), ("step-000100", same), ("step-000200", same))["chosen"] == "step-000100"


def test_differences_below_the_written_digits_decide_nothing():
    assert chosen(("step-000100", [0.10004]), ("step-000200", [0.10001]))["chosen"] == "step-000100"


def test_a_withheld_picture_counts_as_not_recognised():
    found = chosen(("step-000100", [0.1, 0.1, 0.3]), ("step-000200", [0.1, None, None]))
    assert found["chosen"] == "step-000100"
    numbers = found["checkpoints"][1]
    assert (numbers["withheld"], numbers["recognised"], numbers["pictures"]) == (2, 1, 3)


def test_everything_withheld_is_still_an_answer():
    found = chosen(("step-000100", [None, None]))
    assert found["checkpoints"][0]["median_distance"] is None
    assert "withheld for its rating" in found["reason"]


def test_neither_the_base_alone_nor_the_text_variant_can_be_chosen():
    found = chosen(("none", [0.01]), ("step-000100", [0.2]), (f"step-000100{TEXT_ONLY}", [0.02]))
    assert found["chosen"] == "step-000100"
    assert found["without_lora"]["recognised"] == 1
    assert found["without_embedding"]["text_only"]["recognised"] == 1
    assert found["without_embedding"]["with_embedding"]["recognised"] == 0
    assert "taught too little" in found["reason"]


def test_other_bases_tell_the_chosen_or_else_the_last():
    rows = drawn("step-000100", [0.1]) + drawn("step-000200", [0.3])
    rows += drawn("none", [0.4], "two") + drawn("step-000200", [0.2], "two")
    found = choose(rows, ["one", "two"], ["step-000100", "step-000200"], "scores.parquet")
    assert found["chosen"] == "step-000100"
    first, second = found["per_base"]
    assert (first["base"], first["with_lora"]["checkpoint"], first["without_lora"]) == ("one", "step-000100", None)
    assert (second["with_lora"]["checkpoint"], second["without_lora"]["median_distance"]) == ("step-000200", 0.4)


def test_the_reason_holds_the_numbers_that_decided():
    reason = chosen(("none", [0.4, 0.4]), ("step-000100", [0.1, 0.1]), ("step-000200", [0.12, 0.12]))["reason"]
    assert "step-000100 on one: 2 of 2 previews" in reason
    assert "Next best is step-000200 with the same share and median distance 0.1200" in reason
    assert "without the LoRA: 0 of 2" in reason
    assert "may be chance" in reason


def test_the_interval_is_wilsons():
    """Reference values: Newcombe 1998, table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (None, None)


def test_no_preview_on_the_training_base_is_an_error():
    with pytest.raises(CharaloomError, match="no preview of any checkpoint on the training base 'one'"):
        choose(drawn("step-000100", [0.1], "two"), ["one", "two"], ["step-000100"], "scores.parquet")


def previews_of(folder: Path, rows: list[dict]) -> Path:
    write_table(folder / "previews" / "scores.parquet", rows, SCORES, "file", {})
    extra = {"bases": [{"name": "one", "licence": "mit"}], "checkpoints": ["step-000100"], "settings": {"steps": 2}}
    facts = lineage("previews", "hana", {}, {})
    write_manifest(folder / "previews.manifest.json", facts, {"previews": folder / "previews"}, {}, **extra)
    return folder


def test_select_writes_the_decision_and_its_manifest(tmp_path):
    folder = previews_of(tmp_path, drawn("step-000100", [0.1, 0.3]) + drawn("none", [0.3, 0.3]))

    def run(name: str) -> bytes:
        select(
            character="hana",
            params={"version": 1},
            previews=folder / "previews",
            previews_manifest=folder / "previews.manifest.json",
            selection=folder / f"{name}.json",
            manifest=folder / f"{name}.manifest.json",
        )
        return (folder / f"{name}.json").read_bytes()

    assert run("selection") == run("again")
    decision = json.loads(run("selection"))
    assert decision["chosen"] == "step-000100"
    assert decision["bases"] == [{"name": "one", "licence": "mit"}]
    assert decision["settings"] == {"steps": 2}
    assert read_json(folder / "selection.manifest.json")["counts"]["chosen_step"] == 100
