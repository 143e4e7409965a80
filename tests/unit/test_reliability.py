"""docs/reliability.md and the names of the tests speak of the same faults."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTS = re.compile(r"def test_((?:[nfch]\d+_)+)")


def test_every_fault_and_every_test_of_the_table_is_there() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {fault.upper() for names in FAULTS.findall(tests) for fault in names.split("_") if fault}
    listed = set(re.findall(r"(?<!/)\b(test_[a-z0-9_*]+)(?!\.py|\w)", table))

    assert named == set(re.findall(r"\b[NFCH]\d+\b", table))
    patterns = {name: "def " + name.replace("*", "[a-z0-9_]+") + "[(]" for name in listed}
    assert [name for name, pattern in patterns.items() if not re.search(pattern, tests)] == []
