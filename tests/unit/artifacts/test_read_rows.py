"""`read_rows`: the rows of a few keys, from the row groups that hold them and from no other."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charaloom.artifacts import tables
from charaloom.artifacts.tables import RAW, read_rows, row_groups_with, write_table

PICTURES = [f"{number:064x}" for number in range(1000)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand pictures in row groups of 16."""
    path = tmp_path_factory.mktemp("tables") / "raw.parquet"
    rows = [{"picture": name, "bytes": name.encode() * 10, "size": number} for number, name in enumerate(PICTURES)]
    write_table(path, rows, RAW, "picture", row_group_size=16)
    return path


@pytest.fixture
def groups_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups whose contents were read."""
    groups: list[int] = []

    class Counting(pq.ParquetFile):
        def iter_batches(self, *arguments: Any, row_groups: Iterable[int], **options: Any) -> Iterator[pa.RecordBatch]:
            groups.extend(row_groups)
            return super().iter_batches(*arguments, row_groups=row_groups, **options)

    monkeypatch.setattr(tables.pq, "ParquetFile", Counting)
    return groups


def test_only_the_row_groups_of_wanted_rows_are_read(table: Path, groups_read: list[int]) -> None:
    wanted = [PICTURES[999], PICTURES[20], PICTURES[21], PICTURES[500]]
    rows = list(read_rows(table, "picture", wanted, ["picture", "bytes"]))
    assert [row["picture"] for row in rows] == sorted(wanted)
    assert rows[0] == {"picture": PICTURES[20], "bytes": PICTURES[20].encode() * 10}
    assert groups_read == [1, 500 // 16, 999 // 16]
    assert pq.ParquetFile(table).metadata.num_row_groups == 63


def test_nothing_is_read_for_what_the_table_cannot_hold(table: Path, groups_read: list[int]) -> None:
    assert list(read_rows(table, "picture", [])) == []
    assert list(read_rows(table, "picture", ["missing:board:1"])) == []
    assert groups_read == []


def test_the_column_need_not_be_shown_and_all_columns_are_the_default(table: Path) -> None:
    assert list(read_rows(table, "picture", [PICTURES[7]], ["size"])) == [{"size": 7}]
    assert list(next(read_rows(table, "picture", [PICTURES[7]]))) == RAW.names


def test_row_groups_without_statistics_are_read(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"picture": PICTURES[:32]}), path, row_group_size=16, write_statistics=False)
    assert row_groups_with(pq.ParquetFile(path).metadata, "picture", [PICTURES[3]]) == [0, 1]
    assert list(read_rows(path, "picture", [PICTURES[3]])) == [{"picture": PICTURES[3]}]
