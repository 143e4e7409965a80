"""`charaloom run` from slice to slice, with a Snakemake that finishes its targets at once."""

import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charaloom.artifacts.files import write_json
from charaloom.artifacts.manifest import Lineage, write_manifest
from charaloom.artifacts.sealed import damaged
from charaloom.cli import run as running
from charaloom.cli.due import MODELS, Due, artifacts_of
from charaloom.cli.snakemake import Running
from charaloom.config.project import Project, load_project
from charaloom.config.stages import STAGES
from tests.finished import finish, finish_artifact, finish_models, trace
from tests.small_bases import write_base


class Finishing:
    """In place of Snakemake: writes what it is asked for; `failing` are (character, stage), which never come about."""

    def __init__(self, project: Project, failing: tuple[tuple[str, str], ...] = ()):
        self.project, self.failing = project, failing
        self.overlays: list[Path] = []
        self.cores = 2
        self.calls: list[tuple[Counter[str], list[str]]] = []
        self.words: list[str] = []  # that the next call fails with, before any job
        self.locked = self.unlocked = 0

    def on_cluster(self) -> bool:
        return False

    def is_locked(self) -> bool:
        return bool(self.locked)

    def unlock(self) -> None:
        self.locked, self.unlocked = 0, self.unlocked + 1

    def run(self, targets: list[str], log: Path, rules: list[str], force: bool) -> "Ended":
        assert force
        ended = Ended(list(self.words))
        self.words.clear()
        self.calls.append((Counter(), list(rules)))
        if ended.code:
            return ended
        if str(targets[0]) == f"work/{MODELS}":
            finish_models(self.project)
            targets = []
        failed = set()
        by_manifest = {artifact.manifest: artifact for artifact in artifacts_of(self.project)}
        for target in targets:
            name, manifest = target.removeprefix("results/").split("/", 1)
            stage = by_manifest[manifest].stage
            if name in failed or (name, stage) in self.failing:
                ended.code = 1
                failed.add(name)
                ended.errors[stage] += 1
                ended.failed.add(Path(f"work/logs/{name}/{stage}.log"))
                continue
            finish_artifact(self.project, name, by_manifest[manifest])
            self.calls[-1][0][stage] += 1
            ended.finished[stage] += 1
        return ended


