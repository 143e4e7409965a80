"""`charaloom remove` and the run after it, on two characters of whom one is concerned."""

from pathlib import Path

import pytest

from tests.drills.removal import drill

pytestmark = pytest.mark.slow


def test_nothing_of_an_artist_is_left_and_nobody_else_is_built_again(tiny_base: Path, tmp_path: Path) -> None:
    outcome = drill(tmp_path, tiny_base, characters=2, affected=1)
    assert outcome.changed == outcome.affected, outcome.files
    assert outcome.left == []
    assert "published to folder" in outcome.said
