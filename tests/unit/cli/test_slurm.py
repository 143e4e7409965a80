"""What `charaloom run` makes of a cluster without one: squeue's words, orphans, the watch, who is at work."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import read_json, write_json
from charaloom.cli import controller, watch
from charaloom.cli import slurm as cluster
from charaloom.cli.snakemake import Snakemake
from charaloom.errors import CharaloomError

RUN = "11f4c1a4-5e5e-4c6e-9f37-2f8f6c3b0001"


def line(number: int, folder: Path, state: str = "RUNNING", reason: str = "None", comment: str = "") -> str:
    comment = comment or "rule_checkpoints_wildcards_hana_and_7_more"
    return "|".join([str(number), RUN, state, reason, "1:05", str(folder), comment])


def job(**changed: Any) -> cluster.ClusterJob:
    facts = {"id": "7", "run": RUN, "state": "PENDING", "reason": "Resources", "used": "0:00"}
    return cluster.ClusterJob(**{**facts, "comment": "rule_models", **changed})


def test_jobs_of_this_folder_and_of_this_workflow_are_found(tmp_path: Path) -> None:
    lines = [
        line(1, tmp_path),
        line(2, tmp_path / "other"),
        line(3, tmp_path, comment="(null)"),
        line(4, tmp_path, "PENDING", "Resources", "rule_x_wildcards_a|b"),
    ]
    jobs = cluster.parsed("\n".join(lines), tmp_path)
    assert [each.id for each in jobs] == ["1", "4"]
    assert jobs[0].what == "checkpoints of hana_and_7_more"
    assert jobs[1].what == "x of a|b"
    assert cluster.described(jobs, most=1) == "  1  checkpoints of hana_and_7_more, running 1:05\n  and 1 more"
    assert cluster.summary(jobs) == "1 running, 1 pending (Resources)"


def test_a_job_that_will_never_start_is_told_from_one_that_waits() -> None:
    assert cluster.hopeless(job()) is None
    assert cluster.hopeless(job(reason="PartitionTimeLimit")) == "the partition does not allow so long a job"
    assert cluster.hopeless(job(reason="PartitionTimeLimit", state="RUNNING")) is None


# --- orphans


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The jobs that SLURM lists, and those that it was made to cancel."""
    calls: dict[str, Any] = {"jobs": [job(state="RUNNING")], "cancelled": []}

    def cancel(jobs: list[cluster.ClusterJob]) -> None:
        calls["cancelled"] = [each.id for each in jobs]
        calls["jobs"] = []

    def jobs_of(folder: Path) -> list[cluster.ClusterJob]:
        if isinstance(calls["jobs"], Exception):
            raise calls["jobs"]
        return calls["jobs"]

    monkeypatch.setattr(cluster, "cancel", cancel)
    monkeypatch.setattr(cluster, "jobs_of", jobs_of)
    return calls


def test_without_a_terminal_orphans_stop_the_run(queue: dict[str, Any]) -> None:
    with pytest.raises(CharaloomError, match="nothing was submitted"):
        controller.settle(queue["jobs"], "ask")
    assert queue["cancelled"] == []


