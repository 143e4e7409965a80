"""`charaloom civitai`: a folder of a finished model, to upload by hand."""

import sys
from pathlib import Path

from charaloom.config.project import Project
from charaloom.config.schemas import suggestion
from charaloom.errors import CharaloomError
from charaloom.pages.standing import results_of
from charaloom.publishing.cards.civitai import read_card, write_civitai


def civitai_folder(project: Project, name: str) -> Path:
    """Write `civitai/` into the character's results. Raises CharaloomError where there is no such character, or no
    model yet."""
    if name not in project.characters:
        raise CharaloomError(
            f"{name}: is not in {project.config['roster']}{suggestion(name, list(project.characters))}"
        )
    folder = results_of(project, name)
    card = read_card(name, folder)
    if card.selection["weak"]:
        print(
            f"{name}: the model is weak ({folder}/report.html says why); think twice before you upload it",
            file=sys.stderr,
        )
    return write_civitai(card, project.characters[name].age, folder / "model", folder / "civitai")
