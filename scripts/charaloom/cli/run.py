"""`charaloom run`: everything the roster lists, in slices of characters.

What is due is decided by content (`cli.due`), Snakemake makes it. One invocation runs all that is certainly due of a
slice; then this looks again, since Snakemake has no cut-off inside an invocation: a stage that came out the same ends
there. A crawl that finds nothing new does not train again.
"""

import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from charaloom.artifacts.files import write_text
from charaloom.artifacts.sealed import DAMAGED
from charaloom.cli.check.whole import check, summary
from charaloom.cli.controller import Controller, controlling
from charaloom.cli.due import MODELS, Due, Plan
from charaloom.cli.progress import Estimate, Line, latest_line
from charaloom.cli.slices import FIRST_SLICE, SLICE, SLICE_ON_CLUSTER, Queue, stages_of, targets_of
from charaloom.cli.snakemake import Running, Snakemake, error_lines
from charaloom.cli.status import status_table, use_lines
from charaloom.cli.text import about, clock, counted, folder_line
from charaloom.cli.watch import Watch
from charaloom.config.project import Project, load_project
from charaloom.config.stages import PASSES, STAGES
from charaloom.images.files import printable
from charaloom.pages.standing import Standings, failure, results_of, tail
from charaloom.pages.status import write_status_page
from charaloom.runtime.gpus import gpus
from charaloom.training.memory import memory_report

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
MOST_FAILURES = 20  # characters whose failure is printed at the end
MISSING_INPUT = "MissingInputException"  # of Snakemake, where a file is gone that no rule of this invocation makes

Sources = Callable[[], AbstractContextManager[object]]


@dataclass
class Outcome:
    """How a run ended: the stage that each character failed in, and Snakemake's last lines where it could not go on."""

    project: Project
    failed: dict[str, str] = field(default_factory=dict)  # character: the stage it failed in
    broken: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)  # Snakemake's last ones, where a job failed
    built: list[str] = field(default_factory=list)  # characters of whom this run made something

    @property
    def code(self) -> int:
        return 1 if self.failed or self.broken else 0


def run(
    snakemake: Snakemake,
    sources: Sources = nullcontext,
    until: str | None = None,
    orphans: str = "ask",
    size: int | None = None,
    names: Sequence[str] = (),
) -> int:
    """Check everything, build it, print how it ended, return the exit code. `sources()` is open while pictures are
    fetched.

    `until` is the last stage wanted; `orphans` says what to do about jobs that a killed run left on a cluster; `size`
    is the number of characters in a slice; `names` are the characters to build, all if there are none.
    """
    try:
        checked = check(snakemake, until, names)
        project = checked.project
        if checked.findings.errors or project is None:
            print(summary(checked), file=sys.stderr)
            return checked.code
        for line in checked.reckoning.lines:
            print(line, flush=True)
        with controlling(Path(project.config["paths"]["work"]), snakemake, orphans) as controller:
            seconds = checked.reckoning.seconds
            outcome = build(snakemake, sources, until, controller, size, project, names, seconds)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.")
        return INTERRUPTED
    print()
    standings = Standings(outcome.project)
    print(status_table(outcome.project, standings))
    for line in use_lines(outcome.project, standings, outcome.built):
        print(line)
    write_status_page(outcome.project, standings)
    print_weak(outcome.project, standings)
    print_failures(outcome)
    return outcome.code


