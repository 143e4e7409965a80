"""Where a character stands: which stage is next, what came out so far, what failed and why.

Read from manifests and the ends of logs alone: correct whoever ran the stages, and quick for ten thousand characters.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from charaloom.artifacts.files import read_json
from charaloom.config.project import Project
from charaloom.config.stages import STAGES
from charaloom.images.files import printable
from charaloom.runtime.job import CONTINUED, ERROR, INTERRUPTED

TAIL = 4000  # bytes of a log that are read
RAISED = re.compile(r"[A-Za-z_][\w.]*(: |$)")  # the last line of a traceback
PAGES = ("report", "curation", "outfits", "previews")  # of a character, as the status page links them
NUMBERS = ("seen", "kept", "outfits", "checkpoint", "recognised")
STATES = ("failed", "weak", "begun", "waiting", "finished")  # as a page lists them: first who needs a person

Value = TypeVar("Value")


@dataclass(frozen=True)
class Standing:
    """One character. `stage` is the first that is not finished; `why` says how it failed, if it did."""

    name: str
    numbers: dict[str, str | None] = field(default_factory=dict)  # by NUMBERS
    stage: str | None = None
    begun: bool = False
    why: str | None = None
    log: Path | None = None
    pages: tuple[str, ...] = ()  # those of PAGES that are written
    interrupted: bool = False  # by Ctrl-C
    weak: tuple[str, ...] = ()  # why a finished model is of little use
    advice: tuple[str, ...] = ()  # what to try then

    @property
    def state(self) -> str:
        if self.stage is None:
            return "weak" if self.weak else "finished"
        if self.why:
            return "failed"
        return "begun" if self.begun else "waiting"

    @property
    def rank(self) -> tuple[int, str]:
        """Sort key: the characters that need a person come first."""
        return STATES.index(self.state), self.name


class Standings:
    """Where every character of a project stands, in the roster's order; `refresh` looks at some of them again."""

    def __init__(self, project: Project):
        self.project = project
        self.by_name: dict[str, Standing] = {}
        self.refresh(project.characters)

    def refresh(self, names: Iterable[str]) -> None:
        self.by_name.update((name, standing(self.project, name)) for name in names)

    def __iter__(self) -> Iterator[Standing]:
        return iter(self.by_name.values())


def standing(project: Project, name: str) -> Standing:
    folder = results_of(project, name)
    names = names_in(folder)
    numbers = numbers_of(folder) if names else dict.fromkeys(NUMBERS)
    pages = tuple(page for page in PAGES if f"{page}.html" in names)
    stage = next((stage for stage in STAGES if not made(project, folder, names, stage)), None)
    if stage is None:
        weak, advice = readable(lambda: weakness(folder)) or ((), ())
        return Standing(name, numbers, pages=pages, weak=weak, advice=advice)
    logs = logs_of(Path(project.config["paths"]["work"]) / "logs" / name, stage)
    for log in logs:
        if why := failure(log):
            return Standing(name, numbers, stage, True, why, log, pages)
    interrupted = any(map(was_interrupted, logs))
    return Standing(name, numbers, stage, bool(logs), None, logs[0] if logs else None, pages, interrupted)


# --- stages and their logs


def results_of(project: Project, name: str) -> Path:
    return Path(project.config["paths"]["results"]) / name


def made(project: Project, folder: Path, names: Collection[str], stage: str) -> bool:
    """Whether a stage is finished; `names` are those in the character's folder."""
    if stage == "published":
        return all(
            (folder / "published" / f"{target}.json").is_file() for target in project.config["published"]["targets"]
        )
    return f"{stage}.manifest.json" in names


def names_in(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def logs_of(folder: Path, stage: str) -> list[Path]:
    return sorted(folder / name for name in names_in(folder) if name.startswith(stage) and name.endswith(".log"))


def failure(log: Path) -> str | None:
    """Why a stage failed, by the end of its log; None where it is still running, was interrupted, or was killed without
    a log entry."""
    text = tail(log)
    lines = [line for line in text.splitlines() if line.strip()]
    last = last_line(text)
    more = ""  # the last line of an error of several
    while len(lines) > 1 and lines[-1].startswith(CONTINUED.strip("\n")):
        more = more or " " + lines[-1].strip()
        lines.pop()
    if lines and lines[-1].startswith(ERROR):
        return printable(lines[-1].removeprefix(ERROR) + more)
    raised = "Traceback (most recent call last)" in text and RAISED.match(last)
    return printable(last) if raised and not last.startswith("KeyboardInterrupt") else None


def was_interrupted(log: Path) -> bool:
    """Whether Ctrl-C ended a stage, by the end of its log."""
    return last_line(tail(log)).startswith((INTERRUPTED, "KeyboardInterrupt"))


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def tail(log: Path) -> str:
    """The last TAIL bytes of a text file; empty where it cannot be read."""
    try:
        with log.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - TAIL))
            return handle.read().decode("utf-8", "replace")
    except OSError:
        return ""


# --- numbers


def numbers_of(folder: Path) -> dict[str, str | None]:
    """What came out so far, from manifests; None where an artifact does not exist yet."""
    checkpoint, recognised = readable(lambda: chosen(folder)) or (None, None)
    return {
        "seen": readable(lambda: count(folder, "raw", "rows")),
        "kept": readable(lambda: count(folder, "filtered", "kept")),
        "outfits": readable(lambda: count(folder, "clustered", "trained")),
        "checkpoint": checkpoint,
        "recognised": recognised,
    }


def count(folder: Path, stage: str, name: str) -> str:
    """Seen are posts or files, kept are views, outfits are those that are trained."""
    return str(read_json(folder / f"{stage}.manifest.json")["counts"][name])


def chosen(folder: Path) -> tuple[str, str]:
    """The selected checkpoint, and in how many of its previews on the training base the character is recognised."""
    selection = read_json(folder / "selection.json")
    numbers = next(entry for entry in selection["checkpoints"] if entry["checkpoint"] == selection["chosen"])
    return selection["chosen"], f"{numbers['recognised']} of {numbers['asked']}"


def weakness(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why a model is weak, and what to try; empty where it is not."""
    weak = read_json(folder / "selection.json")["weak"]
    return (tuple(weak["why"]), tuple(weak["advice"])) if weak else ((), ())


def readable(read: Callable[[], Value]) -> Value | None:
    """What `read` returns, or None where the artifact is absent or broken."""
    try:
        return read()
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
