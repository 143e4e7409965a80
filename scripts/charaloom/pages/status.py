"""Where every character stands: which stage, what came out, what failed and why. A table in the terminal and a page.

Read from manifests and the last words of logs alone: true whoever ran the stages, and quick for a thousand.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json, write_text
from charaloom.config.project import Project
from charaloom.config.stages import STAGES

COLUMNS = ("character", "seen", "kept", "outfits", "checkpoint", "recognised", "report")
NOTHING = "–"
TAIL = 4000  # bytes of a log that are read
RAISED = re.compile(r"[A-Za-z_][\w.]*(: |$)")  # the last line of a traceback
STATES = ("failed", "begun", "waiting", "finished")
WORDS = 100  # letters of a reason in the table


@dataclass(frozen=True)
class Standing:
    """One character. `stage` is the first that is not finished; `why` says how it failed, if it did."""

    name: str
    numbers: dict[str, str] = field(default_factory=dict)  # seen, kept, outfits, checkpoint, recognised
    stage: str | None = None
    begun: bool = False
    why: str | None = None
    log: Path | None = None

    @property
    def state(self) -> str:
        if self.stage is None:
            return "finished"
        return "failed" if self.why else "begun" if self.begun else "waiting"

    @property
    def rank(self) -> tuple[int, str]:
        """Whom a page names first: who needs a person."""
        return STATES.index(self.state), self.name


def stage_outputs(project: Project, name: str, stage: str) -> list[Path]:
    """The manifest, or the receipts, that say that a stage of a character is finished."""
    folder = Path(project.config["paths"]["results"]) / name
    if stage == "published":
        return [folder / "published" / f"{target}.json" for target in project.config["published"]["targets"]]
    return [folder / f"{stage}.manifest.json"]


def finished(project: Project, name: str, stage: str) -> bool:
    return all(path.is_file() for path in stage_outputs(project, name, stage))


def standing(project: Project, name: str) -> Standing:
    numbers = numbers_of(Path(project.config["paths"]["results"]) / name)
    stage = next((stage for stage in STAGES if not finished(project, name, stage)), None)
    if stage is None:
        return Standing(name, numbers)
    logs = sorted((Path(project.config["paths"]["work"]) / "logs" / name).glob(f"{stage}*.log"))
    for log in logs:
        if why := failure(log):
            return Standing(name, numbers, stage, True, why, log)
    return Standing(name, numbers, stage, bool(logs), None, logs[0] if logs else None)


def failure(log: Path) -> str | None:
    """Why a stage failed, by the last words of its log; None where it works on, or was ended without a word."""
    text = tail(log)
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    if last.startswith("Error: "):
        return last.removeprefix("Error: ")
    return last if "Traceback (most recent call last)" in text and RAISED.match(last) else None


def tail(log: Path) -> str:
    """The end of a text file; nothing where it cannot be read."""
    try:
        with log.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - TAIL))
            return handle.read().decode("utf-8", "replace")
    except OSError:
        return ""


# --- numbers


def numbers_of(folder: Path) -> dict[str, str]:
    """What came out so far, from manifests; what does not exist yet is a dash."""
    checkpoint, recognised = maybe(lambda: chosen(folder)) or (NOTHING, NOTHING)
    return {
        "seen": shown(maybe(lambda: count(folder, "raw", "rows"))),
        "kept": shown(maybe(lambda: count(folder, "filtered", "kept"))),
        "outfits": shown(maybe(lambda: count(folder, "clustered", "trained"))),
        "checkpoint": checkpoint,
        "recognised": recognised,
    }


def count(folder: Path, stage: str, name: str) -> int:
    """Seen are posts or files, kept are views, outfits are those that are trained."""
    return read_json(folder / f"{stage}.manifest.json")["counts"][name]


def chosen(folder: Path) -> tuple[str, str]:
    """The selected checkpoint, and how many of its previews on the training base are recognised as her."""
    selection = read_json(folder / "selection.json")
    numbers = next(entry for entry in selection["checkpoints"] if entry["checkpoint"] == selection["chosen"])
    return selection["chosen"], f"{numbers['recognised']} of {numbers['asked']}"


def maybe(read: Callable[[], Any]) -> Any:
    """What is read, or None where the artifact is not there, or is none."""
    try:
        return read()
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def shown(value: Any) -> str:
    return NOTHING if value is None else str(value)


# --- the table


def status_table(project: Project) -> str:
    """One row per character, and in one line how many there are of each kind."""
    standings = [standing(project, name) for name in project.characters]
    return table([row_of(project, one) for one in standings], COLUMNS) + "\n" + totals(standings)


def row_of(project: Project, one: Standing) -> dict[str, str]:
    report = str(Path(project.config["paths"]["results"]) / one.name / "report.html")
    words = {
        "finished": report,
        "failed": shortened(f"failed in {one.stage}: {one.why}"),
        "begun": f"not finished: {one.stage} is at work, or was stopped",
        "waiting": f"not finished: {one.stage} is next",
    }
    return {"character": one.name, **one.numbers, "report": words[one.state]}


def shortened(text: str) -> str:
    return text if len(text) <= WORDS else text[: WORDS - 1] + "…"


def totals(standings: list[Standing]) -> str:
    """`3 characters: 1 finished, 1 failed (raw), 1 begun`."""
    states = Counter(one.state for one in standings)
    stages = Counter(one.stage for one in standings if one.state == "failed")
    where = ", ".join(f"{stage} {number}" if number > 1 else str(stage) for stage, number in stages.most_common())
    words = [
        f"{states[state]} {state}" + (f" ({where})" if state == "failed" else "")
        for state in ("finished", "failed", "begun", "waiting")
        if states[state]
    ]
    return f"{len(standings)} character{'s' if len(standings) > 1 else ''}: " + ", ".join(words)


def table(rows: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    """Rows as aligned text under a header; numbers to the right."""
    cells = [list(columns), *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    right = [all(is_number(line[index]) for line in cells[1:]) for index in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def is_number(text: str) -> bool:
    return text == NOTHING or text.replace(".", "", 1).isdigit()


# --- the page


def write_status_page(project: Project) -> Path:
    """`status.html` below the results: failures first, then everybody, with links to their pages and logs."""
    from charaloom.pages.render import render_page

    results = Path(project.config["paths"]["results"])
    standings = [standing(project, name) for name in project.characters]
    page = results / "status.html"
    write_text(page, render_page("status.html.j2", page_content(results, standings)))
    return page


def page_content(results: Path, standings: list[Standing]) -> dict[str, Any]:
    steps = Counter(one.stage for one in standings)
    return {
        "total": len(standings),
        "states": Counter(one.state for one in standings),
        "stages": [(stage, steps[stage]) for stage in STAGES if steps[stage]],
        "rows": [page_row(results, one) for one in sorted(standings, key=lambda one: one.rank)],
    }


def page_row(results: Path, one: Standing) -> dict[str, Any]:
    pages = [name for name in ("report", "curation", "outfits") if (results / one.name / f"{name}.html").is_file()]
    log = os.path.relpath(one.log, results) if one.log else None
    return {"one": one, "log": log, "pages": [(name, f"{one.name}/{name}.html") for name in pages]}
