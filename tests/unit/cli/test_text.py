"""What the terminal says of a folder, and at the end of a run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charaloom.artifacts.files import write_json
from charaloom.cli.status import use_lines
from charaloom.cli.text import folder_line
from charaloom.config.roster import Character
from tests.small_results import write_results

HANA = Character("hana", "folder", "pictures/hana", "hana_charaloom", "adult")


@pytest.mark.parametrize(
    ("unused", "said"),
    [
        ([], "hana: 45 pictures, 38 with captions"),
        (
            [["a.heic", "not read: HEIC; save it as PNG"], ["x\ny.docx", "no picture"]],
            "hana: 45 pictures, 38 with captions; not read: a.heic (not read: HEIC; save it as PNG), "
            "x\\ny.docx (no picture)",
        ),
    ],
)
def test_case_C1_a_folder_has_one_line(tmp_path: Path, unused: list[Any], said: str) -> None:
    files = {"pictures": 45, "captions": 38, "unused": unused, "remarks": []}
    write_json(tmp_path / "raw.files.json", files)
    assert folder_line(HANA, tmp_path) == said
    write_json(tmp_path / "raw.files.json", {**files, "unused": [[f"{n}.x", "no picture"] for n in range(9)]})
    assert folder_line(HANA, tmp_path).endswith(f" and 5 more, see {tmp_path}/curation.html")


def test_a_board_has_none(tmp_path: Path) -> None:
    assert folder_line(Character("mei", "danbooru", "mei", "mei", "adult"), tmp_path) is None


def test_the_end_of_a_run_says_what_to_load_and_where_to_look(tmp_path: Path) -> None:
    write_results(tmp_path / "hana")
    project: Any = SimpleNamespace(config={"paths": {"results": str(tmp_path)}})
    states = {"hana": "finished", "mei": "weak", "rin": "finished"}  # rin's files are gone
    standings: Any = SimpleNamespace(by_name={name: SimpleNamespace(state=state) for name, state in states.items()})
    assert list(use_lines(project, standings, list(states))) == [
        f"hana: load {tmp_path}/hana/model/hana.safetensors at weight 1 and write hana_charaloom",
        f"    prompts of 1 outfit, previews, numbers: {tmp_path}/hana/report.html",
    ]
