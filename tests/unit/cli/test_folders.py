"""The line of a folder on the terminal."""

from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import write_json
from charaloom.cli.folders import folder_line
from charaloom.config.roster import Character

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
