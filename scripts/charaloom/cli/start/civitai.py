"""`charaloom civitai`: a folder of a finished model, to upload by hand."""

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
    return write_civitai(read_card(name, folder), project.characters[name].age, folder / "model", folder / "civitai")
