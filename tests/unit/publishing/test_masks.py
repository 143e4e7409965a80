"""What in a view is not its character, and how the dataset says so."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from charaloom.artifacts.files import sha256_bytes
from charaloom.artifacts.tables import MEASURED, RAW, read_table, write_table
from charaloom.images.boxes import area, outside
from charaloom.publishing.masks import in_stored, other_people
from tests.unit.publishing.test_dataset import SIZES, run, split_rows, write_world

VIEW = {"kind": "person", "person": 0, "x0": 0, "y0": 0, "x1": 100, "y1": 200}


def part(kind: str, person: int | None, *box: int) -> dict[str, Any]:
    return {"kind": kind, "person": person, **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}


OWN = [part("person", 0, 0, 0, 100, 200), part("head", 0, 30, 0, 70, 40)]
OTHER = [part("person", 1, 60, 20, 180, 200), part("head", 1, 90, 20, 130, 60)]


def painted(boxes: list[dict[str, Any]], size: tuple[int, int] = (100, 200)) -> np.ndarray:
    """[height, width], true where a box lies."""
    field = np.zeros(size[::-1], dtype=bool)
    for row in boxes:
        x0, y0, x1, y1 = row["box"]
        field[y0:y1, x0:x1] = True
    return field


@pytest.mark.parametrize("hole", [(2, 2, 5, 5), (-5, 3, 20, 6), (0, 0, 10, 10), (8, 8, 12, 12), (20, 20, 30, 30)])
def test_what_lies_outside_a_box(hole: tuple[int, int, int, int]) -> None:
    field = np.ones((10, 10), dtype=int)
    field[max(hole[1], 0) : max(hole[3], 0), max(hole[0], 0) : max(hole[2], 0)] = 0
    pieces = np.zeros((10, 10), dtype=int)
    for x0, y0, x1, y1 in outside((0, 0, 10, 10), hole):
        pieces[y0:y1, x0:x1] += 1
    assert (pieces == field).all()
    assert sum(map(area, outside((0, 0, 10, 10), hole))) == field.sum()


def test_other_people_in_a_crop() -> None:
    masked = painted(other_people(VIEW, OWN + OTHER))
    assert masked[100, 80]
    assert masked[30, 95], "the other's head"
    assert not masked[100, 30]
    assert not masked[30, 65], "the character's own head lies in front of the other's box"
    assert {row["kind"] for row in other_people(VIEW, OWN + OTHER)} == {"person", "head"}


def test_whom_nothing_is_masked_for() -> None:
    assert other_people(VIEW, OWN) == []
    assert other_people({**VIEW, "kind": "picture", "person": None}, OWN + OTHER) == [], "one person only"
    assert other_people(VIEW, [*OWN, OTHER[0]]) == [], "a second box without a head is the same person again"
    far = [part("person", 1, 300, 0, 400, 200), part("head", 1, 320, 0, 360, 40)]
    assert other_people(VIEW, OWN + far) == []


def test_a_view_that_would_be_gone_keeps_all_but_heads() -> None:
    hug = [part("person", 1, 0, 10, 100, 200), part("head", 1, 70, 10, 100, 40)]
    assert [row["kind"] for row in other_people(VIEW, OWN + hug)] == ["head"]
    assert [row["box"] for row in other_people(VIEW, OWN + hug)] == [[70, 10, 100, 40]]
    lone = [part("head", None, 0, 150, 20, 170)]
    assert [row["box"] for row in other_people(VIEW, OWN + lone)] == [[0, 150, 20, 170]]


def test_boxes_in_the_stored_picture() -> None:
    view = {"x0": 10, "y0": 20, "x1": 110, "y1": 220}
    rows = in_stored([{"kind": "head", "box": [11, 20, 60, 219]}], view, (50, 100))
    assert rows == [{"kind": "head", "box": [0, 0, 25, 100]}]


def test_the_dataset_carries_boxes_and_opacity(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    raw = read_table(tmp_path / "raw.parquet")
    measured = read_table(tmp_path / "measured.parquet")
    person = next(row for row in measured if row["kind"] == "person")
    empty = dict.fromkeys(MEASURED.names)
    person |= {"person": 0}
    parts = [part("head", 0, 20, 20, 40, 40), part("person", 1, 40, 20, 100, 110), part("head", 1, 50, 30, 80, 60)]
    for number, row in enumerate(parts):
        view = {"picture": person["picture"], "view": f"{person['picture']}/{row['kind']}/{number + 1}"}
        measured.append({**empty, **row, **view})
    write_table(tmp_path / "measured.parquet", measured, MEASURED, "view")
    clear = tmp_path / "clustered.parquet"
    from charaloom.artifacts.tables import CLUSTERED

    clustered = read_table(clear)
    for row in clustered:
        row["person"] = 0 if row["kind"] == "person" else None
    write_table(clear, clustered, CLUSTERED, "view")
    rows = {row["view"]: row for row in split_rows(run(tmp_path), "train")}
    assert rows[person["view"]]["masked"][0] == {"kind": "person", "box": [30, 0, 50, 90]}
    assert [row["masked"] for view, row in rows.items() if view != person["view"]] == [[], []]
    assert all(row["opacity"] is None for row in rows.values())
    before = (tmp_path / "dataset.training.json").read_text()

    # the same pictures, one of them with transparent ground
    target = next(row for row in raw if row["picture"] == max(rows.values(), key=lambda row: row["width"])["picture"])
    with Image.open(io.BytesIO(target["bytes"])) as image:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        stream = io.BytesIO()
        image.save(stream, "PNG")
    target["bytes"] = stream.getvalue()
    write_table(tmp_path / "raw.parquet", raw, RAW, "picture")
    shown = next(row for row in split_rows(run(tmp_path), "train") if row["opacity"])
    with Image.open(io.BytesIO(shown["opacity"]["bytes"])) as grey:
        assert (grey.mode, grey.size) == ("L", (shown["width"], shown["height"]))
        assert grey.getextrema()[0] < 10
    assert shown["picture"] == target["picture"]
    assert sha256_bytes(target["bytes"]) != target["picture"]
    assert (tmp_path / "dataset.training.json").read_text() != before