def build(
    snakemake: Snakemake,
    sources: Sources = nullcontext,
    until: str | None = None,
    controller: Controller | None = None,
    size: int | None = None,
    project: Project | None = None,
    names: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> Outcome:
    """Run what is due of the characters, slice by slice. `seconds`: of one job, by the stages that were reckoned."""
    project = project or load_project(snakemake.overlays)
    wanted = PASSES[: PASSES.index(until) + 1] if until else PASSES
    due = Due(project, [stage for stage in wanted if stage in STAGES])
    builder = Builder(snakemake, due, sources, controller, names or list(project.characters))
    builder.estimate.reckoned = dict(seconds or {})
    try:
        builder.build(size or (SLICE_ON_CLUSTER if builder.on_cluster else SLICE))
    finally:
        due.keep()
    return builder.outcome


class Builder:
    """One run: what it knows from slice to slice."""

    def __init__(
        self, snakemake: Snakemake, due: Due, sources: Sources, controller: Controller | None, names: Sequence[str]
    ):
        self.snakemake, self.due, self.sources, self.controller = snakemake, due, sources, controller
        self.names = names
        self.project = due.project
        self.outcome = Outcome(due.project)
        self.on_cluster = snakemake.on_cluster()
        self.log = due.work / "logs" / "run.log"
        self.estimate = Estimate(due.work / "benchmarks", parallel=snakemake.cores or os.cpu_count() or 1)
        self.queue = Queue(due, names)
        self.started = time.monotonic()
        self.watch = Watch(self.log) if self.on_cluster else None
        self.standings: Standings | None = None
        self.made: defaultdict[str, set[str]] = defaultdict(set)  # manifests by character, made by this run

    def build(self, size: int) -> None:
        first = size if self.on_cluster else FIRST_SLICE
        models = self.due.models_due()
        self.queue.look(min(size, first))
        if not models and not self.queue.waiting:
            print("Nothing to be done (all is up to date).")
            return
        write_text(self.log, "")
        self.announce(models)
        if models and not self.build_models():
            return
        for names in self.queue.slices(size, first):
            last = self.queue.taken
            whole = last == len(names) and not self.queue.waiting and not self.queue.names
            place = f"{last - len(names) + 1:,}–{last:,}" if len(names) > 1 else f"{last:,}"
            title = "" if whole else f"characters {place} of {self.queue.all:,}"
            self.build_slice(names, title)
            if self.outcome.broken:
                return

    def announce(self, models: bool) -> None:
        jobs = self.queue.ahead() + Counter(models=int(models))
        number, characters = self.queue.all, counted(len(self.names), "character")
        whose = characters if number == len(self.names) else f"{number:,} of {characters}"
        what = f"{counted(jobs.total(), 'job')} for {whose}" if number else "The picture models are due"
        print(f"{what}, {about(self.estimate.of(jobs))}.", end=" ")
        print(f"Snakemake's output: {self.log}", flush=True)
        fits, lines = memory_report(self.project, gpus()) if jobs["checkpoints"] and not self.on_cluster else (True, [])
        if not fits:
            print("\n".join(["Not every training fits into the GPU:", *lines]), flush=True)

    def build_models(self) -> bool:
        """Fetch the picture models, which every character needs; whether they are there."""
        display = self.display("", Counter(models=1))
        running = self.follow([str(self.due.work / MODELS)], ["models"], display)
        if running.code:
            log = self.due.work / "logs" / "models.log"
            own = log.is_file() and running.errors
            words = error_lines(list(running.tail), running.code)
            self.outcome.broken = [f"models  {log}", f"    {last_line(log)}"] if own else words
            return False
        self.due.refresh_models()
        self.queue = Queue(self.due, self.names)
        return True

    def build_slice(self, names: list[str], title: str) -> None:
        """Build the characters of a slice: what is due for certain, then what has become due by that."""
        while plans := self.plans(names):
            jobs = Counter(artifact.stage for plan in plans.values() for artifact in plan.now)
            running = self.run_plans(plans, stages_of(jobs), self.display(title, jobs))
            self.note(plans, running)
            self.print_folders(plans)
            self.write_page(names)
            if self.outcome.broken:
                return

    def print_folders(self, plans: dict[str, Plan]) -> None:
        """Say of each folder that was read what was not used of it."""
        for name, plan in plans.items():
            read = any(artifact.stage == "raw" for artifact in plan.now) and self.outcome.failed.get(name) != "raw"
            line = folder_line(self.project.characters[name], self.due.results / name) if read else None
            if line:
                print(line, flush=True)

    def plans(self, names: list[str]) -> dict[str, Plan]:
        """What is due now of the characters that have not failed."""
        left = [name for name in names if name not in self.outcome.failed]
        plans = {name: self.due.of(name, self.made[name]) for name in left}
        return {name: plan for name, plan in plans.items() if plan.now}

    def run_plans(self, plans: dict[str, Plan], stages: list[str], display: "Pass") -> Running:
        targets = targets_of(self.due.results, plans)
        with self.sources() if "raw" in stages else nullcontext():
            running = self.follow(targets, stages, display)
            if running.code and any(MISSING_INPUT in line for line in running.tail):
                running = self.follow(targets, [], display)  # a file that was deleted: Snakemake finds who makes it
        return running

    def follow(self, targets: Sequence[str], rules: Sequence[str], display: "Pass") -> Running:
        running = self.snakemake.run(targets, self.log, rules, force=True)
        if self.controller:
            self.controller.started(running.process.pid)
        display.follow(running)
        if running.code and not self.on_cluster and self.snakemake.is_locked():
            self.snakemake.unlock()  # it was killed: it was our child, and its jobs ended with it
        return running

    def display(self, title: str, jobs: Counter[str]) -> "Pass":
        return Pass(title, jobs, self.queue.ahead(), self.estimate, self.started, self.watch)

    def note(self, plans: dict[str, Plan], running: Running) -> None:
        """Note what was made and who failed. Where Snakemake failed and no character did, the failure is its own.

        A character that failed because a file was damaged has not failed: the next pass makes that file again.
        """
        failed, mending = {}, False
        for name, plan in plans.items():
            self.due.mended(name, [artifact.manifest for artifact in plan.now])
            left = self.due.of(name).now if running.code else ()
            missing = [artifact for artifact in plan.now if artifact in left]
            if missing and self.refused(name, missing[0].stage) and self.due.look_closely(name):
                mending = True
                continue
            if missing:
                failed[name] = missing[0].stage
            self.outcome.built += [name] if name not in self.outcome.built else []
            self.made[name].update(artifact.manifest for artifact in plan.now)
        ran = {log.parent.name for log in running.failed}
        failed = {name: stage for name, stage in failed.items() if name in ran or (running.errors[stage] and not ran)}
        self.outcome.failed.update(failed)
        if failed:
            self.outcome.words = list(running.tail)
        if running.code and (running.code < 0 or not (failed or mending)):
            self.outcome.broken = error_lines(list(running.tail), running.code)

    def refused(self, name: str, stage: str) -> bool:
        """Whether a stage refused to read a damaged file, by the end of its log."""
        logs = (self.due.work / "logs" / name).glob(f"{stage}*.log")
        return any(DAMAGED in (failure(log) or "") for log in logs)

    def write_page(self, names: list[str]) -> None:
        if self.standings is None:
            self.standings = Standings(self.project)
        self.standings.refresh(names)
        write_status_page(self.project, self.standings)


def print_weak(project: Project, standings: Standings) -> None:
    """Name the characters whose model is of little use, why, and what to try first."""
    weak = [character for character in standings if character.state == "weak"]
    if not weak:
        return
    published = project.config["published"]["weak"]
    print(
        f"\nWeak, of {counted(len(project.characters), 'character')}: {len(weak):,}. "
        + ("Published all the same (published.weak)." if published else "Not published (published.weak: false).")
    )
    for character in weak[:MOST_FAILURES]:
        print(f"  {character.name}  {'; '.join(character.weak)}")
        print(f"      try: {character.advice[0]}")
    if len(weak) > MOST_FAILURES:
        print(f"  and {len(weak) - MOST_FAILURES:,} more: results/status.html lists them")


def print_failures(outcome: Outcome) -> None:
    if outcome.failed:
        logs = Path(outcome.project.config["paths"]["work"]) / "logs"
        print(f"\n{len(outcome.failed):,} of {counted(len(outcome.project.characters), 'character')} failed:")
        for name, stage in list(outcome.failed.items())[:MOST_FAILURES]:
            for log in sorted((logs / name).glob(f"{stage}*.log")) or [logs / name / f"{stage}.log"]:
                print(f"  {name}  {stage}  {log}")
                print("\n".join(f"      {line}" for line in last_words(log, outcome.words)))
            page = results_of(outcome.project, name) / "curation.html"
            if STAGES.index(stage) > STAGES.index("curation") and page.is_file():
                print(f"      what was dropped, and why: {page}")
        if len(outcome.failed) > MOST_FAILURES:
            print(f"  and {len(outcome.failed) - MOST_FAILURES:,} more: results/status.html lists them")
    if outcome.broken:
        print("\nThe run could not go on:")
        print("\n".join(f"  {line}" for line in outcome.broken))


def last_words(log: Path, otherwise: Sequence[str]) -> list[str]:
    """The last line of a log; where it is empty, Snakemake's last ones."""
    lines = [printable(line) for line in tail(log).splitlines() if line.strip()]
    if lines:
        return [failure(log) or lines[-1]]
    return ["(the log is empty; Snakemake's last words are)", *(line for line in otherwise if line.strip())]


def last_line(log: Path) -> str:
    return last_words(log, ())[-1]


@dataclass
class Pass:
    """One invocation of Snakemake on the terminal. Without a title, each stage of it gets a line when it is done."""

    title: str
    jobs: Counter[str]
    ahead: Counter[str]  # jobs of the slices to come
    estimate: Estimate
    run_started: float
    watch: Watch | None = None
    shown: set[str] = field(default_factory=set)  # stages that got their line

    def follow(self, running: Running) -> None:
        """Show progress until Snakemake ends."""
        self.running = running
        self.started = self.changed = time.monotonic()
        self.since = time.time()
        line = Line()
        with line.beating(self.text, self.watch.look if self.watch else list), ended_with(running):
            for _ in running:
                self.changed = time.monotonic()
                if not self.title:
                    self.keep_finished(line)
        took = self.changed - self.started
        self.estimate.finished(running.finished, took)
        if self.title or running.code:
            self.keep(line, self.stages(), "failed" if running.code else f"{self.jobs.total():,} done")

    def keep_finished(self, line: Line) -> None:
        """Print each stage whose jobs are all done, once."""
        for stage, count in self.jobs.items():
            if count and self.running.finished[stage] == count and stage not in self.shown:
                self.shown.add(stage)
                self.keep(line, stage, f"{count} done")

    def keep(self, line: Line, what: str, ending: str) -> None:
        total, left = clock(time.monotonic() - self.run_started), self.left()
        title = f"{self.title}  " if self.title else ""
        line.keep(f"{title}{what:<12}  {ending:<10}  total {total}, {f'{about(left)} left' if left else 'finished'}")

    def stages(self) -> str:
        """`raw`, `curation and tagged`, `raw to report`."""
        stages = stages_of(self.jobs)
        if len(stages) <= 2:
            return " and ".join(stages)
        return f"{stages[0]} to {stages[-1]}"

    def left(self) -> float:
        """Seconds left of the run."""
        rest = self.jobs - self.running.finished
        return self.estimate.rest(rest, time.monotonic() - self.changed) + self.estimate.of(self.ahead)

    def text(self) -> str:
        elapsed = clock(time.monotonic() - self.started)
        done, jobs = self.running.finished.total(), self.jobs.total()
        details = latest_line(list(self.running.logs), self.since)
        if self.watch:
            details = f"{self.watch.summary}   {details}"
        title = f"{self.title}  " if self.title else ""
        return f"{title}{self.stages()}  {done:,} of {jobs:,}  {elapsed:>6}   {about(self.left())} left   {details}"


@contextmanager
def ended_with(running: Running) -> Iterator[None]:
    """End Snakemake with this command: on SIGTERM pass SIGINT on, on which it ends its jobs, and wait for its exit."""

    def interrupt(*_: object) -> None:
        running.process.send_signal(signal.SIGINT)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        for _ in running:  # what it still writes: with nobody to read it, it would wait forever
            pass
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
