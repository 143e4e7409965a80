"""Status page: failures first, then every character, with links to their pages and logs."""

import os
from collections import Counter
from pathlib import Path

from charaloom.artifacts.files import write_text
from charaloom.artifacts.types import Row
from charaloom.config.project import Project
from charaloom.config.stages import STAGES
from charaloom.pages.render import render_page
from charaloom.pages.standing import Standing, standing

PAGES = ("report", "curation", "outfits", "previews")  # of a character, as the last column links them


def write_status_page(project: Project) -> Path:
    """Write `status.html` below the results; its path."""
    results = Path(project.config["paths"]["results"])
    standings = [standing(project, name) for name in project.characters]
    page = results / "status.html"
    write_text(page, render_page("status.html.j2", page_content(results, standings)))
    return page


def page_content(results: Path, standings: list[Standing]) -> Row:
    stages = Counter(character.stage for character in standings)
    return {
        "total": len(standings),
        "states": Counter(character.state for character in standings),
        "stages": [(stage, stages[stage]) for stage in STAGES if stages[stage]],
        "rows": [page_row(results, character) for character in sorted(standings, key=lambda each: each.rank)],
    }


def page_row(results: Path, character: Standing) -> Row:
    pages = [name for name in PAGES if (results / character.name / f"{name}.html").is_file()]
    return {
        "character": character,
        "log": os.path.relpath(character.log, results) if character.log else None,
        "pages": [(name, f"{character.name}/{name}.html") for name in pages],
    }
