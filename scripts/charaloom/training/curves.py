"""What a training looks like while it runs: TensorBoard's files and a page of curves. No artifact: clocks are in it."""

import time
from pathlib import Path
from typing import TextIO

from charaloom.artifacts.files import write_text

EVENTS = "tensorboard"
PAGE_SECONDS = 5.0  # between two writings of the page


class Curves:
    """Numbers over steps, for TensorBoard (`<folder>/tensorboard`) and as `<folder>/training.html`.

    After a kill it goes on behind `resumed`; what came later is forgotten in both.
    """

    def __init__(self, folder: str, title: str, rates: list[str], resumed: int):
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.title, self.rates = Path(folder), title, list(rates)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.writer = SummaryWriter(str(self.folder / EVENTS), purge_step=resumed + 1)
        self.table = self.folder / "training.tsv"
        self.rows = [row for row in read_rows(self.table) if 0 < row["step"] <= resumed]
        self.steps, self.written, self.started, self.resumed = 0, 0.0, time.monotonic(), resumed
        self.handle: TextIO | None = None

    def add(self, step: int, steps: int, numbers: dict[str, float], rates: list[float]) -> None:
        names = (f"learning rate, {name.removeprefix('rate_')}" for name in self.rates)
        named = dict(zip(names, rates, strict=True))
        row = {"step": float(step), **numbers, **named}
        for name, value in row.items():
            if name != "step":
                self.writer.add_scalar(name, value, step)
        self.rows.append(row)
        self.steps = steps
        if step == steps or time.monotonic() - self.written > PAGE_SECONDS:
            self.write()

    def write(self) -> None:
        """The page and the numbers behind it, whole."""
        if not self.rows:
            return
        names = list(self.rows[-1])
        lines = ["\t".join(names), *("\t".join(repr(row.get(name, 0.0)) for name in names) for row in self.rows)]
        write_text(self.table, "\n".join(lines) + "\n")
        write_text(self.folder / PAGE, page(self.title, self.rows, self.steps, self.left()))
        self.written = time.monotonic()

    def left(self) -> float:
        """Seconds to the end at the pace since the start."""
        done = self.rows[-1]["step"] - self.resumed
        return (self.steps - self.rows[-1]["step"]) * (time.monotonic() - self.started) / max(1.0, done)

    def close(self) -> None:
        self.write()
        self.writer.close()


def read_rows(table: Path) -> list[dict[str, float]]:
    """The rows of an earlier run; none where the table is not whole."""
    if not table.exists():
        return []
    names, *lines = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
    return [dict(zip(names, map(float, line), strict=True)) for line in lines]
