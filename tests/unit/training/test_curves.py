"""The curves of a training: TensorBoard's files, the numbers, the page."""

from pathlib import Path

import pytest

from charaloom.training.curves import EVENTS, PAGE, Curves, page, read_rows


def draw(folder: Path, steps: range, resumed: int) -> Curves:
    curves = Curves(str(folder), "hana", ["rate_unet"], resumed)
    for step in steps:
        curves.add(step, 10, {"loss": 1 / step, "images per second": 30.0}, [1e-4])
    curves.close()
    return curves


@pytest.mark.slow
def test_what_comes_after_the_state_is_forgotten(tmp_path: Path) -> None:
    draw(tmp_path, range(1, 7), resumed=0)
    draw(tmp_path, range(5, 11), resumed=4)
    rows = read_rows(tmp_path / "training.tsv")
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert rows[-1] == {"step": 10, "loss": 0.1, "images per second": 30.0, "learning rate, unet": 1e-4}
    assert len(list((tmp_path / EVENTS).iterdir())) == 2
    text = (tmp_path / PAGE).read_text()
    assert "step 10 of 10" in text
    assert "refresh" not in text, "it is over"
    draw(tmp_path, range(1, 3), resumed=0)
    assert len(read_rows(tmp_path / "training.tsv")) == 2


def test_the_page_loads_itself_anew_while_it_runs_and_escapes_names() -> None:
    rows = [{"step": 1.0, "loss <b>": 0.0}, {"step": 2.0, "loss <b>": 0.0}]
    text = page("a<b", rows, 4, 12.3)
    assert 'http-equiv="refresh"' in text
    assert "about 12 s left" in text
    assert "loss &lt;b&gt;" in text
    assert "a&lt;b" in text
    assert "nan" not in text
