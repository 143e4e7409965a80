"""The page of a training while it runs: a curve of every number its trainer reports. No artifact: clocks are in it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from string import Template
from threading import Event, Thread

from charaloom.artifacts.files import write_text
from charaloom.training.curves import EVENTS, LEFT, STEPS, TABLE, read_rows

PAGE = "training.html"
WIDTH, HEIGHT, EDGE = 560, 170, 46  # pixels of a chart, and of its left edge
PAGE_SECONDS = 5.0  # between two writings of the page; set by hand

HTML = Template("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>$refresh
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
section { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0 }
figcaption { font-weight: 600 } svg { max-width: 100% } text { font: 11px system-ui, sans-serif; fill: #666 }
progress { width: 30rem; max-width: 100% }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } text { fill: #999 } }
</style></head><body>
<h1>$title</h1>
<p><progress value="$step" max="$steps"></progress><br>step $step of $steps$left</p>
<section>
$charts
</section>
<p>The same in TensorBoard: <code>tensorboard --logdir $events</code></p>
</body></html>
""")
CHART = Template("""\
<figure><figcaption>$name: $last</figcaption>
<svg viewBox="0 0 $width $height" width="$width" height="$height" role="img" aria-label="$name over steps">
<polyline points="$points" fill="none" stroke="#3b82c4" stroke-width="1.5"/>
<text x="0" y="12">$high</text><text x="0" y="$bottom">$low</text>
<text x="$edge" y="$height">$first</text><text x="$width" y="$height" text-anchor="end">$end</text>
</svg></figure>""")


@contextmanager
def training_page(folder: Path, character: str, seconds: float = PAGE_SECONDS) -> Iterator[None]:
    """Inside, a thread renders `folder`/training.html from the trainer's table; once more at the end."""
    ended = Event()

    def render_until_ended() -> None:
        while not ended.wait(seconds):
            write_page(folder, character)

    thread = Thread(target=render_until_ended, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        write_page(folder, character)


def write_page(folder: Path, character: str) -> None:
    """Write the page whole, where the trainer has reported something; a full disk ends no training."""
    rows = read_rows(folder / TABLE)
    if rows and STEPS in rows[-1]:
        with suppress(OSError):
            write_text(folder / PAGE, page(character, rows))


def page(character: str, rows: list[dict[str, float]]) -> str:
    """One page with a curve of every number."""
    last = rows[-1]
    step, steps = int(last["step"]), int(last[STEPS])
    return HTML.substitute(
        title=f"Training of {escape(character.replace('_', ' '))}",
        refresh='<meta http-equiv="refresh" content="10">' if step < steps else "",
        step=step,
        steps=steps,
        left=f", about {last[LEFT]:.0f} s left" if step < steps else "",
        charts="\n".join(chart(name, rows, steps) for name in last if name not in ("step", STEPS, LEFT)),
        events=EVENTS,
    )


def chart(name: str, rows: list[dict[str, float]], steps: int) -> str:
    """One curve as SVG, from zero or its lowest value to its highest."""
    values = [row.get(name, 0.0) for row in rows]
    low, high = min(0.0, *values) if "loss" not in name else min(values), max(values)
    span = (high - low) or 1.0
    across = [EDGE + (WIDTH - EDGE) * row["step"] / max(1, steps) for row in rows]
    down = [4 + (HEIGHT - 24) * (1 - (value - low) / span) for value in values]
    return CHART.substitute(
        name=escape(name),
        last=f"{values[-1]:.4g}",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True)),
        high=f"{high:.3g}",
        low=f"{low:.3g}",
        first=0,
        end=steps,
        width=WIDTH,
        height=HEIGHT,
        bottom=HEIGHT - 20,
        edge=EDGE,
    )