class Ended:
    """A Snakemake that has ended."""

    def __init__(self, words: list[str]):
        self.code = int(bool(words))
        self.tail = deque(words)
        self.errors, self.finished = Counter[str](), Counter[str]()
        self.logs: deque[Path] = deque()
        self.failed = set[Path]()
        self.process = SimpleNamespace(pid=1, send_signal=lambda number: signal.Signals(number), wait=lambda: 0)

    def __iter__(self) -> Iterator[None]:
        yield from [None] * self.finished.total()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: Any) -> Project:
    """Five characters of a board; the picture models are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    write_base(tmp_path / "base")
    rows = [f"c{number}\tdanbooru\tc{number}_(x)\t\tadult" for number in range(5)]
    (tmp_path / "config/characters.tsv").write_text("\n".join(["character\tsource\tquery\ttrigger\tage", *rows]) + "\n")
    config = {
        "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
        "training": {"base": "tiny"},
        "previews": {"bases": ["tiny"]},
    }
    write_json(tmp_path / "config/config.yaml", config)
    loaded = load_project()
    finish_models(loaded)
    return loaded


def build(snakemake: Finishing, **options: Any) -> running.Outcome:
    return running.build(snakemake, **options)  # type: ignore[arg-type]


def test_a_new_roster_needs_one_invocation_a_slice(project: Project, capsys: Any) -> None:
    snakemake = Finishing(project)
    assert build(snakemake, size=2).code == 0
    assert [jobs.total() for jobs, _ in snakemake.calls] == [28, 28, 14]
    assert snakemake.calls[0][1] == list(STAGES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("70 jobs for 5 characters, about ")
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "characters 1–2 of 5",
        "characters 3–4 of 5",
        "characters 5 of 5",
    ]
    assert lines[-1].endswith("finished")
    again = Finishing(project)
    assert build(again).code == 0
    assert again.calls == []
    assert capsys.readouterr().out.startswith("Nothing to be done")


def test_one_slice_has_a_line_for_each_stage(project: Project, capsys: Any) -> None:
    assert build(Finishing(project)).code == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(STAGES)
    assert all("5 done" in line for line in lines)


def test_picture_models_come_first(project: Project) -> None:
    Path("work", MODELS).unlink()
    snakemake = Finishing(project)
    assert build(snakemake).code == 0
    assert [rules for _, rules in snakemake.calls] == [["models"], list(STAGES)]


def test_a_stage_that_comes_out_the_same_ends_there(project: Project) -> None:
    for name in project.characters:
        finish(project, name)
    write_json(Path("config/characters/c1.yaml"), {"filtered": {"short_side": {"picture": 201}}})
    after = load_project()
    snakemake = Finishing(after)
    assert build(snakemake).code == 0
    assert [dict(jobs) for jobs, _ in snakemake.calls] == [{"filtered": 1}]


def test_what_comes_out_otherwise_goes_on_below(project: Project) -> None:
    for name in project.characters:
        finish(project, name)
    finish_artifact(project, "c1", artifacts_of(project)[0], content=" anew")
    snakemake = Finishing(project)
    assert build(snakemake).code == 0
    assert [dict(jobs) for jobs, _ in snakemake.calls] == [{"measured": 1}, {"filtered": 1}, {"tagged": 1}]


def test_a_failed_character_holds_up_nobody(project: Project, capsys: Any) -> None:
    snakemake = Finishing(project, failing=(("c1", "tagged"),))
    outcome = build(snakemake, size=2)
    assert outcome.failed == {"c1": "tagged"}
    assert outcome.broken == []
    assert len(snakemake.calls) == 3
    running.print_failures(outcome)
    assert "1 of 5 characters failed:" in capsys.readouterr().out
    again = Finishing(project)
    assert build(again).code == 0
    assert [dict(jobs) for jobs, _ in again.calls] == [
        dict.fromkeys(("tagged", *STAGES[STAGES.index("clustered") :]), 1)
    ]


def test_many_failures_are_counted_and_not_all_listed(project: Project, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(running, "MOST_FAILURES", 2)
    outcome = build(Finishing(project, failing=tuple((name, "raw") for name in project.characters)))
    capsys.readouterr()
    running.print_failures(outcome)
    assert "and 3 more: results/status.html lists them" in capsys.readouterr().out


def test_a_snakemake_that_cannot_start_ends_the_run(project: Project) -> None:
    snakemake = Finishing(project)
    snakemake.words = ["Error: Directory cannot be locked."]
    outcome = build(snakemake, size=2)
    assert outcome.broken == ["Directory cannot be locked."]
    assert outcome.failed == {}
    assert len(snakemake.calls) == 1


def test_c2_a_snakemake_that_is_killed_is_named_and_leaves_no_lock(
    project: Project, monkeypatch: Any, capsys: Any
) -> None:
    """Nobody has failed whose job never ran; the next run finds no lock."""
    snakemake = Finishing(project, failing=(("c1", "tagged"),))
    plain = snakemake.run

    def killed(targets: list[str], log: Path, rules: list[str], force: bool) -> Ended:
        ended = plain([target for target in targets if "/c0/" in target or "/c1/" in target], log, rules, force)
        ended.code, snakemake.locked = -9, 1
        ended.tail.extend(["[Sun Nov 29]", "localrule raw:"])
        return ended

    monkeypatch.setattr(snakemake, "run", killed)
    outcome = build(snakemake)
    assert outcome.failed == {"c1": "tagged"}
    assert outcome.code == 1
    assert (snakemake.locked, snakemake.unlocked) == (0, 1)
    assert outcome.broken[0].startswith("Snakemake was ended by signal 9, most often because memory ran out")
    capsys.readouterr()
    running.print_failures(outcome)
    printed = capsys.readouterr().out
    assert "The run could not go on:" in printed
    assert "c1  tagged  work/logs/c1/tagged.log" in printed
    assert "localrule raw:" in printed, "the log is empty: Snakemake's last words"
    assert build(Finishing(project)).code == 0


def test_c2_the_lock_of_another_snakemake_is_named(project: Project) -> None:
    snakemake = Finishing(project)
    snakemake.words = ["LockException:", "Error: Directory cannot be locked."]
    outcome = build(snakemake)
    assert outcome.failed == {}
    assert outcome.broken[0].startswith(str(Path(".snakemake/locks").absolute()))
    assert "snakemake --unlock" in outcome.broken[0]


ERROR_LINES = """[Sun Nov 29 07:00:00 2026]
localrule raw:
    output: results/hana/raw.parquet
    log: work/logs/hana/raw.log
    jobid: 1
Error in rule raw:
    message: None
    jobid: 1
    output: results/hana/raw.parquet
    log: work/logs/hana/raw.log (check log file(s) for error details)
localrule raw:
    log: work/logs/mei/raw.log
