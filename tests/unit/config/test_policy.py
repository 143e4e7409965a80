"""The policy: what is never published, and that it does not change unsaid."""

from pathlib import Path

import pytest
import yaml

from charaloom.config.named_files import POLICY, read_policy
from charaloom.config.roster import Character
from charaloom.config.schemas import CODE
from charaloom.config.stage_params import blocked_of
from charaloom.errors import CharaloomError


@pytest.fixture(autouse=True)
def fresh() -> None:
    read_policy.cache_clear()


def edited(place: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """A policy in the working directory that differs from the one that comes with the code."""
    policy = yaml.safe_load((CODE / POLICY).read_text())
    (place / "config").mkdir()
    (place / POLICY).write_text(yaml.safe_dump({**policy, **changes}))
    monkeypatch.chdir(place)


def test_the_policy_as_it_comes_needs_no_reason() -> None:
    policy = read_policy()
    assert policy["reason"] is None
    assert {"swimsuit", "underwear", "nude"} <= set(policy["minors"]["blocked_tags"])
    assert policy["pictures"]["public"] is False


def test_who_changes_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(tmp_path, monkeypatch, minors={"blocked_tags": []})
    with pytest.raises(CharaloomError, match=r"config/policy\.yaml: was changed; write into `reason` why"):
        read_policy()
    (tmp_path / POLICY).unlink()
    (tmp_path / "config").rmdir()
    edited(tmp_path, monkeypatch, minors={"blocked_tags": []}, reason="drawings of statues")
    assert read_policy()["reason"] == "drawings of statues"


def test_a_key_that_is_misspelt_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(tmp_path, monkeypatch, minor={"blocked_tags": []})
    with pytest.raises(CharaloomError, match="minor"):
        read_policy()


@pytest.mark.parametrize(("age", "blocked"), [("adult", False), ("minor", True), ("unknown", True)])
def test_an_unknown_age_counts_as_a_minors(age: str, blocked: bool) -> None:
    character = Character("hana", "folder", "pictures", "hana_charaloom", age)
    assert ("blocked" in blocked_of(character)) is blocked
