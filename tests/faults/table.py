"""make test-faults: run the tests of every row of the list of faults, and write the table of docs/reliability.md.

    make test-faults                     all rows, hours; `CHARALOOM_FAULTS` lets the long ones run
    make test-faults ARGS="C10 F12"      some rows
    python -m tests.faults.table         only write the table, with the results of the last run

The rows of the page say what Charaloom does and name their tests; a test also belongs to the rows that its name begins
with (`test_c1_c2_…`). What the list asks for stands here. Results are kept in `tests/faults/results.json`.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "reliability.md", Path(__file__).parent / "results.json"
BEGIN, END = "<!-- the list, by `python -m tests.faults.table` -->", "<!-- the end of the list -->"
ROW = re.compile(r"^\| (?P<id>[NFCH]\d+) \| .* \| (?P<tests>[^|]*) \|$", re.MULTILINE)
DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
LIST = {  # what each row asks for
    "N1": "no request before the time is over, 100 % of cases",
    "N2": "at most 8 requests, no picture lost",
    "N3": "50 of 50 with the same SHA-256",
    "N4": "0 of 100 files spliced",
    "N5": "100 %",
    "N6": "under 200 MB more memory, one cap downloaded",
    "N7": "at most 60 s",
    "N8": "0 connections inside, at least 30 ways",
    "N9": "0 of 1,000",
    "N10": "0 leaks in 20 cases",
    "N11": "at most 5 hops",
    "N12": "100 %",
    "N13": "100 %, 0 requests for pictures",
    "N14": "0 of 10,000 lost or doubled",
    "N15": "the same set for 20 seeds of 20",
    "F1": "0 of 300 accepted",
    "F2": "0 crashes, at most 5 s and 1 GB each",
    "F3": "golden pixels, 100 %",
    "F4": "under 50 MB more memory",
    "F5": "0 decoded",
    "F6": "0 files outside, 60 names, 10,000 by chance",
    "F7": "0 escapes of 25",
    "F8": "0 executions of 15",
    "F9": "100 % refused by name",
    "F10": "100 % named, nothing executed",
    "F11": "0 executed in a browser, 0 live in a prompt",
    "F12": "100 % refused at load",
    "C1": "200 of 200 kills end in the same bytes",
    "C2": "0 writes of orphans, the same command goes on",
    "C3": "the old or the new, at every step",
    "C4": "the same SHA-256",
    "C5": "20 of 20 end with an error and go on",
    "C6": "every write under its final name",
    "C7": "0 of 100 pairs both run",
    "C8": "stops with advice",
    "C9": "found within one step",
    "C10": "100 % found and made again",
    "C11": "0 wrong decisions",
    "C12": "100 % go on",
    "C13": "all others finish, the failed ones are listed",
    "H1": "20 of 20",
    "H2": "0 of 50 commits lost",
    "H3": "no double",
    "H4": "at most 3 commits for a character",
    "H5": "0 hits of canaries",
    "H6": "stopped within 5 s",
    "H7": "0 of 200 published",
    "H8": "0 calls of the network",
    "H9": "100 % refused",
}


def nodes_by_row(page: str) -> dict[str, list[str]]:
    """Node ids of the tests of each row of the list, by what the page and the names of tests say."""
    defined = {path: DEFINED.findall(path.read_text()) for path in sorted((ROOT / "tests").rglob("test_*.py"))}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path, names in defined.items():
        for name in names:
            for row in re.match(r"test_((?:[nfch]\d+_)*)", name)[1].upper().split("_"):  # type: ignore[index]
                found[row].add(f"{path.relative_to(ROOT)}::{name}")
    for match in ROW.finditer(page):
        place = Path()
        for file, _, pattern in (item.rpartition("::") for item in re.findall(r"`([^`]+)`", match["tests"])):
            if file:
                place = ROOT / (file if file.startswith("tests/") else f"tests/unit/{file}")
            wanted = re.compile(re.escape(pattern).replace(r"\*", r"\w*"))
            for name in filter(wanted.fullmatch, defined.get(place, ())):
                found[match["id"]].add(f"{place.relative_to(ROOT)}::{name}")
    return {row: sorted(found.get(row, ())) for row in LIST}


def run(nodes: list[str]) -> dict[str, str]:
    """`passed`, `failed` or `skipped` by node id, parameters taken together: the worst of them."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", f"--junit-xml={report}", *nodes]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "CHARALOOM_FAULTS": "1"})
        cases = ElementTree.parse(report).getroot().iter("testcase")
        ranks = {"skipped": 0, "passed": 1, "failed": 2}
        ends: dict[str, str] = {}
        for case in cases:
            node = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name'].partition('[')[0]}"
            kinds = {child.tag for child in case}
            end = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            ends[node] = max(end, ends.get(node, end), key=ranks.__getitem__)
    return ends


def table(page: str, results: dict[str, str]) -> str:
    """The list as Markdown: id, figure, how many tests it has, how they ended."""
    lines = ["| id | asked for | tests | last run |", "| --- | --- | --- | --- |"]
    covered = 0
    for row, nodes in nodes_by_row(page).items():
        covered += bool(nodes)
        ends = [results.get(node, "not run") for node in nodes]
        said = ", ".join(
            f"{ends.count(end)} {end}" for end in ("passed", "failed", "skipped", "not run") if end in ends
        )
        lines.append(f"| {row} | {LIST[row]} | {len(nodes) or 'none'} | {said or '–'} |")
    return "\n".join([f"{covered} of {len(LIST)} rows have tests.", "", *lines])


def written(page: str, results: dict[str, str]) -> str:
    """The page with the list between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(page, results)}\n\n{END}{after}"


def main(rows: list[str]) -> int:
    page = PAGE.read_text()
    results: dict[str, str] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = False
    if rows:
        chosen = LIST if rows == ["all"] else rows
        nodes = sorted({node for row in chosen for node in nodes_by_row(page)[row]})
        ended = run(nodes)
        results.update(ended)
        failed = "failed" in ended.values()
        known = {node for nodes in nodes_by_row(page).values() for node in nodes}
        kept = {node: end for node, end in sorted(results.items()) if node in known}
        RESULTS.write_text(json.dumps(kept, indent=2) + "\n")
    PAGE.write_text(written(page, results))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
