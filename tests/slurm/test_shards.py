"""Several characters in one SLURM job: what fails fails alone, what is loaded stays warm."""

import json
import re
import sys

import pytest

from tests.slurm.project import Project, write_profile

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def submissions(output: str) -> list[str]:
    """SLURM job ids in the order of submission, one entry for each of Snakemake's jobs."""
    return re.findall(r"has been submitted with SLURM jobid (\d+)", output)


def test_one_of_three_fails_and_the_others_are_kept(project: Project, undisturbed: dict[str, str]) -> None:
    """All three train in one GPU job; mei's dataset is broken."""
    write_profile(project.folder / "profile", **{"slurm-shards-sizes": "checkpoints=3", "retries": 1})
    (project.folder / "results/mei/dataset/data/train-00000.parquet").write_bytes(b"no table")
    run = project.submit()
    assert run.wait() == 1, run.said
    assert len(submissions(run.said)) == 2, "one job of three, and mei's second attempt alone"
    assert {name.split("/")[0] for name in project.artifacts()} == {"hana", "rin"}
    assert project.artifacts() == {name: digest for name, digest in undisturbed.items() if "mei/" not in name}
    assert "It ended with exit code 1." in run.said

    plan = project.snakemake("stage_checkpoints", "--cores", "1", "--dry-run", "--quiet", "rules")
    assert re.search(r"^checkpoints +1$", plan, re.M), "only mei is still to be trained"
    status = project.charaloom("status")
    assert status.wait() == 0
    assert re.search(r"^mei .* failed in checkpoints: ", status.said, re.M), status.said


WARM = """
rule all:
    input: expand("{name}.txt", name=["a", "b", "c"])

rule member:
    output: "{name}.txt"
    resources: runtime=2, mem_mb=500
    shell:
        '''
        if ! kill -0 $(cat warm.pid 2> /dev/null) 2> /dev/null; then
            setsid sleep 300 < /dev/null > /dev/null 2>&1 &
            echo $! > warm.pid
            echo {wildcards.name} >> loads
        fi
        [ {wildcards.name} != b ] && echo $SLURM_JOB_ID > {output}
        '''
"""


def test_what_the_first_loads_is_warm_for_the_others_and_gone_with_the_job(project: Project) -> None:
    """A process that one member leaves running serves the later members of the same SLURM job."""
    folder = project.folder / "warm"
    folder.mkdir()
    (folder / "Snakefile").write_text(WARM)
    write_profile(folder, **{"slurm-shards-sizes": "member=3", "retries": 0})
    own = [sys.executable, "-m", "snakemake", "--profile", ".", "--directory", ".", "--workflow-profile", "none"]
    run = Project(folder, project.cluster).start(*own, "--keep-going", "--scheduler", "greedy")
    assert run.wait() == 1, run.said
    assert (folder / "loads").read_text().split() in (["a"], ["b"], ["c"]), "loaded once"
    assert (folder / "a.txt").read_text() == (folder / "c.txt").read_text(), "one SLURM job"
    assert not (folder / "b.txt").exists()


CHAIN = """
rule all:
    input: expand("{name}.{part}.txt", name=["a", "b", "c"], part=["first", "page", "second", "third"])

rule first:
    output: "{name}.first.txt"
    shell: "echo $SLURM_JOB_ID > {output}"

rule page:
    input: "{name}.first.txt"
    output: "{name}.page.txt"
    shell: "echo $SLURM_JOB_ID > {output}"

rule second:
    input: "{name}.first.txt"
    output: "{name}.second.txt"
    log: "{name}.second.log"
    resources: attempt=lambda wildcards, attempt: attempt
    shell: "[ {wildcards.name} != b -o {resources.attempt} = 2 ] && echo $SLURM_JOB_ID > {output}"

rule third:
    input: "{name}.second.txt", "{name}.page.txt"
    output: "{name}.third.txt"
    shell: "cat {input} > /dev/null && echo $SLURM_JOB_ID > {output}"
"""


def test_a_chain_runs_in_one_job_and_each_part_of_it_ends_alone(project: Project) -> None:
    """Three chains of four jobs in one SLURM job. In one chain a job fails; it and what needs it run elsewhere."""
    folder = project.folder / "chain"
    folder.mkdir()
    (folder / "Snakefile").write_text(CHAIN)
    write_profile(
        folder, **{"slurm-shards-sizes": "first=3", "slurm-shards-chains": "first+page+second+third", "retries": 1}
    )
    own = [sys.executable, "-m", "snakemake", "--profile", ".", "--directory", ".", "--workflow-profile", "none"]
    run = Project(folder, project.cluster).start(*own, "--keep-going", "--scheduler", "greedy")
    assert run.wait() == 0, run.said
    jobs = {path.stem: path.read_text().strip() for path in folder.glob("*.*.txt")}
    elsewhere = {"b.second", "b.third"}
    assert len({jobs[part] for part in jobs.keys() - elsewhere}) == 1, jobs
    assert len(jobs) == 12, jobs
    assert jobs["a.first"] not in {jobs[part] for part in elsewhere}, jobs
    assert len(submissions(run.said)) == 3, "the shard, b.second once more, b.third"


def test_a_profile_with_a_broken_size_is_refused(project: Project) -> None:
    write_profile(project.folder / "profile", **{"slurm-shards-sizes": "checkpoints=many"})
    run = project.submit()
    assert run.wait() == 1
    assert "'checkpoints=many' is not <rule>=<number of jobs>" in run.said


def test_what_can_never_run_is_reported_at_once(project: Project) -> None:
    resources = {"slurm_partition": "gpu", "mem_mb": 10**7, "runtime": 20}
    write_profile(project.folder / "profile", **{"set-resources": {"checkpoints": resources}, "retries": 0})
    run = project.submit("results/hana/checkpoints.manifest.json")
    assert run.wait() == 1
    assert "SLURM sbatch failed" in run.said
    assert project.said("hana").splitlines()[-1].startswith("Error: SLURM sbatch failed. The error message was")
    assert json.loads((project.folder / "profile/profile.v9+.yaml").read_text())["executor"] == "slurm-shards"
