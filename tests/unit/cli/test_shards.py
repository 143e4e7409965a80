"""Shards without a cluster: what they request, which jobs may share one, how an ending is read."""

import subprocess
import time
from collections import defaultdict
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm_shards as shards
from snakemake_executor_plugin_shard_member import code_name
from snakemake_executor_plugin_slurm_shards.shard import Shard, chains_of, followers, kind_of, sizes_of, target_of
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.utils import TargetSpec, format_cli_arg


class Job(SimpleNamespace):
    """What the executor reads of one of Snakemake's jobs."""

    __hash__ = object.__hash__

    def get_target_spec(self) -> list[TargetSpec]:
        return [TargetSpec(self.rule.name, {"character": self.wildcards[0]})]

    def get_wait_for_files(self) -> list[str]:
        return list(self.input)


def job(name: str = "hana", attempt: int = 1, threads: int = 1, rule: str = "checkpoints", **resources: Any) -> Job:
    facts = {"runtime": 60, "mem_mb": 4000, "mem": "4 GB", "slurm_partition": "gpu", **resources}
    files = {"input": [f"{name}.in"], "output": [f"{name}.{rule}"]}
    own = {"name": rule, "rule": SimpleNamespace(name=rule), "jobid": 7, "attempt": attempt, "is_updated": False}
    return Job(**own, **files, threads=threads, wildcards=[name], resources=facts)


def test_a_shard_requests_the_sum_of_the_times_and_the_largest_memory(tmp_path: Path) -> None:
    shard = Shard([job(), job("mei", threads=4, runtime=30, mem_mb=9000), job("rin", gpu=1)], tmp_path)
    needs = dict(shard.resources.items())
    assert (needs["runtime"], needs["mem_mb"], needs["gpu"], needs["slurm_partition"]) == (150, 9000, 1, "gpu")
    assert shard.threads == 4
    assert shard.wildcards == ["hana", "and_2_more"]
    assert Shard([job()], tmp_path).wildcards == ["hana"]
    chain = Shard([job(), job(rule="previews"), job("mei"), job("mei", rule="previews")], tmp_path)
    assert chain.wildcards == ["hana", "and_1_more"]
    assert chain.rules == ["checkpoints", "previews"]


def test_a_shard_waits_only_for_what_others_make(tmp_path: Path) -> None:
    later = job(rule="previews")
    later.input = ["hana.checkpoints", "models"]
    assert Shard([job(), later], tmp_path).get_wait_for_files() == ["hana.in", "models"]


def test_only_equals_share_a_shard() -> None:
    assert kind_of(job("hana")) == kind_of(job("mei", mem_mb=1, mem="1 GB"))
    assert kind_of(job()) != kind_of(job(attempt=2))
    assert kind_of(job()) != kind_of(job(threads=2)), "one at a time, on as many cores as it has"
    assert kind_of(job()) != kind_of(job(slurm_partition="big"))


class Graph:
    """What `followers` reads of Snakemake's graph of jobs: all are to be run, none has."""

    def __init__(self, edges: list[tuple[Job, Job]], done: tuple[Job, ...] = ()):
        self.depending: dict[Job, dict[Job, set]] = defaultdict(dict)
        self.dependencies: dict[Job, dict[Job, set]] = defaultdict(dict)
        self.done = done
        for before, after in edges:
            self.depending[before][after] = self.dependencies[after][before] = set()

    def needrun(self, job: Job) -> bool:
        return job not in self.done

    def finished(self, job: Job) -> bool:
        return False


CHAIN = ["tagged", "clustered", "dataset"]


def test_what_a_run_makes_anyway_follows_in_the_same_shard() -> None:
    filtered, tagged, clustered, outfits = (job(rule=rule) for rule in ("filtered", "tagged", "clustered", "outfits"))
    edges = [(filtered, tagged), (filtered, clustered), (tagged, clustered), (clustered, outfits)]
    assert followers(filtered, CHAIN, Graph(edges)) == [tagged, clustered], "outfits is not in the chain"
    assert followers(filtered, [], Graph(edges)) == []
    assert followers(filtered, CHAIN, Graph(edges, done=(tagged,))) == [clustered]


def test_what_waits_for_something_else_does_not_follow() -> None:
    filtered, tagged, clustered, raw = (job(rule=rule) for rule in ("filtered", "tagged", "clustered", "raw"))
    edges = [(filtered, tagged), (tagged, clustered), (raw, clustered)]
    assert followers(filtered, CHAIN, Graph(edges)) == [tagged]
    assert followers(filtered, CHAIN, Graph(edges, done=(raw,))) == [tagged, clustered]
    tagged.resources["slurm_partition"] = "big"
    assert followers(filtered, CHAIN, Graph(edges)) == [], "another partition"


