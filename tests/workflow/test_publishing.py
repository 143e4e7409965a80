"""A hub as target, through `charaloom run` and the rule: published once, then nothing to do."""

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from charaloom.artifacts.files import read_json
from charaloom.config.project import load_project
from tests.servers.repo_hub import User
from tests.servers.repo_hub_http import Server, serving
from tests.unit.publishing.hub.conftest import TOKEN, fill_results
from tests.workflow.conftest import trace_everything
from tests.workflow.test_plan import change
from tests.workflow.workplace import Workplace

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(xet=tmp_path / "xet") as server:
        server.hub.users = {TOKEN: User("ann")}
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


@pytest.fixture
def made(finished: Workplace) -> Workplace:
    """A project in which only the publishing of two characters is to be done: to a folder, and to a hub."""
    for name in ("hana", "mei"):
        fill_results(finished.folder / "results" / name)
    change(finished, published={"targets": {"hub": {"kind": "hub", "namespace": "ann", "dataset": "{character}-data"}}})
    trace_everything_made(finished.folder)
    return finished


def trace_everything_made(folder: Path) -> None:
    """The lineages as they are when everything but the publishing to the hub is up to date."""
    with chdir(folder):
        project = load_project()
    for name in project.characters:
        (folder / "results" / name / "published" / "hub.json").write_text("{}")
    trace_everything(folder)
    for name in project.characters:
        for file in ("hub.json", "hub.lineage.json"):
            (folder / "results" / name / "published" / file).unlink()


def test_a_run_publishes_to_the_hub_once(made: Workplace, server: Server) -> None:
    result = made.charaloom("run", "--cores", "2", "--until", "published")
    assert result.returncode == 0, result.stdout
    repos = {(kind, name): len(repo.history()) for (kind, name), repo in server.hub.repos.items()}
    names = ("hana", "mei")
    assert repos == {
        **{("dataset", f"ann/{name}-data"): 2 for name in names},
        **{("model", f"ann/{name}"): 2 for name in names},
    }
    for name in names:
        receipt = read_json(made.folder / f"results/{name}/published/hub.json")
        assert server.hub.files("model", f"ann/{name}", receipt["model"]["tag"]) == {
            path: file["sha256"] for path, file in receipt["model"]["files"].items()
        }
    again = made.charaloom("run", "--cores", "2", "--until", "published")
    assert again.stdout.startswith("Nothing to be done"), again.stdout
    assert server.counted("POST .*/commit/.*") == 4
    for file in (path for path in made.folder.rglob("*") if path.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file


def test_a_changed_model_is_published_again_by_the_rule_alone(made: Workplace, server: Server) -> None:
    assert made.charaloom("run", "hana", "--cores", "2", "--until", "published").returncode == 0
    fill_results(made.folder / "results/hana", seed=1)
    result = made.snakemake("results/hana/published/hub.json", "--allowed-rules", "published")
    assert result.returncode == 0, result.stdout
    assert [len(repo.history()) for repo in server.hub.repos.values()] == [3, 3]


def test_a_hub_that_refuses_stops_the_run_before_it_starts(made: Workplace, server: Server) -> None:
    server.hub.users[TOKEN].role = "read"
    result = made.charaloom("run", "--cores", "2")
    assert result.returncode == 2
    assert "HF_TOKEN may only read" in result.stdout
    assert not server.hub.repos
