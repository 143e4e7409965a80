"""What Snakemake plans: the contract of the DAG, on the real Snakefile. Nothing runs here but Snakemake itself."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from charaloom.config.schemas import CODE
from charaloom.config.stages import STAGES
from tests.workflow.workplace import Workplace

AFTER_FILTERED = dict.fromkeys(STAGES[STAGES.index("filtered") :], 2)


def change(place: Workplace, path: str = "config/config.yaml", **keys: dict[str, Any]) -> None:
    """Merge keys into a config file of the project."""
    file = place.folder / path
    file.parent.mkdir(exist_ok=True)
    config = json.loads(file.read_text()) if file.exists() else {}
    for section, values in keys.items():
        config[section] = {**config.get(section, {}), **values}
    file.write_text(json.dumps(config))


def test_a_new_project_plans_every_stage_of_every_character(project: Workplace) -> None:
    assert project.planned() == {"models": 1, **dict.fromkeys(STAGES, 2)}


@pytest.mark.slow
def test_every_stage_has_a_target_of_its_own(project: Workplace) -> None:
    assert project.planned("stage_raw") == {"raw": 2, "stage_raw": 1}
    before = dict.fromkeys(("raw", "measured", "filtered"), 2)
    assert project.planned("stage_tagged") == {"models": 1, **before, "tagged": 2, "stage_tagged": 1}
    assert project.planned("stage_curation") == {"models": 1, **before, "curation": 2, "stage_curation": 1}
    assert project.planned("stage_published")["published"] == 2
    assert project.planned("stage_models") == {"models": 1, "stage_models": 1}


@pytest.mark.slow
def test_after_a_full_run_nothing_is_to_be_done(finished: Workplace) -> None:
    assert finished.planned() == {}
    assert "Nothing to be done" in finished.snakemake().stdout


def test_touching_the_code_changes_nothing(finished: Workplace) -> None:
    """A clone or a checkout gives every script a new time."""
    code = finished.folder.parent / "code"
    for part in ("Snakefile", "rules", "scripts", "config", "profiles"):
        copy = shutil.copytree if (CODE / part).is_dir() else shutil.copy2
        code.mkdir(exist_ok=True)
        copy(CODE / part, code / part)
    for file in code.rglob("*"):
        os.utime(file)
    assert finished.planned("--snakefile", str(code / "Snakefile")) == {}


def test_a_filter_threshold_crawls_and_measures_nothing(finished: Workplace) -> None:
    change(finished, filtered={"short_side": {"picture": 64}})
    assert finished.planned() == AFTER_FILTERED


def test_one_characters_own_key_concerns_her_alone(finished: Workplace) -> None:
    change(finished, "config/characters/mei.yaml", filtered={"short_side": {"picture": 64}})
    assert finished.planned() == dict.fromkeys(AFTER_FILTERED, 1)
    assert "results/hana/" not in finished.snakemake("--dry-run").stdout.replace("input:", "\n").split("rule all")[0]


@pytest.mark.slow
def test_two_values_that_swap_places_are_noticed(finished: Workplace) -> None:
    """Snakemake compares params as an unnamed set: so there is one, and it holds them by name."""
    change(finished, previews={"width": 64, "height": 128})
    finished.snakemake("--touch", "--forceall")
    change(finished, previews={"width": 128, "height": 64})
    assert finished.planned()["previews"] == 2


def test_training_keys_keep_the_dataset(finished: Workplace) -> None:
    change(finished, training={"steps": 77})
    planned = finished.planned()
    assert planned["checkpoints"] == planned["report"] == 2
    assert not {"models", "raw", "measured", "filtered", "dataset"} & set(planned)


def test_a_picture_that_comes_or_goes_is_noticed_and_a_touched_one_is_not(finished: Workplace) -> None:
    for picture in finished.folder.glob("pictures/*/*.png"):
        os.utime(picture)
    (finished.folder / "pictures/hana/Thumbs.db").write_text("x")
    assert finished.planned() == {}
    (finished.folder / "pictures/mei/0.png").unlink()
    assert finished.planned() == dict.fromkeys(STAGES, 1)


@pytest.mark.slow
def test_a_lost_artifact_is_made_again(finished: Workplace) -> None:
    shutil.rmtree(finished.folder / "results/hana/model")
    assert finished.planned() == {"model": 1, "published": 1, "report": 1}
    (finished.folder / "results/mei/curation.html").unlink()
    assert finished.planned() == {"curation": 1, "model": 1, "published": 1, "report": 1}
    shutil.rmtree(finished.folder / "results/hana/dataset")
    (finished.folder / "results/hana/previews.manifest.json").unlink()
    planned = finished.planned()
    assert planned["dataset"] == planned["previews"] == 1
    assert "clustered" not in planned


@pytest.mark.slow
def test_a_stage_that_comes_out_the_same_ends_there(finished: Workplace) -> None:
    """Stage by stage: hana was crawled again, to the same content; then to other posts, then to other pictures."""
    for name in ("raw.parquet", "raw.manifest.json", "raw.pictures.json"):
        os.utime(finished.folder / "results/hana" / name)
    assert finished.planned() == {}
    (finished.folder / "results/hana/raw.manifest.json").write_text("other posts\n")
    planned = finished.planned()
    assert "measured" not in planned
    assert planned["filtered"] == planned["tagged"] == planned["dataset"] == 1
    (finished.folder / "results/hana/raw.pictures.json").write_text("other pictures\n")
    assert finished.planned()["measured"] == 1


def test_a_new_character_concerns_nobody_else(finished: Workplace) -> None:
    shutil.copytree(finished.folder / "pictures/mei", finished.folder / "pictures/rin")
    with (finished.folder / "config/characters.tsv").open("a") as roster:
        roster.write("rin\tfolder\tpictures/rin\n")
    assert finished.planned() == dict.fromkeys(STAGES, 1)


def test_a_new_target_publishes_and_reports_only(finished: Workplace) -> None:
    change(finished, published={"targets": {"second": {"kind": "folder", "path": "second"}}})
    assert finished.planned() == {"published": 2, "report": 2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "colour=3"], "Error: --config: colour: unknown key"),
        (["--configfile", "more.yaml"], "more.yaml: filtered.short_sid: unknown key; did you mean `short_side`?"),
    ],
)
def test_an_unknown_key_is_one_line_without_a_traceback(project: Workplace, arguments: list[str], words: str) -> None:
    (project.folder.parent / "more.yaml").write_text("filtered: {short_sid: 3}\n")
    result = project.snakemake("--dry-run", *arguments)
    assert result.returncode == 1
    lines = [line for line in result.stdout.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in result.stdout


def test_paths_and_numbers_are_as_they_are_meant_in_every_job(project: Workplace) -> None:
    """Snakemake reads the config by itself: `~` stays in its paths, and `1e-4` is text."""
    config = "paths: {results: ~/out, work: ~/state}\ntraining: {rate_unet: 1e-4}\n"
    (project.folder.parent / "more.yaml").write_text(config)
    home = os.path.expanduser("~")
    planned = project.snakemake("--dry-run", "--configfile", "more.yaml").stdout
    assert f"{home}/out/hana/checkpoints.manifest.json" in planned
    assert f"{home}/state/logs/hana/raw.log" in planned
    assert "~" not in planned


def test_a_missing_roster_is_one_line(project: Workplace) -> None:
    (project.folder / "config/characters.tsv").unlink()
    result = project.snakemake("--dry-run")
    assert result.returncode == 1
    assert "Error: config/characters.tsv: the roster cannot be read" in result.stdout
    assert "Traceback" not in result.stdout


def test_an_empty_roster_plans_nothing_and_says_so(project: Workplace) -> None:
    (project.folder / "config/characters.tsv").write_text("character\tsource\tquery\n")
    result = project.snakemake("--dry-run")
    assert result.returncode == 0, result.stdout
    assert "holds no character yet" in result.stdout


def test_the_workflow_is_in_good_condition(project: Workplace) -> None:
    result = project.snakemake("--lint")
    assert result.returncode == 0, result.stdout
    assert "Congratulations" in result.stdout


@pytest.mark.parametrize("profile", ["default", "local", "demo"])
def test_profiles_are_read(project: Workplace, profile: str) -> None:
    own = str(project.folder / "config/config.yaml")
    assert project.planned("--profile", str(CODE / "profiles" / profile), "--configfile", own)["raw"] == 2


def test_one_crawler_per_board(project: Workplace) -> None:
    roster: Path = project.folder / "config/characters.tsv"
    roster.write_text("character\tsource\tquery\nhana\tdanbooru\thana_(x)\nmei\tfolder\tpictures/mei\n")
    said = project.snakemake("--dry-run", "stage_raw").stdout
    slots = {line.split("board_danbooru=")[1][0] for line in said.splitlines() if "board_danbooru=" in line}
    assert slots == {"0", "1"}
