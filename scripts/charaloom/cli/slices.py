"""The roster in slices: the characters of whom something is due, so many at a time."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from charaloom.cli.due import Due, Plan
from charaloom.config.stages import PASSES

SLICE = 200  # characters; measured by `make bench-scale`: docs/workflow.md
SLICE_ON_CLUSTER = 1000  # so that a queue stays full while the last characters of a slice are built
FIRST_SLICE = 50  # so that the first job starts while a person still looks
SECONDS_TO_LOOK = 3.0  # at characters beyond the next slice, for the estimate; set by hand


class Queue:
    """The characters of whom something is due, in the order given. It looks no further ahead than it must."""

    def __init__(self, due: Due, names: Iterable[str]):
        self.due = due
        self.names = deque(names)  # not looked at yet
        self.waiting: dict[str, Plan] = {}  # due, and not taken yet
        self.looked = self.taken = 0
        self.jobs: Counter[str] = Counter()  # of all that were looked at, by stage

    def look(self, number: int) -> None:
        """Look at characters until `number` of them wait, and for some seconds at the others."""
        limit = time.monotonic() + SECONDS_TO_LOOK
        while self.names and (len(self.waiting) < number or time.monotonic() < limit):
            name = self.names.popleft()
            self.looked += 1
            plan = self.due.of(name)
            if plan.now:
                self.waiting[name] = plan
                self.jobs += jobs_of([plan])

    def slices(self, size: int, first: int) -> Iterator[list[str]]:
        """The names of one slice after another, the first of at most `first` characters."""
        size, following = min(size, first), size
        while True:
            self.look(size)
            names = list(self.waiting)[:size]
            if not names:
                return
            for name in names:
                del self.waiting[name]
            self.taken += len(names)
            yield names
            size = following

    @property
    def all(self) -> int:
        """Characters of whom something is due, taken or not; those that were not looked at count by proportion."""
        return round((self.taken + len(self.waiting)) * self.proportion)

    @property
    def proportion(self) -> float:
        """All characters to those that were looked at."""
        return (self.looked + len(self.names)) / self.looked if self.looked else 1.0

    def ahead(self) -> Counter[str]:
        """Jobs by stage of the characters that were not taken yet, as far as they are certain."""
        waiting = jobs_of(self.waiting.values())
        more = self.proportion - 1
        return waiting + Counter({stage: round(count * more) for stage, count in self.jobs.items()})


def jobs_of(plans: Iterable[Plan]) -> Counter[str]:
    """Jobs by stage that are certain."""
    return Counter(artifact.stage for plan in plans for artifact in (*plan.now, *plan.later))


def stages_of(jobs: Mapping[str, int]) -> list[str]:
    return [stage for stage in PASSES if jobs.get(stage)]


def targets_of(results: Path, plans: Mapping[str, Plan]) -> list[str]:
    """The files to ask Snakemake for."""
    return [str(results / name / artifact.manifest) for name, plan in plans.items() for artifact in plan.now]
