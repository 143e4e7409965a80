"""`charaloom run`: everything the roster lists, stage by stage.

Snakemake has no cut-off inside one invocation: once a stage runs, every later stage runs. Stage by stage, a run ends
where a stage's manifest comes out the same: a crawl that finds nothing new does not train again.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from charaloom.artifacts.files import write_text
from charaloom.cli.controller import Controller, controlling
from charaloom.cli.progress import Estimate, Line, latest_line
from charaloom.cli.snakemake import Running, Snakemake
from charaloom.cli.status import status_table
from charaloom.cli.text import about, clock, counted
from charaloom.cli.watch import Watch
from charaloom.config.project import Project, load_project
from charaloom.config.stages import PASSES
from charaloom.pages.standing import finished, stage_outputs, tail
from charaloom.pages.status import write_status_page

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it

Sources = Callable[[], AbstractContextManager[object]]


@dataclass
class Outcome:
    """How a run ended: the stage that each character failed in, and Snakemake's last lines where it could not go on."""

    project: Project
    failed: dict[str, str] = field(default_factory=dict)  # character: the stage it failed in
    broken: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        return 1 if self.failed or self.broken else 0


def run(snakemake: Snakemake, sources: Sources = nullcontext, until: str | None = None, orphans: str = "ask") -> int:
    """Build everything, print how it ended, return the exit code. `sources()` is open while pictures are fetched.

    `until` is the last stage wanted; `orphans` says what to do about jobs that a killed run left on a cluster.
    """
    try:
        work = Path(load_project(snakemake.overlays).config["paths"]["work"])
        with controlling(work, snakemake, orphans) as controller:
            outcome = build(snakemake, sources, until, controller)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.")
        return INTERRUPTED
    print()
    print(status_table(outcome.project))
    write_status_page(outcome.project)
    print_failures(outcome)
    return outcome.code


def build(
    snakemake: Snakemake,
    sources: Sources = nullcontext,
    until: str | None = None,
    controller: Controller | None = None,
) -> Outcome:
    """Run the stages that have jobs to do, one after another."""
    project = load_project(snakemake.overlays)
    outcome = Outcome(project)
    wanted = PASSES[: PASSES.index(until) + 1] if until else PASSES
    planned = snakemake.plan([f"stage_{stage}" for stage in wanted] if until else ())
    if not planned:
        print("Nothing to be done (all is up to date).")
        return outcome
    stages = [stage for stage in wanted if planned.get(stage)]
    work = Path(project.config["paths"]["work"])
    log = work / "logs" / "run.log"
    write_text(log, "")
    estimate = Estimate(work / "benchmarks", planned, parallel=snakemake.cores or os.cpu_count() or 1)
    jobs, characters = counted(sum(planned.values()), "job"), counted(len(project.characters), "character")
    print(f"{jobs} in {counted(len(stages), 'stage')} for {characters}, {about(estimate.remaining(stages))}.", end=" ")
    print(f"Snakemake's output: {log}", flush=True)
    started = time.monotonic()
    watch = Watch(log) if snakemake.on_cluster() else None
    with sources() if "raw" in stages else nullcontext():
        done = 0
        while stages and not outcome.broken:
            stage, *stages = stages
            done += 1
            head = f"{done:>2}/{done + len(stages)} {stage:<12}"
            display = Pass(head, stage, started, estimate, stages, work / "logs", watch)
            running = snakemake.run(targets_of(project, stage, outcome.failed), log)
            if controller:
                controller.started(running.process.pid)
            display.follow(running)
            write_status_page(project)
            if note_failures(outcome, stage, running):
                estimate.planned = snakemake.plan(everything(project, outcome.failed, wanted))
                stages = [later for later in stages if estimate.planned.get(later)]
    return outcome


def everything(project: Project, failed: dict[str, str], stages: Sequence[str]) -> list[str]:
    """Targets of all characters that have not failed; `stage_models` where none is left."""
    wanted = [stage for stage in stages if stage != "models"]
    return [target for stage in wanted for target in targets_of(project, stage, failed)] or ["stage_models"]


def targets_of(project: Project, stage: str, failed: dict[str, str]) -> list[str]:
    """Targets of one stage, without the characters that failed before it."""
    if not failed:
        return [f"stage_{stage}"]
    names = [name for name in project.characters if name not in failed]
    return [str(path) for name in names for path in stage_outputs(project, name, stage)]


def note_failures(outcome: Outcome, stage: str, running: Running) -> list[str]:
    """Note in `outcome` and return the characters that failed: those without this stage's manifest.

    Where Snakemake failed although every manifest is there, the failure is its own.
    """
    if running.code == 0:
        return []
    names = [name for name in outcome.project.characters if name not in outcome.failed]
    if stage == "models":
        log = Path(outcome.project.config["paths"]["work"]) / "logs" / "models.log"
        outcome.broken = [f"models  {log}", f"    {last_line(log)}"] if log.is_file() else list(running.tail)
        return []
    failed = [name for name in names if not finished(outcome.project, name, stage)]
    outcome.failed.update(dict.fromkeys(failed, stage))
    if not failed:
        outcome.broken = list(running.tail)
    return failed


def print_failures(outcome: Outcome) -> None:
    if outcome.failed:
        logs = Path(outcome.project.config["paths"]["work"]) / "logs"
        print(f"\n{len(outcome.failed)} of {counted(len(outcome.project.characters), 'character')} failed:")
        for name, stage in outcome.failed.items():
            for log in sorted((logs / name).glob(f"{stage}*.log")):
                print(f"  {name}  {stage}  {log}")
                print(f"      {last_line(log)}")
    if outcome.broken:
        print("\nThe run could not go on:")
        print("\n".join(f"  {line}" for line in outcome.broken))


def last_line(log: Path) -> str:
    lines = [line for line in tail(log).splitlines() if line.strip()]
    return lines[-1] if lines else "(the log is empty)"


@dataclass
class Pass:
    """One stage on the terminal while it runs."""

    head: str
    stage: str
    run_started: float
    estimate: Estimate
    ahead: list[str]
    logs: Path
    watch: Watch | None = None
    done: int = 0
    all: int = 0

    def follow(self, running: Running) -> None:
        """Show progress until Snakemake ends. Its count includes the stage's target, which is no job."""
        self.started, self.since = time.monotonic(), time.time()
        line = Line()
        with line.beating(self.text, self.watch.look if self.watch else list), ended_with(running):
            for self.done, self.all in running:
                pass
        took = time.monotonic() - self.started
        self.estimate.finished(self.stage, took)
        jobs = self.estimate.planned[self.stage]
        ending = "failed" if running.code else f"{jobs} done" if self.all else "unchanged"
        left = about(self.estimate.remaining(self.ahead)) + " left" if self.ahead else "finished"
        total = clock(time.monotonic() - self.run_started)
        line.keep(f"{self.head}  {ending:<10}  {clock(took):>6}   total {total}, {left}")

    def text(self) -> str:
        elapsed = time.monotonic() - self.started
        left = about(self.estimate.remaining(self.ahead, self.stage, elapsed))
        jobs = self.estimate.planned[self.stage]
        details = latest_line(self.logs, self.stage, self.since)
        if self.watch:
            details = f"{self.watch.summary}   {details}"
        return f"{self.head}  {min(self.done, jobs)} of {jobs}  {clock(elapsed):>6}   {left} left   {details}"


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
        running.process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
