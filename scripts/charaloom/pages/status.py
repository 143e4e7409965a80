"""Status page: how many stand where, and every character with links to their pages and logs.

The characters are rows of JSON, of which the page draws some hundreds: it opens as fast with ten thousand.
"""

import json
import os
from collections import Counter
from pathlib import Path

from charaloom.artifacts.files import write_text
from charaloom.artifacts.types import Row
from charaloom.config.project import Project
from charaloom.config.stages import STAGES
from charaloom.pages.render import render_page
from charaloom.pages.standing import NUMBERS, PAGES, STATES, Standing, Standings

MOST_FAILURES = 200  # in the table for browsers without scripts


def write_status_page(project: Project, standings: Standings | None = None) -> Path:
    """Write `status.html` below the results; its path."""
    results = Path(project.config["paths"]["results"])
    page = results / "status.html"
    write_text(page, render_page("status.html.j2", page_content(results, list(standings or Standings(project)))))
    return page


def page_content(results: Path, standings: list[Standing]) -> Row:
    stages = Counter(character.stage for character in standings)
    failed = [character for character in standings if character.state == "failed"]
    logs = {character.name: os.path.relpath(character.log, results) for character in standings if character.log}
    rows = [row_of(character, logs) for character in sorted(standings, key=lambda each: each.rank)]
    return {
        "total": len(standings),
        "states": Counter(character.state for character in standings),
        "stages": [(stage, stages[stage]) for stage in STAGES if stages[stage]],
        "failed": [(character, logs.get(character.name)) for character in failed[:MOST_FAILURES]],
        "more_failed": max(0, len(failed) - MOST_FAILURES),
        "data": script_json({"states": STATES, "stages": STAGES, "pages": PAGES, "rows": rows}),
    }


def row_of(character: Standing, logs: dict[str, str]) -> list[str | int | None]:
    """Name, state, stage and pages by their places in their lists, the numbers, why it failed, its log."""
    state = STATES.index(character.state)
    stage = STAGES.index(character.stage) if character.stage else -1
    pages = sum(1 << place for place, page in enumerate(PAGES) if page in character.pages)
    numbers = [character.numbers.get(name) for name in NUMBERS]
    why = character.why or "; ".join(character.weak) or None
    return [character.name, state, stage, pages, *numbers, why, logs.get(character.name)]


def script_json(value: object) -> str:
    """JSON that can stand in a script element: it ends no element and opens no comment."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
