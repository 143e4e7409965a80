"""`charaloom run` and the first stage on real pictures: what a person sees, what fails, what goes on."""

import json
import shutil

import pytest

from charaloom.artifacts.files import read_json
from charaloom.artifacts.manifest import lineage_file, read_manifest
from tests.small_results import write_curated
from tests.workflow.workplace import Workplace

pytestmark = pytest.mark.slow


def test_the_raw_stage_runs_on_real_pictures_and_then_has_nothing_to_do(project: Workplace) -> None:
    result = project.snakemake("stage_raw")
    assert result.returncode == 0, result.stdout
    for name in ("hana", "mei"):
        manifest = project.folder / f"results/{name}/raw.manifest.json"
        assert read_json(lineage_file(manifest))["character"] == name
        assert str(project.folder) not in manifest.read_text() + lineage_file(manifest).read_text()
        assert (project.folder / f"work/benchmarks/{name}/raw.jsonl").exists()
    assert project.planned("stage_raw") == {}


def test_the_curation_page_needs_the_tables_of_the_filters_and_no_more(finished: Workplace) -> None:
    folder = write_curated(finished.folder / "results/hana")
    result = finished.snakemake("results/hana/curation.html")
    assert result.returncode == 0, result.stdout
    assert "<title>hana: curation" in (folder / "curation.html").read_text()
    assert read_manifest(folder / "curation.manifest.json")["counts"]["kept"] == 2
    assert finished.planned("results/hana/curation.html") == {}


def test_a_failed_stage_is_wanted_again_and_hides_nothing(project: Workplace) -> None:
    assert project.snakemake("stage_raw").returncode == 0
    for picture in list((project.folder / "pictures/mei").iterdir())[:2]:
        picture.unlink()
    result = project.snakemake("stage_raw")
    assert result.returncode == 1
    log = (project.folder / "work/logs/mei/raw.log").read_text()
    assert log.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in log
    assert not (project.folder / "results/mei/raw.manifest.json").exists()
    assert project.planned("stage_raw")["raw"] == 1


def test_run_says_at_once_what_cannot_be_had(project: Workplace) -> None:
    """The hub is an empty folder here."""
    result = project.charaloom("run", "--cores", "2")
    assert result.returncode == 2
    assert "14 picture models (" in result.stdout
    assert "put the files there, or name a hub's address" in result.stdout
    assert "1 error: nothing was started" in result.stdout
    assert not (project.folder / "work/logs").exists()


def test_run_after_a_full_run_looks_once_and_prints_the_table(finished: Workplace) -> None:
    result = finished.charaloom("run", "--cores", "2")
    assert result.returncode == 0, result.stdout
    assert result.stdout.startswith("Nothing to be done")
    assert "hana          0     0        0  step-000100  3 of 4      results/hana/report.html" in result.stdout
    assert finished.charaloom("status").stdout.splitlines()[:-1] == result.stdout.splitlines()[-4:]


def test_one_characters_failure_is_not_the_others(finished: Workplace) -> None:
    """mei has too few pictures left; what hana has stays as it is."""
    for picture in list((finished.folder / "pictures/mei").iterdir())[:2]:
        picture.unlink()
    result = finished.charaloom("run", "--cores", "2")
    assert result.returncode == 1
    assert "Warning: pictures/mei: 2 pictures of mei, at least 3 are wanted (raw.minimum)" in result.stdout
    assert "1 of 2 characters failed:" in result.stdout
    assert "mei  raw  work/logs/mei/raw.log" in result.stdout
    stages = [line.split()[:2] for line in result.stdout.splitlines() if " total " in line]
    assert stages == [["raw", "failed"]], "a stage asks again for who failed before it"
    assert "failed in raw: mei: 2 usable pictures" in result.stdout
    assert "2 characters: 1 finished, 1 failed (raw)" in result.stdout
    assert (finished.folder / "results/hana/report.manifest.json").exists()


def test_what_snakemake_would_do_again_is_not_done_where_the_content_fits(finished: Workplace) -> None:
    """Results without Snakemake's records, as on another machine: content decides, and one setting runs one stage."""
    shutil.rmtree(finished.folder / ".snakemake")
    config = finished.folder / "config/config.yaml"
    config.write_text(json.dumps({**json.loads(config.read_text()), "raw": {"minimum": 2}}))
    result = finished.charaloom("run", "--cores", "2", "--until", "raw")
    assert result.returncode == 0, result.stdout
    assert "2 jobs for 2 characters" in result.stdout
    assert "raw           2 done" in result.stdout
    again = finished.charaloom("run", "--until", "raw")
    assert again.stdout.startswith("Nothing to be done")


def test_a_deleted_table_is_made_again_where_a_stage_needs_it(finished: Workplace) -> None:
    """A missing table is no reason to run anything; where a stage reads it, Snakemake finds who makes it."""
    for name in ("raw.parquet", "curation.html"):
        (finished.folder / "results/hana" / name).unlink()
    result = finished.charaloom("run", "--cores", "2", "--until", "curation")
    log = (finished.folder / "work/logs/run.log").read_text()
    assert "MissingInputException" in log
    assert "rule raw:" in log
    assert (finished.folder / "results/hana/raw.parquet").exists(), result.stdout
