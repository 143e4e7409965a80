"""Whatever a person writes into a config file is taken, or answered by one line that names the file: no traceback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from charaloom.config.layers import DEFAULTS
from charaloom.config.project import load_project
from charaloom.config.schemas import PER_CHARACTER, read_yaml
from charaloom.config.stage_params import stage_params
from charaloom.config.stages import STAGES
from charaloom.errors import CharaloomError
from tests.small_bases import write_base

MORE = Path("more.yaml")
OWN = Path("config/characters/hana.yaml")
MANY = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,  # the same examples everywhere: CI finds what a person finds
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example writes its files anew
)


def paths(content: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key path of a mapping."""
    for key, value in content.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


KEYS = sorted(paths(read_yaml(DEFAULTS)))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary()
WORDS = st.sampled_from(["folder", "sd15", "tiny", "general", "~", "/", "../x", "${HOME}", "{character}", "a\nb"])
NAMES = SCALARS.filter(lambda name: not isinstance(name, str)) | st.text(st.characters(exclude_categories=["C", "Z"]))
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose project is in order."""
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures", "config/characters"):
        (tmp_path / folder).mkdir(parents=True)
    write_base(tmp_path / "base")
    Path("config/characters.tsv").write_text("character\tsource\tquery\nhana\tfolder\tpictures\n")
    base = {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}
    own = {"bases": {"tiny": base}, "training": {"base": "tiny"}, "previews": {"bases": ["tiny"]}}
    Path("config/config.yaml").write_text(yaml.safe_dump(own))
    load_project()
    return tmp_path


def nested(key: tuple[str, ...], value: Any) -> Any:
    for part in reversed(key):
        value = {part: value}
    return value


def taken_or_told(file: Path, key: tuple[str, ...] = ()) -> None:
    """The project loads and every stage has its params, or one line names the file, or the key that names another."""
    try:
        project = load_project([MORE] if file == MORE else [])
        for stage in STAGES:
            stage_params(project, "hana", stage)
    except CharaloomError as problem:
        message = str(problem)
        assert len(message.splitlines()) == 1, message
        assert any(name in message for name in (file.name, *key)), message
    finally:
        file.unlink()


@MANY
@given(key=st.sampled_from(KEYS), value=VALUES)
@example(key=("raw", "limit"), value=float("nan"))
@example(key=("training", "steps"), value=10**400)
def test_any_value_of_any_key(place: Path, key: tuple[str, ...], value: Any) -> None:
    MORE.write_text(yaml.safe_dump(nested(key, value), allow_unicode=True), encoding="utf-8")
    taken_or_told(MORE, key)


@MANY
@given(key=st.sampled_from([key for key in KEYS if key[0] in PER_CHARACTER]), value=VALUES)
def test_any_value_in_a_characters_own_file(place: Path, key: tuple[str, ...], value: Any) -> None:
    OWN.write_text(yaml.safe_dump(nested(key, value), allow_unicode=True), encoding="utf-8")
    taken_or_told(OWN, key)


@MANY
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(content=b"? [1]\n: 2")
@example(content=b"raw: {limit: !!python/object/apply:os.getcwd []}")
def test_any_bytes_as_a_config_file(place: Path, content: bytes) -> None:
    MORE.write_bytes(content)
    taken_or_told(MORE)


def test_a_value_that_contains_itself(place: Path) -> None:
    MORE.write_text("a: &a [*a]")
    taken_or_told(MORE)


def test_a_key_of_two_lines(place: Path) -> None:
    MORE.write_text('"a\\nb": 1')
    taken_or_told(MORE)
