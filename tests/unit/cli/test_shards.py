"""Shards without a cluster: what they request, which jobs may share one, how an ending is read."""

import shlex
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm_shards as shards
from snakemake_interface_common.exceptions import WorkflowError


def job(name: str = "hana", attempt: int = 1, threads: int = 1, **resources: Any) -> Any:
    """What the executor reads of one of Snakemake's jobs."""
    rule = SimpleNamespace(name="checkpoints")
    facts = {"runtime": 60, "mem_mb": 4000, "slurm_partition": "gpu", **resources}
    return SimpleNamespace(
        name="checkpoints", rule=rule, jobid=7, attempt=attempt, threads=threads, wildcards=[name], resources=facts
    )


def test_a_shard_requests_the_sum_of_the_times_and_the_largest_memory() -> None:
    shard = shards.Shard([job(), job("mei", threads=4, runtime=30, mem_mb=9000), job("rin", gpu=1)])
    assert dict(shard.resources.items()) == {"runtime": 150, "mem_mb": 9000, "slurm_partition": "gpu", "gpu": 1}
    assert shard.threads == 4
    assert shard.wildcards == ["hana", "and_2_more"]
    assert shards.Shard([job()]).wildcards == ["hana"]


def test_only_equals_share_a_shard() -> None:
    assert shards.kind_of(job("hana")) == shards.kind_of(job("mei", mem_mb=1))
    assert shards.kind_of(job()) != shards.kind_of(job(attempt=2))
    assert shards.kind_of(job()) != shards.kind_of(job(slurm_partition="big"))


def test_sizes_are_read_and_nonsense_is_refused() -> None:
    assert shards.sizes_of("checkpoints=8, filtered=20\n raw=1") == {"checkpoints": 8, "filtered": 20, "raw": 1}
    assert shards.sizes_of(None) == {}
    for broken in ("checkpoints", "checkpoints=0", "checkpoints=-3", "checkpoints=a"):
        with pytest.raises(WorkflowError, match="is not <rule>=<number of jobs>"):
            shards.sizes_of(broken)


def accounting_executor(sizes: str, hold: float = 0.05) -> Any:
    """An executor that only keeps account of what it would submit."""
    import threading

    executor = shards.Executor.__new__(shards.Executor)
    executor.sizes, executor.hold, executor.held, executor.timer = shards.sizes_of(sizes), hold, {}, None
    executor.holding, executor.submitted = threading.Lock(), []
    executor.run_job_pre = lambda job: None
    executor.submit = lambda made: executor.submitted.extend(
        [member.wildcards[0] for member in each.jobs] for each in made
    )
    return executor


def test_full_shards_go_at_once_and_the_rest_soon() -> None:
    executor = accounting_executor("checkpoints=2")
    executor.run_jobs([job("a"), job("b"), job("c")])
    assert executor.submitted == [["a", "b"]]
    executor.run_jobs([job("d"), job("e")])
    assert executor.submitted == [["a", "b"], ["c", "d"]]
    time.sleep(0.3)
    assert executor.submitted == [["a", "b"], ["c", "d"], ["e"]]


def test_second_attempts_go_alone() -> None:
    executor = accounting_executor("checkpoints=3")
    executor.run_jobs([job("a", attempt=2), job("b", attempt=2)])
    assert sorted(executor.submitted) == [["a"], ["b"]]


# --- the script, and endings


def script(folder: Path, *commands: str) -> str:
    members = [["member", str(folder / str(number)), command] for number, command in enumerate(commands)]
    return shards.HEAD + "\n".join(map(shlex.join, members)) + "\n"


def test_each_member_leaves_its_own_exit_code(tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", script(tmp_path, "true", "exit 3", """test "it's" = 'it'"'"'s'""")], check=True)
    assert [(tmp_path / str(number)).read_text() for number in range(3)] == ["0\n", "3\n", "0\n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_a_job_that_slurm_starts_once_more_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "0").write_text("0\n")
    subprocess.run(["sh", "-c", script(tmp_path, f"touch {tmp_path}/again", "true")], check=True)
    assert not (tmp_path / "again").exists()
    assert (tmp_path / "1").read_text() == "0\n"


def test_a_job_that_is_ended_starts_nobody_else(tmp_path: Path) -> None:
    process = subprocess.Popen(["sh", "-c", script(tmp_path, "sleep 1; exit 1", f"touch {tmp_path}/next")])
    time.sleep(0.3)
    process.terminate()
    assert process.wait(20) == 143
    assert list(tmp_path.iterdir()) == [], "neither a code nor the next member"


def ended(tmp_path: Path, states: dict[str, str], outage: float = 0.0, alive: float = 0.0, patience: int = 5) -> Any:
    executor = shards.Executor.__new__(shards.Executor)
    executor.states, executor.outage = states, outage
    executor.workflow = SimpleNamespace(execution_settings=SimpleNamespace(latency_wait=patience))
    info = SimpleNamespace(external_jobid="12", aux={"alive": time.monotonic() - alive})
    return executor.state_of(info)


def test_an_ending_without_a_code_is_believed_when_the_file_system_had_time(tmp_path: Path) -> None:
    assert ended(tmp_path, {"12": "RUNNING"}, alive=9999) is None
    assert ended(tmp_path, {"12": "TIMEOUT"}, alive=1) is None
    assert ended(tmp_path, {"12": "TIMEOUT"}, alive=6) == "TIMEOUT"
    assert ended(tmp_path, {"12": "TIMEOUT"}, alive=6, outage=1.0) is None


def test_a_job_that_slurm_has_forgotten_does_not_wait_for_ever(tmp_path: Path) -> None:
    assert ended(tmp_path, {}, alive=100) is None
    assert ended(tmp_path, {}, alive=301) == "FORGOTTEN"


def test_memory_is_recognised_where_slurm_says_failed(tmp_path: Path) -> None:
    log = tmp_path / "7.log"
    log.write_text("slurmstepd: error: Step 7.batch exceeded memory limit (3 > 2), being killed\n")
    assert shards.true_state("FAILED", log) == "OUT_OF_MEMORY"
    assert shards.true_state("CANCELLED", log) == "CANCELLED"
    assert shards.true_state("FAILED", tmp_path / "none") == "FAILED"


def test_the_reason_becomes_the_last_line_of_the_rules_log(tmp_path: Path) -> None:
    shards.note(str(tmp_path / "hana" / "x.log"), "SLURM ended it: TIMEOUT")
    assert (tmp_path / "hana" / "x.log").read_text().splitlines()[-1] == "Error: SLURM ended it: TIMEOUT"