"""


def test_the_jobs_that_failed_are_known_by_their_logs(tmp_path: Path) -> None:
    ended = Running([sys.executable, "-c", f"print({ERROR_LINES!r})"], tmp_path / "run.log")
    list(ended)
    assert ended.failed == {Path("work/logs/hana/raw.log")}
    assert list(ended.logs) == [Path("work/logs/hana/raw.log"), Path("work/logs/mei/raw.log")]


def test_c10_a_damaged_file_is_made_again_in_the_same_run(project: Project, monkeypatch: Any) -> None:
    """A stage refuses to read it; the stage that made it runs again, then the one that refused."""
    for name in project.characters:
        finish(project, name)
    write_json(Path("config/characters/c1.yaml"), {"tagged": {"core_forbid": ["hat"]}})
    after = load_project()
    table, manifest = Path("results/c1/measured.parquet"), Path("results/c1/measured.manifest.json")
    table.write_bytes(b"whole")
    write_manifest(manifest, Lineage("measured", "c1", "", {}, {}), {"table": table}, {})
    for artifact in artifacts_of(after):
        if artifact.stage != "tagged":
            trace(after, "c1", artifact)
    snakemake = Finishing(after)
    plain = snakemake.run
    table.write_bytes(b"wholf")
    monkeypatch.setattr(Due, "is_whole", partialmethod(looking, Due.is_whole))

    said = Path("work/logs/c1/tagged.log")
    said.parent.mkdir(parents=True)

    def run(targets: list[str], log: Path, rules: list[str], force: bool) -> Ended:
        snakemake.failing = (("c1", "tagged"),) if table.read_bytes() != b"whole" else ()
        said.write_text(f"Error: {damaged(table)}\n" if snakemake.failing else "")
        if any("measured" in target for target in targets):
            table.write_bytes(b"whole")
        ended = plain(targets, log, rules, force)
        if any("measured" in target for target in targets):
            write_manifest(manifest, Lineage("measured", "c1", "", {}, {}), {"table": table}, {})
            trace(after, "c1", next(each for each in artifacts_of(after) if each.stage == "measured"))
        return ended

    monkeypatch.setattr(snakemake, "run", run)
    outcome = build(snakemake)
    assert outcome.code == 0
    assert [list(jobs) for jobs, _ in snakemake.calls] == [[], ["measured"], ["tagged"]]


def looking(self: Due, whole: Any, folder: Path, artifact: Any, closely: bool = False) -> bool:
    """As where a bit flips on the disk and no time changes: only a closer look finds it."""
    return whole(self, folder, artifact, True) if closely else True


def test_a_file_that_is_gone_is_left_to_snakemake(project: Project) -> None:
    """With all rules at hand it finds who makes it."""
    snakemake = Finishing(project)
    snakemake.words = ["MissingInputException in rule filtered in file …:"]
    assert build(snakemake).code == 0
    assert [rules for _, rules in snakemake.calls] == [list(STAGES), []]


def test_until_a_stage(project: Project) -> None:
    snakemake = Finishing(project)
    assert build(snakemake, until="filtered").code == 0
    assert dict(snakemake.calls[0][0]) == {"raw": 5, "measured": 5, "filtered": 5}
    assert build(Finishing(project), until="models").code == 0


def test_some_characters_alone(project: Project, capsys: Any) -> None:
    snakemake = Finishing(project)
    assert build(snakemake, names=["c3", "c1"]).code == 0
    assert snakemake.calls[0][0]["raw"] == 2
    assert "28 jobs for 2 characters, about " in capsys.readouterr().out
    assert not Path("results/c0").exists()
    assert build(Finishing(project)).code == 0
    assert Path("results/c0").exists()


def test_a_failure_of_the_filters_names_the_page(project: Project, capsys: Any) -> None:
    outcome = build(Finishing(project, failing=(("c1", "tagged"),)))
    page, log = Path("results/c1/curation.html"), Path("work/logs/c1/tagged.log")
    for file in (page, log):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("Error: c1: only 3 views\n")
    running.print_failures(outcome)
    assert f"what was dropped, and why: {page}" in capsys.readouterr().out


def test_a_snakemake_that_makes_nothing_is_not_asked_forever(project: Project, monkeypatch: Any) -> None:
    """`charaloom run -- --dry-run`."""
    snakemake = Finishing(project)
    monkeypatch.setattr(snakemake, "run", lambda *_, **__: snakemake.calls.append((Counter(), [])) or Ended([]))
    assert build(snakemake).code == 0
    assert len(snakemake.calls) == 1


TALKATIVE = """import signal, sys, time
def end(*_):
    print("x" * 2**20, flush=True)
    sys.exit(1)
signal.signal(signal.SIGINT, end)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_snakemake_that_has_much_to_say_can_be_ended(tmp_path: Path) -> None:
    """More than a pipe holds: somebody must read it."""
    ended = Running([sys.executable, "-c", TALKATIVE], tmp_path / "run.log")

    def stop() -> None:
        while "ready" not in (tmp_path / "run.log").read_text():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    def follow() -> None:
        with running.ended_with(ended):
            threading.Thread(target=stop).start()
            for _ in ended:
                pass

    (tmp_path / "run.log").touch()
    with pytest.raises(KeyboardInterrupt):
        follow()
    assert ended.code == 1
