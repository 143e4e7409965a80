"""`charaloom open`: the page that shows most, in the browser."""

import os
import sys
import webbrowser
from pathlib import Path

from charaloom.config.project import Project
from charaloom.config.schemas import suggestion
from charaloom.errors import CharaloomError
from charaloom.pages.standing import PAGES, Standings, results_of
from charaloom.pages.status import write_status_page

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # variables that tell of a screen, or of a browser


def open_page(project: Project, character: str | None) -> Path:
    """Open a character's page, the report if there is one; of several characters, the table of all. Returns its path.

    Without a screen nothing is opened. Raises CharaloomError where there is no such character, or no page yet.
    """
    page = page_of(project, character)
    if sys.platform == "darwin" or any(os.environ.get(name) for name in SCREENS):
        webbrowser.open(page.absolute().as_uri())
    return page


def page_of(project: Project, character: str | None) -> Path:
    names = list(project.characters)
    if character is None and len(names) > 1:
        return Path(write_status_page(project, Standings(project)))
    name = character or names[0]
    if name not in project.characters:
        raise CharaloomError(f"{name}: is not in {project.config['roster']}{suggestion(name, names)}")
    pages = [results_of(project, name) / f"{page}.html" for page in (PAGES[0], *reversed(PAGES[1:]))]
    shown = next((page for page in pages if page.is_file()), None)
    if shown is None:
        raise CharaloomError(f"{name}: has no page yet; `charaloom run {name}` makes the first one, curation.html")
    return shown
