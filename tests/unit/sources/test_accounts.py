"""Accounts of the environment: whole or refused, a password exchanged for cookies, and to the site alone."""

import pytest

from charaloom.errors import CharaloomError
from tests.servers import boards
from tests.servers.boards import Reply, serving
from tests.unit.sources.test_dialects import build, by_post, origin, raw_params


def account(monkeypatch, **parts):
    for name in ("USERNAME", "API_KEY", "PASSWORD"):
        monkeypatch.delenv(f"CHARALOOM_DEMO_{name}", raising=False)
    for name, value in parts.items():
        monkeypatch.setenv(f"CHARALOOM_DEMO_{name}", value)


def test_a_password_is_exchanged_for_cookies_once(tmp_path, monkeypatch, capfd):
    account(monkeypatch, USERNAME="somebody", PASSWORD="canary&word")
    with serving(boards.Zerochan()) as board:
        rows, _ = build(tmp_path, raw_params(origin(board)))
        login, *others = board.requests
    assert len(by_post(rows)) == len(boards.ALL)
    assert (login.method, login.path, login.query["ref"], login.query["login"]) == ("POST", "/login", "/", "Login")
    lists = [entry for entry in others if "json" in entry.query]
    assert {entry.headers.get("cookie") for entry in lists} == {"z_id=77; z_hash=canaryhash"}
    assert not [entry for entry in others if entry.method == "POST"]
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "canary" not in capfd.readouterr().err


def test_a_password_that_the_site_does_not_take(tmp_path, monkeypatch):
    account(monkeypatch, USERNAME="somebody", PASSWORD="wrong")
    with serving(boards.Zerochan()) as board:
        with pytest.raises(CharaloomError, match="Check CHARALOOM_DEMO_USERNAME and CHARALOOM_DEMO_PASSWORD"):
            build(tmp_path, raw_params(origin(board)))
        board.faults = [("/login", Reply(b"", 303, headers={"Location": "http://127.0.0.2/"}, cookies=("a\tb=c",)))]
        with pytest.raises(CharaloomError, match="does not take the account"):
            build(tmp_path, raw_params(origin(board)))
        assert len(board.requests) == 2


@pytest.mark.parametrize(
    ("kind", "parts", "said"),
    [
        (boards.Danbooru, {"USERNAME": "me"}, "CHARALOOM_DEMO_USERNAME is set, but not CHARALOOM_DEMO_API_KEY"),
        (boards.Danbooru, {"API_KEY": "canary"}, "CHARALOOM_DEMO_API_KEY is set, but not CHARALOOM_DEMO_USERNAME"),
        (boards.Danbooru, {"USERNAME": "me", "PASSWORD": "canary"}, "takes no password but a key"),
        (boards.Zerochan, {"PASSWORD": "canary"}, "CHARALOOM_DEMO_PASSWORD is set, but not CHARALOOM_DEMO_USERNAME"),
    ],
)
def test_a_part_of_an_account_is_named(tmp_path, monkeypatch, kind, parts, said):
    account(monkeypatch, **parts)
    with serving(kind()) as board:
        with pytest.raises(CharaloomError, match=said) as error:
            build(tmp_path, raw_params(origin(board)))
        assert not board.requests
    assert "canary" not in str(error.value)


def test_a_password_is_not_sent_unencrypted(tmp_path, monkeypatch):
    account(monkeypatch, USERNAME="me", PASSWORD="canary")
    with serving(boards.Zerochan()) as board, pytest.raises(CharaloomError, match="not encrypted"):
        build(tmp_path, raw_params(origin(board, root="http://board.example")))
