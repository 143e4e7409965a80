"""Before anything trains: may this token publish there? Every finding has its cause and its cure."""

import time
from collections.abc import Iterator

import pytest

from charaloom.config.params import Target
from charaloom.publishing.hub.rights import Finding, check_publishing_rights
from tests.servers.repo_hub import Entry, User
from tests.servers.repo_hub_calls import Fault
from tests.servers.repo_hub_http import Server, serving
from tests.unit.publishing.hub.conftest import TOKEN


def scope(name: str, *permissions: str, kind: str = "user") -> dict:
    return {"entity": {"type": kind, "name": name}, "permissions": list(permissions)}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.hub.users = {TOKEN: User("ann", orgs={"circle": "write", "club": "read"})}
        yield server


def found(server: Server, private: bool = True, **changes: str) -> list[Finding]:
    known = {"kind": "hub", "endpoint": server.address, "namespace": "ann", "dataset": "{character}-data"}
    target = Target.of({**known, "model": "{character}", **changes})
    return check_publishing_rights("published.targets.hub", target, private, ["hana", "mei"], {"HF_TOKEN": TOKEN})


@pytest.mark.parametrize("namespace", ["ann", "Ann", "circle"])
def test_who_may_write_hears_nothing(server: Server, namespace: str) -> None:
    assert found(server, namespace=namespace) == []


@pytest.mark.parametrize(
    ("user", "namespace", "cause", "cure"),
    [
        (None, "ann", "refuses HF_TOKEN", "set it to a valid token"),
        (User("ann", role="read"), "ann", "may only read", "make one with the right to write"),
        (User("ann"), "bob", "neither the user of HF_TOKEN nor an organisation", "name one of ann"),
        (User("ann", orgs={"club": "read"}), "club", "may only read in the organisation club", "ask there"),
        (
            User("ann", role="fineGrained", scoped=[scope("ann", "repo.content.read")]),
            "ann",
            "no permission",
            "repo.write",
        ),
        (User("ann", role="fineGrained", scoped=[scope("bob", "repo.write")]), "ann", "no permission", "make one"),
    ],
    ids=["unknown", "read", "foreign", "reader", "fine-grained", "fine-grained-elsewhere"],
)
def test_h6_who_may_not_write_hears_it_before_anything_trains(
    server: Server, user: User | None, namespace: str, cause: str, cure: str
) -> None:
    server.hub.users = {TOKEN: user} if user else {}
    (finding,) = found(server, namespace=namespace)
    assert finding.certain
    assert cause in finding.text
    assert cure in finding.text
    assert TOKEN not in finding.text


def test_everything_that_is_wrong_is_told_at_once(server: Server) -> None:
    server.hub.users = {TOKEN: User("ann", role="read")}
    assert len(found(server, namespace="bob")) == 2


@pytest.mark.parametrize("scopes", [[scope("ann", "repo.write")], [scope("ann/hana", "repo.write", kind="model")]])
def test_a_fine_grained_token_with_the_permission(server: Server, scopes: list[dict]) -> None:
    server.hub.users = {TOKEN: User("ann", role="fineGrained", scoped=scopes)}
    assert found(server) == []


def test_no_token() -> None:
    target = Target(kind="hub", endpoint="https://hub.example", namespace="ann", dataset="x", model="x")
    (finding,) = check_publishing_rights("published.targets.hub", target, True, ["hana"], {})
    assert finding.certain
    assert "HF_TOKEN is not set" in finding.text


def test_a_repository_that_is_public(server: Server) -> None:
    server.hub.create(server.hub.users[TOKEN], "model", "mei", None, private=False)
    (finding,) = found(server)
    assert finding.certain
    assert "model ann/mei is public" in finding.text
    assert found(server, private=False) == []


def test_a_repository_with_files_of_somebody_else(server: Server) -> None:
    server.hub.create(server.hub.users[TOKEN], "dataset", "hana-data", None, private=True)
    repo = server.hub.repos["dataset", "ann/hana-data"]
    repo.commit("by hand", "", {**repo.head.files, "mine.txt": Entry.regular(b"mine")})
    (finding,) = found(server)
    assert "dataset ann/hana-data holds files" in finding.text
    repo.tags["v-0123456789ab"] = repo.head.oid
    assert found(server) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_does_not_answer_now_is_a_warning(server: Server, status: int) -> None:
    server.faults = [Fault(status, call="GET /api/whoami-v2")]
    (finding,) = found(server)
    assert not finding.certain
    assert f"answers {status}" in finding.text


def test_a_hub_that_is_not_there_is_a_warning(server: Server) -> None:
    (finding,) = found(server, endpoint="http://127.0.0.1:9")
    assert not finding.certain
    assert "does not answer" in finding.text


def test_a_site_that_is_no_hub_is_an_error(server: Server) -> None:
    (finding,) = found(server, endpoint=f"{server.address}/elsewhere")
    assert finding.certain
    assert "answers 404" in finding.text


def test_an_address_that_is_not_encrypted_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(kind="hub", endpoint="http://hub.invalid", namespace="ann", dataset="x", model="x")
    first, _ = check_publishing_rights("published.targets.hub", target, True, [], {"HF_TOKEN": TOKEN})
    assert "is not encrypted" in first.text
    assert not first.certain


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"name": 3}', b"<html>", b'{"name": "ann", "orgs": 7, "auth": []}'])
def test_an_answer_of_another_shape_breaks_nothing(server: Server, body: bytes) -> None:
    server.faults = [Fault(200, call="GET /api/whoami-v2", body=body)]
    started = time.monotonic()
    assert all(not finding.certain for finding in found(server))
    assert time.monotonic() - started < 2
