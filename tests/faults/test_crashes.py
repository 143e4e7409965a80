"""Kills, flipped bits, clocks and poisoned characters, on whole runs of `charaloom run`."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from charaloom.artifacts.files import write_json
from charaloom.cli import run as running
from charaloom.cli.due import Due
from charaloom.config.project import Project, load_project
from charaloom.config.schemas import CODE
from tests.finished import finish, finish_models
from tests.small_bases import write_base
from tests.unit.cli.test_build import Finishing

CHARACTERS, POISONED = 100, ("c7", "c42", "c77")
YEARS = (0, 4_000_000_000)  # seconds since 1970: its first one, and one of 2096


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Characters of a board, nothing made yet but the picture models."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    write_base(tmp_path / "base")
    rows = [f"c{number}\tdanbooru\tc{number}_(x)" for number in range(CHARACTERS)]
    (tmp_path / "config/characters.tsv").write_text("\n".join(["character\tsource\tquery", *rows]) + "\n")
    tiny = {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}
    own = {"bases": {"tiny": tiny}, "training": {"base": "tiny"}, "previews": {"bases": ["tiny"]}}
    write_json(tmp_path / "config/config.yaml", own)
    loaded = load_project()
    finish_models(loaded)
    return loaded


@pytest.mark.parametrize("step", [1, 1_000_000_000])
@pytest.mark.parametrize("moment", YEARS)
def test_c11_no_clock_makes_anything_due(project: Project, moment: int, step: int) -> None:
    """Times of 1970 and of 2096, of the nanosecond, and of the whole second as Lustre has them."""
    for name in ("c0", "c1"):
        finish(project, name)
    for number, path in enumerate(sorted(Path("results").rglob("*"))):
        time = moment * 10**9 + number * 1_700_000_001 // step * step
        os.utime(path, ns=(time, time))
    assert [Due(project).of(name).now for name in ("c0", "c1")] == [(), ()]


def test_c13_poisoned_characters_hold_up_nobody(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    snakemake = Finishing(project, failing=tuple((name, "filtered") for name in POISONED))
    outcome = running.build(snakemake)  # type: ignore[arg-type]
    assert outcome.failed == dict.fromkeys(POISONED, "filtered")
    finished = [name for name in project.characters if Path("results", name, "report.manifest.json").is_file()]
    assert len(finished) == CHARACTERS - len(POISONED)
    capsys.readouterr()
    running.print_failures(outcome)
    printed = capsys.readouterr().out
    assert f"3 of {CHARACTERS} characters failed:" in printed
    assert [name for name in POISONED if f"  {name}  filtered" in printed] == list(POISONED)


def drill(name: str, *arguments: str) -> dict[str, int]:
    """The last line of a drill."""
    command = [sys.executable, "-W", "ignore", str(CODE / "tests" / "drills" / f"{name}.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{CODE / 'scripts'}:{CODE}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


SLOW = pytest.mark.skipif("CHARALOOM_FAULTS" not in os.environ, reason="takes many minutes: `make test-faults` runs it")


@SLOW
@pytest.mark.slow
def test_c1_c2_kills_anywhere_end_in_the_same_bytes() -> None:
    """The tree, Snakemake alone, the command alone, the process of a stage."""
    ended = drill("kills", "--kills", "20")
    assert ended["kills"] == 20
    assert ended["same"] == ended["runs"]


@SLOW
@pytest.mark.slow
def test_c10_a_flipped_bit_in_any_kind_of_file_is_healed() -> None:
    ended = Counter(drill("flips"))
    assert ended["flips"] > 40
    assert ended["wrong"] == 0


def test_the_drills_can_be_called() -> None:
    for name in ("kills", "flips"):
        command = [sys.executable, "-W", "ignore", str(CODE / "tests" / "drills" / f"{name}.py"), "--help"]
        assert b"--seed" in subprocess.run(command, capture_output=True, check=True).stdout
