"""The stage `published` with a hub as target, in the process that it runs in: from two folders to two repositories."""

import os
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from charaloom.artifacts.files import canonical_json, read_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.config.params import Published, Target
from charaloom.errors import CharaloomError
from charaloom.publishing.published import publish
from tests.servers.repo_hub import User
from tests.servers.repo_hub_calls import Fault
from tests.servers.repo_hub_http import Server, serving
from tests.unit.publishing.hub.conftest import TOKEN, fill_results, noise

CHARACTER = "hana"
SECONDS = 5.0  # of work that a publish of what is there already may take, also on a busy machine


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of other stages
    with serving(xet=tmp_path / "xet" if getattr(request, "param", "xet") == "xet" else None) as server:
        server.hub.users = {TOKEN: User("ann")}
        yield server


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / CHARACTER
    fill_results(folder)
    return folder


def published(results: Path, server: Server, **changes: object) -> dict:
    own = {"kind": "hub", "endpoint": server.address, "namespace": "ann", "dataset": "{character}-pictures"}
    receipt = results / "published" / "hub.json"
    publish(
        character=CHARACTER,
        params=Published(
            version=1, private=True, weak=False, target=Target(**{**own, "model": "{character}", **changes})
        ),
        dataset=results / "dataset",
        dataset_manifest=results / "dataset.manifest.json",
        model=results / "model",
        model_manifest=results / "model.manifest.json",
        receipt=receipt,
    )
    return read_json(receipt)


@pytest.mark.parametrize("server", ["lfs", "xet"], indirect=True)
def test_h4_both_repositories_arrive_in_two_commits_and_a_second_run_makes_none(results: Path, server: Server) -> None:
    receipt = published(results, server)
    for kind, name in (("dataset", "ann/hana-pictures"), ("model", "ann/hana")):
        repo = server.hub.repos[kind, name]
        assert receipt[kind]["repo"] == name
        assert repo.tags == {receipt[kind]["tag"]: repo.head.oid}
        assert server.hub.files(kind, name) == {path: own["sha256"] for path, own in receipt[kind]["files"].items()}
        assert repo.private
    commits = server.counted("POST .*/commit/.*")
    assert commits == 2
    started = getrusage(RUSAGE_CHILDREN)
    assert published(results, server) == receipt
    ended = getrusage(RUSAGE_CHILDREN)
    assert ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime < SECONDS
    assert server.counted("POST .*/commit/.*") == commits
    secrets = canonical_json(receipt) + (results / "published" / "hub.lineage.json").read_text()
    assert TOKEN not in secrets


def test_a_receipt_holds_nothing_of_the_place_and_of_the_hubs_clock(results: Path, server: Server) -> None:
    first = published(results, server)
    with serving(xet=server.hub.xet) as other:
        other.hub.users = server.hub.users
        other.hub.create(other.hub.users[TOKEN], "model", "hana", None, private=True)
        repo = other.hub.repos["model", "ann/hana"]
        repo.commit("Publish v-0", "", repo.head.files)
        assert published(results, other) == first
    assert server.hub.repos["model", "ann/hana"].head.oid != repo.head.oid


def test_only_the_model_changes(results: Path, server: Server) -> None:
    published(results, server)
    (results / "model" / "hana.safetensors").write_bytes(noise(50_000, "other"))
    facts = lineage("model", CHARACTER, {"version": 1}, ())
    write_manifest(results / "model.manifest.json", facts, {"model": results / "model"}, {"weak": False})
    published(results, server)
    assert len(server.hub.repos["dataset", "ann/hana-pictures"].history()) == 2
    assert len(server.hub.repos["model", "ann/hana"].history()) == 3


def test_h5_the_error_is_the_hubs_and_nothing_of_the_token_is_told(
    results: Path, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    server.hub.users = {TOKEN: User("ann", role="read")}
    with pytest.raises(CharaloomError, match=r"dataset ann/hana-pictures: the hub does not let this token write there"):
        published(results, server)
    assert not (results / "published" / "hub.json").exists()
    assert TOKEN not in "".join(capfd.readouterr())


def test_without_a_token_nothing_is_asked(results: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CharaloomError, match="HF_TOKEN is not set"):
        published(results, server)
    assert not server.calls


def test_a_failed_model_leaves_the_dataset_whole_and_the_next_run_ends_it(results: Path, server: Server) -> None:
    server.faults = [Fault(413, call="POST /api/models/.*/commit/.*")]
    with pytest.raises(CharaloomError, match="takes no request as large"):
        published(results, server)
    assert len(server.hub.repos["dataset", "ann/hana-pictures"].tags) == 1
    assert len(server.hub.repos["model", "ann/hana"].history()) == 1
    published(results, server)
    assert server.counted("POST .*/commit/.*") == 3
    assert len(server.hub.repos["model", "ann/hana"].history()) == 2


def test_the_environment_of_the_run_stays_as_it_is(results: Path, server: Server) -> None:
    before = dict(os.environ)
    published(results, server)
    assert dict(os.environ) == before