def test_a_chain_says_what_may_follow_each_rule() -> None:
    assert chains_of("a+b+c, d+e") == {"a": ["b", "c"], "b": ["c"], "c": [], "d": ["e"], "e": []}
    assert chains_of(None) == {}


def test_sizes_are_read_and_nonsense_is_refused() -> None:
    assert sizes_of("checkpoints=8, filtered=20\n raw=1") == {"checkpoints": 8, "filtered": 20, "raw": 1}
    assert sizes_of(None) == {}
    for broken in ("checkpoints", "checkpoints=0", "checkpoints=-3", "checkpoints=a"):
        with pytest.raises(WorkflowError, match="is not <rule>=<number of jobs>"):
            sizes_of(broken)


def accounting_executor(folder: Path, sizes: str, hold: float = 0.05) -> Any:
    """An executor that only keeps account of what it would submit."""
    import threading

    executor = shards.Executor.__new__(shards.Executor)
    executor.sizes, executor.hold, executor.held, executor.timer = sizes_of(sizes), hold, {}, None
    executor.holding, executor.submitted = threading.Lock(), []
    executor.chains, executor.ahead, executor.codes = {}, {}, folder
    jobids = count()
    executor.shard = lambda jobs: Shard(jobs, folder / str(next(jobids)))
    executor.run_job_pre = lambda job: None
    executor.submit = lambda made: executor.submitted.extend(
        [member.wildcards[0] for member in each.jobs] for each in made
    )
    return executor


def test_full_shards_go_at_once_and_the_rest_soon(tmp_path: Path) -> None:
    executor = accounting_executor(tmp_path, "checkpoints=2")
    executor.run_jobs([job("a"), job("b"), job("c")])
    assert executor.submitted == [["a", "b"]]
    executor.run_jobs([job("d"), job("e")])
    assert executor.submitted == [["a", "b"], ["c", "d"]]
    time.sleep(0.3)
    assert executor.submitted == [["a", "b"], ["c", "d"], ["e"]]


def test_second_attempts_go_alone(tmp_path: Path) -> None:
    executor = accounting_executor(tmp_path, "checkpoints=3")
    executor.run_jobs([job("a", attempt=2), job("b", attempt=2)])
    assert sorted(executor.submitted) == [["a"], ["b"]]


# --- the script, and endings


def script(folder: Path, snakemake: str, *names: str) -> str:
    """A shard's script with another program in place of Snakemake; its arguments are the jobs."""
    shard = Shard([job(name) for name in names], folder)
    shard.codes.mkdir(exist_ok=True)
    targets = format_cli_arg("--target-jobs", [target_of(member) for member in shard.jobs])
    program = folder / "program"
    program.write_text(f"shift; {snakemake}")
    return shard.script(f"sh {program} {targets}")


def codes(folder: Path) -> dict[str, str]:
    return {path.name.split("=")[1]: path.read_text() for path in (folder / "7-1").iterdir()}


def test_one_snakemake_gets_all_jobs_and_its_failure_is_theirs(tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", script(tmp_path, f"""echo "$@" > {tmp_path}/got; exit 3""", "a", "b")], check=True)
    assert (tmp_path / "got").read_text() == "checkpoints:character=a checkpoints:character=b\n"
    assert codes(tmp_path) == {"a-1": "3\n", "b-1": "3\n"}


def test_a_job_that_slurm_starts_once_more_goes_on_where_it_was(tmp_path: Path) -> None:
    text = script(tmp_path, f"""echo "$@" >> {tmp_path}/got""", "a", "b")
    (tmp_path / "7-1" / code_name(job("a"))).write_text("1\n")
    subprocess.run(["sh", "-c", text], check=True)
    assert (tmp_path / "got").read_text() == "checkpoints:character=b\n"
    assert codes(tmp_path) == {"a-1": "1\n", "b-1": "0\n"}
    subprocess.run(["sh", "-c", text], check=True)
    assert (tmp_path / "got").read_text() == "checkpoints:character=b\n", "nothing is left to do"


def test_a_job_that_is_ended_ends_snakemake_and_leaves_no_code(tmp_path: Path) -> None:
    snakemake = f"trap 'touch {tmp_path}/ended; exit 1' TERM; sleep 1; sleep 1; sleep 1"
    process = subprocess.Popen(["sh", "-c", script(tmp_path, snakemake, "a")])
    time.sleep(0.5)
    process.terminate()
    assert process.wait(20) == 143
    assert (tmp_path / "ended").exists()
    assert codes(tmp_path) == {}


def test_names_of_codes_are_file_names() -> None:
    assert code_name(job("a/b c", attempt=2)) == "checkpoints-character=a%2Fb%20c-2"


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
