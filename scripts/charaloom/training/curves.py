"""The curves of a training while it runs: TensorBoard's files and a table. No artifact: clocks are in it."""

import time
from pathlib import Path

from charaloom.artifacts.files import write_text

EVENTS = "tensorboard"
TABLE = "training.tsv"
STEPS, LEFT = "steps", "seconds left"  # columns of the table that are no curves, beside `step`
TABLE_SECONDS = 5.0  # between two writings of the table; set by hand


class Curves:
    """Numbers over steps, for TensorBoard (`<folder>/tensorboard`) and in `<folder>/training.tsv`.

    After a kill it goes on behind step `resumed`; both forget what came later. `rates`: names of the learning rates.
    """

    def __init__(self, folder: str, rates: list[str], resumed: int):
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.rates = Path(folder), list(rates)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.writer = SummaryWriter(str(self.folder / EVENTS), purge_step=resumed + 1)
        self.rows = [row for row in read_rows(self.folder / TABLE) if 0 < row["step"] <= resumed]
        self.written, self.started, self.resumed = 0.0, time.monotonic(), resumed

    def add(self, step: int, steps: int, numbers: dict[str, float], rates: list[float]) -> None:
        """Numbers by their names and the learning rates of one step of `steps`."""
        names = (f"learning rate, {name.removeprefix('rate_')}" for name in self.rates)
        curves = {**numbers, **dict(zip(names, rates, strict=True))}
        for name, value in curves.items():
            self.writer.add_scalar(name, value, step)
        self.rows.append({"step": float(step), STEPS: float(steps), LEFT: self.left(step, steps), **curves})
        if step == steps or time.monotonic() - self.written > TABLE_SECONDS:
            self.write()

    def left(self, step: int, steps: int) -> float:
        """Seconds to the end at the pace since the start."""
        return (steps - step) * (time.monotonic() - self.started) / max(1, step - self.resumed)

    def write(self) -> None:
        """The table, whole."""
        if not self.rows:
            return
        names = list(self.rows[-1])
        lines = ["\t".join(names), *("\t".join(repr(row.get(name, 0.0)) for name in names) for row in self.rows)]
        write_text(self.folder / TABLE, "\n".join(lines) + "\n")
        self.written = time.monotonic()

    def close(self) -> None:
        self.write()
        self.writer.close()


def read_rows(table: Path) -> list[dict[str, float]]:
    """The rows of the table; none where there is no table yet."""
    if not table.exists():
        return []
    names, *lines = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
    return [dict(zip(names, map(float, line), strict=True)) for line in lines]
