"""The curves of a training: TensorBoard's files and the table."""

from pathlib import Path

import pytest

from charaloom.training.curves import EVENTS, LEFT, STEPS, TABLE, Curves, read_rows


def write_curves(folder: Path, steps: range, resumed: int) -> None:
    curves = Curves(str(folder), ["rate_unet"], resumed)
    for step in steps:
        curves.add(step, 10, {"loss": 1 / step, "images per second": 30.0}, [1e-4])
    curves.close()


@pytest.mark.slow
def test_what_comes_after_the_state_is_forgotten(tmp_path: Path) -> None:
    write_curves(tmp_path, range(1, 7), resumed=0)
    write_curves(tmp_path, range(5, 11), resumed=4)
    rows = read_rows(tmp_path / TABLE)
    assert [row["step"] for row in rows] == list(range(1, 11))
    curves = {"loss": 0.1, "images per second": 30.0, "learning rate, unet": 1e-4}
    assert rows[-1] == {"step": 10, STEPS: 10, LEFT: 0, **curves}
    assert len(list((tmp_path / EVENTS).iterdir())) == 2
    write_curves(tmp_path, range(1, 3), resumed=0)
    assert len(read_rows(tmp_path / TABLE)) == 2
