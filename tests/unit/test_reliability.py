"""docs/reliability.md and the names of the tests speak of the same faults."""

import re
from pathlib import Path

from tests.faults.table import BEGIN, nodes_by_row, written

ROOT = Path(__file__).parents[2]
CASES = {*(f"P{number}" for number in range(1, 11)), *(f"{kind}{number}" for kind in "CBK" for number in range(1, 7))}
FAULTS = re.compile(r"def test_((?:[nfch]\d+_)+)")


def test_every_fault_and_every_test_of_the_table_is_there() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text().partition("## The list")[0]
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {fault.upper() for names in FAULTS.findall(tests) for fault in names.split("_") if fault}
    listed = set(re.findall(r"(?<!/)\b(test_[A-Za-z0-9_*]+)(?!\.py|\w)", table))

    assert named == set(re.findall(r"\b[NFCH]\d+\b", table))
    patterns = {name: "def " + name.replace("*", "[A-Za-z0-9_]+") + "[(]" for name in listed}
    assert [name for name, pattern in patterns.items() if not re.search(pattern, tests)] == []


# Rows of the list about what Charaloom does not have yet: publishing to a hub.
ABSENT = set[str]()


def test_every_row_of_the_list_has_tests_but_those_about_what_is_not_there() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = nodes_by_row(page)
    assert len(rows) == 49
    assert {row for row, tests in rows.items() if not tests} <= ABSENT
    assert set(re.findall(r"^\| (\w+) \|", written(page, {}).partition(BEGIN)[2], re.MULTILINE)) == {"id", *rows}


def test_every_case_of_what_people_bring_has_a_test() -> None:
    """The ids of the table of cases, each with tests; a test whose name has an id stands in its row."""
    rows = re.findall(r"^\| case ([A-Z]\d+) .*\| (`.*`) \|$", (ROOT / "docs" / "reliability.md").read_text(), re.M)
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert {case for case, _ in rows} == CASES
    named = dict(rows)
    for case in set(re.findall(r"def test_case_([A-Z]\d+)_", tests)):
        assert f"test_case_{case}_" in named[case]
