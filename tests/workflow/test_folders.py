"""Folders and config files of odd things through `charaloom run` up to `clustered`: a small part of the drill."""

from contextlib import chdir
from pathlib import Path

import pytest

from tests.random_folders import UNTIL, ending, people, refused_at_the_start, write_people, write_project
from tests.workflow.workplace import Workplace

pytestmark = pytest.mark.slow
CHARACTERS = 9  # some forty odd things
SEED = 16


def test_random_folders_end_as_built_or_refused(tmp_path: Path) -> None:
    write_project(tmp_path)
    by_name = write_people(tmp_path, people(CHARACTERS, SEED))
    with chdir(tmp_path):
        refused_at_the_start(tmp_path, list(by_name))
    result = Workplace(tmp_path).charaloom("run", "--cores", "2", "--until", UNTIL)
    with chdir(tmp_path):
        endings = {name: ending(tmp_path, name, result.stdout) for name in by_name}
    assert {name: why for name, why in endings.items() if why[0] == "wrong"} == {}
    assert sum(how == "built" for how, _ in endings.values()) > CHARACTERS / 2
    assert sum(len(person.odd) for person in by_name.values()) >= 40
