"""F10: configs and rosters from somewhere: nothing in them runs, and every problem names the file and the place."""

import os
from pathlib import Path

import pytest

from charaloom.artifacts.files import write_json
from charaloom.config.project import load_project
from charaloom.config.roster import check_row, read_roster, roster_checks
from charaloom.config.schemas import read_yaml
from charaloom.errors import CharaloomError
from tests.small_bases import write_base

RUNS = "touch canary"
YAML = {  # a config, and what the error says
    f"a: !!python/object/apply:os.system ['{RUNS}']": "could not determine a constructor",
    "a: !!python/name:os.system": "could not determine a constructor",
    "a: !!python/module:os": "could not determine a constructor",
    "a: !include /etc/passwd": "could not determine a constructor",
    "a: &a [*a]": "contains itself",
    "training: {rate_unet: .nan}": "line 1: `.nan` is not a finite number",
    "training: {rate_unet: .inf}": "line 1: `.inf` is not a finite number",
    "a: 1\na: 2": "line 2: `a` is there twice",
    "a: [1, 2": "is no valid YAML",
    "a: \x00": "is no valid YAML",
}
CONFIGS = [  # keys of a config, and what the error says
    ({"training": {"steps": 10**9}}, "training.steps"),
    ({"training": {"steps": "1e9"}}, "training.steps"),
    ({"training": {"steps": -1}}, "training.steps"),
    ({"training": {"batch": 10**9}}, "training.batch"),
    ({"training": {"rate_unet": "1e999"}}, "training.rate_unet"),
    ({"training": {"rate_unet": 2}}, "training.rate_unet"),
    ({"training": {"stepz": 3}}, "training.stepz"),
    ({"training": {"steps": [3]}}, "training.steps"),
    ({"training": {"steps": None}}, "training.steps"),
    ({"boards": {"danbooru": {"root": "file:///etc"}}}, "boards.danbooru.root"),
    ({"boards": {"danbooru": {"root": "http://me:PW@board.example"}}}, "boards.danbooru"),
    ({"models": {"hub": "https://me:PW@hub.example"}}, "models.hub"),
]
TRIGGERS = [
    "nul\x00",
    "two\u2028lines",
    "hidden\u200bspace",
    "turned\u202earound",
    "\x1b[31mred",
    "a,b",
    "(a:1.5)",
    "<lora:x:1>",
]
NAMES = [
    "a;touch canary",
    "$(touch canary)",
    "`touch canary`",
    "../hana",
    "{{ 7*7 }}",
    "{0.__class__}",
    "a b",
    "-rf",
    "ä",
    "",
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base")
    (tmp_path / "config").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "config/characters.tsv").write_text("character\tsource\tquery\nhana\tfolder\tpictures\n")
    return tmp_path


@pytest.mark.parametrize("text", YAML)
def test_f10_yaml_that_would_run_or_lie_is_refused(place: Path, text: str) -> None:
    (place / "config/config.yaml").write_text(text + "\n")
    with pytest.raises(CharaloomError, match=r"config\.yaml: ") as raised:
        read_yaml(place / "config/config.yaml")
    assert YAML[text] in str(raised.value)
    assert not list(place.glob("canary"))


@pytest.mark.parametrize(("keys", "said"), CONFIGS)
def test_f10_a_key_or_value_that_is_none_is_named(place: Path, keys: dict[str, object], said: str) -> None:
    base = {"bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}}}
    own = {"training": {"base": "tiny"}, "previews": {"bases": ["tiny"]}}
    config = {**base, **own}
    for section, values in keys.items():
        config[section] = {**config.get(section, {}), **values}  # type: ignore[dict-item]
    write_json(place / "config/config.yaml", config)
    with pytest.raises(CharaloomError) as raised:
        load_project()
    assert said in str(raised.value)
    assert "PW" not in str(raised.value)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_f10_a_trigger_is_words_that_can_be_seen(place: Path, trigger: str) -> None:
    row = {"character": "hana", "source": "folder", "query": "pictures", "trigger": trigger, "age": ""}
    with pytest.raises(CharaloomError, match="line 2: trigger: "):
        check_row(row, "x.tsv: line 2", {})


@pytest.mark.parametrize("name", NAMES)
def test_f10_a_name_is_never_code(place: Path, name: str) -> None:
    roster = place / "config/characters.tsv"
    roster.write_text(f"character\tsource\tquery\n{name}\tfolder\tpictures\n")
    assert list(read_roster(roster)) == [name]
    checks = list(roster_checks(roster, {}))
    with pytest.raises(CharaloomError, match=r"characters\.tsv: line 2: character: "):
        [each() for each in checks]
    assert sorted(os.listdir(place)) == ["base", "config", "pictures"]
