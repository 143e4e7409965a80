"""The page of a training: written while it runs and at its end."""

import sys
import time
from pathlib import Path

import pytest

from charaloom.artifacts.files import write_text
from charaloom.pages.training import PAGE, page, training_page, write_page
from charaloom.training.curves import LEFT, STEPS, TABLE


def report(folder: Path, step: int, steps: int) -> None:
    """The trainer's table after a step."""
    names = ["step", STEPS, LEFT, "loss", "images per second"]
    lines = [[float(k), float(steps), float(steps - k), 1 / k, 30.0] for k in range(1, step + 1)]
    write_text(folder / TABLE, "\n".join("\t".join(map(str, line)) for line in (names, *lines)) + "\n")


def test_the_page_is_written_while_the_trainer_runs_and_at_the_end(tmp_path: Path) -> None:
    with training_page(tmp_path, "red_hana", seconds=0.01):
        report(tmp_path, 3, 10)
        limit = time.monotonic() + 10
        while not (tmp_path / PAGE).exists():
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert "step 3 of 10, about 7 s left" in (tmp_path / PAGE).read_text()
        report(tmp_path, 10, 10)
    text = (tmp_path / PAGE).read_text()
    assert "<h1>Training of red hana</h1>" in text
    assert "step 10 of 10<" in text
    assert "refresh" not in text, "it is over"
    assert text.count("<svg") == 2


def test_a_training_that_fails_leaves_its_last_page(tmp_path: Path) -> None:
    def fail() -> None:
        report(tmp_path, 2, 10)
        sys.exit("the loss is nan")

    with pytest.raises(SystemExit), training_page(tmp_path, "hana"):
        fail()
    assert "step 2 of 10" in (tmp_path / PAGE).read_text()


def test_nothing_is_written_of_a_trainer_that_has_reported_nothing(tmp_path: Path) -> None:
    write_page(tmp_path, "hana")
    write_text(tmp_path / TABLE, "step\tloss\n1.0\t0.5\n")  # of a version before the page had its own columns
    write_page(tmp_path, "hana")
    assert not (tmp_path / PAGE).exists()


def test_the_page_loads_itself_anew_while_it_runs_and_escapes_names() -> None:
    rows = [{"step": step, STEPS: 4.0, LEFT: 12.3, "loss <b>": 0.0} for step in (1.0, 2.0)]
    text = page("a<b", rows)
    assert 'http-equiv="refresh"' in text
    assert "about 12 s left" in text
    assert "loss &lt;b&gt;" in text
    assert "a&lt;b" in text
    assert "nan" not in text
