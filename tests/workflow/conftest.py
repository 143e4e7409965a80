"""A small project of two characters on the real Snakefile, and one of it where every stage counts as finished."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from charaloom.artifacts.files import write_json
from charaloom.cli.due import artifacts_of
from charaloom.config.project import load_project
from tests.finished import trace, trace_models
from tests.small_bases import write_base
from tests.workflow.workplace import Workplace


def make_project(folder: Path) -> Workplace:
    """Two characters with folders of drawn pictures; a base model that is only named, since nothing here trains."""
    from PIL import Image, ImageDraw

    for name, colour in (("hana", 40), ("mei", 160)):
        pictures = folder / "pictures" / name
        pictures.mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (96, 128), (colour, 20 * number, 90))
            ImageDraw.Draw(image).ellipse((10, 10, 60 + 5 * number, 90), fill=(220, colour, 30 * number))
            image.save(pictures / f"{number}.png")
    write_base(folder / "base")
    (folder / "config").mkdir()
    (folder / "models").mkdir()
    (folder / "config/characters.tsv").write_text(
        "character\tsource\tquery\nhana\tfolder\tpictures/hana\nmei\tfolder\tpictures/mei\n"
    )
    write_json(
        folder / "config/config.yaml",
        {
            "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
            "models": {"hub": "models"},
            "previews": {"bases": ["tiny"]},
            "raw": {"minimum": 3},
            "training": {"base": "tiny"},
        },
    )
    return Workplace(folder)


def make_readable(folder: Path) -> None:
    """The few artifacts that the table of `charaloom status` reads."""
    for stage, counts in {"raw": {"rows": 0}, "filtered": {"kept": 0}, "clustered": {"trained": 0}}.items():
        write_json(folder / f"{stage}.manifest.json", {"counts": counts})
    numbers = {"checkpoint": "step-000100", "recognised": 3, "asked": 4}
    write_json(folder / "selection.json", {"base": "tiny", "chosen": "step-000100", "checkpoints": [numbers]})


def trace_everything(folder: Path) -> None:
    """The lineages that `charaloom run` compares."""
    with chdir(folder):
        project = load_project()
        trace_models(project)
        for name in project.characters:
            for artifact in artifacts_of(project):
                trace(project, name, artifact)


@pytest.fixture
def project(tmp_path: Path) -> Workplace:
    """Nothing done yet."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every output written by hand and marked as made, by Snakemake's own --touch: planning needs no more."""
    place = make_project(tmp_path_factory.mktemp("finished") / "project")
    summary = place.snakemake("--summary")
    assert summary.returncode == 0, summary.stdout
    outputs = [line.split("\t")[0] for line in summary.stdout.splitlines() if line.startswith(("results/", "work/"))]
    for output in outputs:
        file = place.folder / output
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"made": output}) if file.suffix == ".json" else f"{output}\n")
    for character in ("hana", "mei"):
        make_readable(place.folder / "results" / character)
    trace_everything(place.folder)
    touched = place.snakemake("--touch", "--forceall")
    assert touched.returncode == 0, touched.stdout
    return place.folder


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Workplace:
    shutil.copytree(finished_once, tmp_path / "project")
    return Workplace(tmp_path / "project")