def test_orphans_are_cancelled_on_demand(queue: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    controller.settle(queue["jobs"], "cancel")
    assert queue["cancelled"] == ["7"]
    assert "1 job left over from an earlier run in this folder:\n  7  models, running" in capsys.readouterr().out


def test_a_person_is_asked_until_the_answer_is_one() -> None:
    answers = iter(["", "x", "Wait"])
    assert controller.choice(lambda _: next(answers)) == "wait"


def test_an_outage_is_no_end_of_orphans(queue: dict[str, Any]) -> None:
    queue["jobs"] = CharaloomError("SLURM does not answer")
    assert not cluster.wait_for_end(Path.cwd(), seconds=0.05, pause=0.01)
    queue["jobs"] = []
    assert cluster.wait_for_end(Path.cwd(), seconds=1, pause=0.01)


# --- who is at work


class Quiet(Snakemake):
    """Counts calls of unlock."""

    unlocked = 0

    def unlock(self) -> None:
        self.unlocked += 1

    def on_cluster(self) -> bool:
        return False


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with controller.controlling(tmp_path, Quiet(), "stop"):
        assert read_json(tmp_path / "controller.json")["processes"][0]["pid"] == os.getpid()
        with (
            pytest.raises(CharaloomError, match="another run is active"),
            controller.controlling(tmp_path, Quiet(), "stop"),
        ):
            pass
    assert not (tmp_path / "controller.json").exists()


def test_a_killed_runs_lock_is_taken_away_and_a_plain_snakemakes_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    life = controller.life_of(dead.pid)
    dead.wait()
    write_json(tmp_path / "controller.json", {"host": socket.gethostname(), "processes": [life]})
    snakemake = Quiet()
    with controller.controlling(tmp_path, snakemake, "stop"):
        pass
    assert snakemake.unlocked == 1
    with controller.controlling(tmp_path, snakemake, "stop"):
        pass
    assert snakemake.unlocked == 1


def test_c7_of_two_starts_at_one_instant_one_goes_on(tmp_path: Path) -> None:
    """Whether no run was here before, or a killed one; 0 of 100 pairs both run."""
    dead = {"host": socket.gethostname(), "processes": []}
    for number in range(100):
        work = tmp_path / str(number)
        work.mkdir()
        if number % 2:
            write_json(work / "controller.json", dead)
        ready, over = threading.Barrier(2), threading.Barrier(2)
        ran, refused = [], []

        def start(
            work: Path = work, ready: Any = ready, over: Any = over, ran: Any = ran, refused: Any = refused
        ) -> None:
            own = controller.Controller(work)
            earlier = own.earlier()
            ready.wait()
            try:
                own.take(earlier)
                ran.append(own)
            except CharaloomError as problem:
                refused.append(str(problem))
            over.wait()

        both = [threading.Thread(target=start) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join()
        assert len(ran) == len(refused) == 1
        assert "another run has just started" in refused[0]
        assert [path.name for path in work.iterdir()] == ["controller.json"]


def test_c2_the_lock_of_a_killed_snakemake_is_known_by_the_record_of_its_run(tmp_path: Path, monkeypatch: Any) -> None:
    """On a cluster it is left to the next run, which settles the jobs first."""
    monkeypatch.chdir(tmp_path)
    snakemake = Quiet()
    with controller.controlling(tmp_path, snakemake, "stop"):
        (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
        (tmp_path / ".snakemake" / "locks" / "0.output.lock").write_text("")
    assert (tmp_path / "controller.json").exists()
    monkeypatch.setattr(controller, "refuse_beside", lambda *_: None)  # this process plays both runs
    with controller.controlling(tmp_path, snakemake, "stop"):
        assert snakemake.unlocked == 1


def test_a_run_on_another_host_is_not_judged_from_here(tmp_path: Path) -> None:
    write_json(tmp_path / "controller.json", {"host": "login2", "processes": []})
    with (
        pytest.raises(CharaloomError, match="on login2 and did not end"),
        controller.controlling(tmp_path, Quiet(), "stop"),
    ):
        pass


def test_a_number_that_came_again_is_another_process() -> None:
    life = controller.life_of(os.getpid())
    assert life["start"] is not None
    assert controller.life_of(os.getpid()) == life
    assert {**life, "start": 1} != life


def test_a_profile_tells_whether_it_needs_a_cluster() -> None:
    assert Snakemake(profile="slurm").on_cluster()
    assert not Snakemake(profile="local").on_cluster()
    assert not Snakemake(profile=None).on_cluster()


# --- the watch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"monotonic": 1000.0, "time": 5000.0}
    monkeypatch.setattr(watch.time, "monotonic", lambda: now["monotonic"])
    monkeypatch.setattr(watch.time, "time", lambda: now["time"])
    return now


def later(clock: dict[str, float], seconds: float) -> None:
    for name in clock:
        clock[name] += seconds


def test_the_watch_tells_a_hopeless_job_once(queue: dict[str, Any], clock: dict[str, float], tmp_path: Path) -> None:
    watcher = watch.Watch(tmp_path / "run.log")
    queue["jobs"] = [job(reason="PartitionTimeLimit")]
    assert "SLURM job 7 (models) will not start: PartitionTimeLimit" in watcher.look()[0]
    later(clock, 100)
    assert watcher.look() == []
    assert watcher.summary == "1 pending (PartitionTimeLimit)"


def test_the_watch_tells_a_long_outage_and_the_next(
    queue: dict[str, Any], clock: dict[str, float], tmp_path: Path
) -> None:
    watcher = watch.Watch(tmp_path / "run.log")
    queue["jobs"] = CharaloomError("SLURM does not answer: Connection refused")
    assert watcher.look() == []
    later(clock, 301)
    assert "Connection refused, for 5:01 now" in watcher.look()[0]
    later(clock, 100)
    assert watcher.look() == []
    queue["jobs"] = []
    later(clock, 100)
    watcher.look()
    queue["jobs"] = CharaloomError("SLURM does not answer")
    later(clock, 301)
    assert len(watcher.look()) == 1


def test_the_watch_tells_a_run_that_waits_for_nothing(
    queue: dict[str, Any], clock: dict[str, float], tmp_path: Path
) -> None:
    log = tmp_path / "run.log"
    log.write_text("waiting\n")
    os.utime(log, (clock["time"], clock["time"]))
    watcher = watch.Watch(log)
    queue["jobs"] = [job(state="RUNNING")]
    later(clock, 3000)
    assert watcher.look() == [], "a long job writes nothing"
    queue["jobs"] = []
    later(clock, 1801)
    assert "SLURM knows no job of this run" in watcher.look()[0]
