"""Failures of a cluster, on a real SLURM with real training: each ends in the bytes of an undisturbed run."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.slurm.cluster import command_of
from tests.slurm.project import Project, Run, write_profile

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

HANA = "results/hana/checkpoints.manifest.json"


def of(character: str, digests: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in digests.items() if name.startswith(f"{character}/")}


def half_trained(project: Project, character: str = "hana") -> bool:
    """Training has saved a state and is far from its end."""
    return re.search(r"^step [3-9]\d/", project.said(character), re.M) is not None


def pythons(folder: Path) -> list[int]:
    """Python processes whose working directory is a folder or lies below it."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_python_in(folder, pid)]


def is_python_in(folder: Path, pid: int) -> bool:
    try:
        return str(folder) in os.readlink(f"/proc/{pid}/cwd") and "python" in command_of(pid).partition(" ")[0]
    except OSError:
        return False


def hold(project: Project, *spared: Run) -> None:
    """Stop all Python processes of a project with SIGSTOP, so that they do not end before the test has looked."""
    for pid in set(pythons(project.folder)) - {run.process.pid for run in spared}:
        os.kill(pid, signal.SIGSTOP)


def test_a_quiet_run(project: Project, undisturbed: dict[str, str]) -> None:
    run = project.submit()
    assert run.wait() == 0, run.said
    assert project.artifacts() == undisturbed
    assert {name.split("/")[0] for name in undisturbed} == {"hana", "mei", "rin"}
    assert sum(name.endswith("_emb.safetensors") for name in undisturbed) == 6, "two checkpoints each"


def test_cancelled(project: Project, undisturbed: dict[str, str]) -> None:
    run = project.submit(HANA)
    run.until(lambda: half_trained(project), "training")
    project.cluster.run("scancel", *project.jobs())
    assert run.wait() == 0, run.said
    assert "Trying to restart job" in run.said
    assert project.artifacts() == of("hana", undisturbed)


def test_out_of_time(project: Project, undisturbed: dict[str, str]) -> None:
    """A stopped trainer runs into its limit of a minute; the next attempt has more."""
    resources = {"slurm_partition": "gpu", "mem_mb": 3000, "runtime": "1 if attempt == 1 else 20"}
    write_profile(project.folder / "profile", **{"set-resources": {"checkpoints": resources}})
    run = project.submit(HANA)
    run.until(lambda: half_trained(project), "training")
    hold(project, run)
    assert run.wait() == 0, run.said
    assert "SLURM ended it: TIMEOUT, it needed longer than its runtime" in run.said
    assert project.artifacts() == of("hana", undisturbed)


def test_out_of_memory(project: Project, undisturbed: dict[str, str]) -> None:
    resources = {"slurm_partition": "gpu", "mem_mb": "300 if attempt == 1 else 3000", "runtime": 20}
    write_profile(project.folder / "profile", **{"set-resources": {"checkpoints": resources}})
    run = project.submit(HANA)
    assert run.wait() == 0, run.said
    assert "SLURM ended it: OUT_OF_MEMORY, it needed more than its mem_mb" in run.said
    assert project.artifacts() == of("hana", undisturbed)


def test_a_node_disappears(project: Project, undisturbed: dict[str, str]) -> None:
    """SLURM finds out, and starts the job again when there is a node for it."""
    run = project.submit(HANA)
    run.until(lambda: half_trained(project), "training")
    project.cluster.kill_node("gpu1")
    run.until(
        lambda: "gpu1" in project.cluster.run("sinfo", "--noheader", "--states=down", "--format=%N"), "a node down"
    )
    project.cluster.start_node("gpu1")
    assert run.wait() == 0, run.said
    assert project.artifacts() == of("hana", undisturbed)


def test_the_controller_restarts(project: Project, undisturbed: dict[str, str]) -> None:
    """Jobs that end while slurmctld is down are noticed all the same; later states come from the new slurmctld."""
    run = project.submit(HANA, "results/mei/checkpoints.manifest.json", "--jobs", "1")
    run.until(lambda: half_trained(project) or half_trained(project, "mei"), "training")
    project.cluster.stop_controller()
    try:
        run.until(lambda: "1 of 2 steps" in run.said, "the end of the first")
        run.until(lambda: "SLURM does not answer" in run.said, "a warning")
    finally:
        project.cluster.start_controller()
    assert run.wait() == 0, run.said
    assert project.artifacts() == of("hana", undisturbed) | of("mei", undisturbed)


def test_snakemake_is_killed_and_its_orphans_cancelled(project: Project, undisturbed: dict[str, str]) -> None:
    command = ("run", "--profile", str(project.folder / "profile"), "--until", "checkpoints")
    first = project.charaloom(*command)
    first.until(lambda: half_trained(project), "training")
    hold(project)  # above all Snakemake, which would cancel its jobs between the death of the command and its own
    for pid in pythons(project.folder):
        if "--profile" in command_of(pid):  # the command and its Snakemake, not what SLURM has started
            os.kill(pid, signal.SIGKILL)
    first.kill()
    assert project.jobs(), "the orphans are there still"

    second = project.charaloom(*command)
    assert second.wait() == 1
    assert "left over from an earlier run in this folder" in second.said
    assert "checkpoints of hana" in second.said
    assert "nothing was submitted" in second.said
    plain = project.submit()
    assert plain.wait() == 1, "Snakemake alone does not start beside them either"

    third = project.charaloom(*command, "--orphans", "cancel")
    assert third.wait() == 0, third.said
    assert project.artifacts() == undisturbed


def test_snakemake_is_killed_and_its_orphans_awaited(project: Project, undisturbed: dict[str, str]) -> None:
    run = project.submit(HANA)
    run.until(lambda: half_trained(project), "training")
    run.kill()
    again = project.charaloom(
        "run", "--profile", str(project.folder / "profile"), "--until", "checkpoints", "--orphans", "wait"
    )
    assert again.wait() == 0, again.said
    assert project.artifacts() == undisturbed


def test_a_full_scratch_disk(project: Project, undisturbed: dict[str, str], tmp_path: Path) -> None:
    """Training goes on without saving its state, and fails where it cannot save a checkpoint; with room it resumes."""
    disk = project.folder / "work" / "hana"
    with small_disk(disk, megabytes=60):
        run = project.submit(HANA)
        run.until(lambda: half_trained(project), "training")
        fill(disk / "filler")
        assert run.wait() == 1, run.said
        assert "No space left on device" in run.said + project.said("hana")
        assert project.artifacts() == {}, "nothing half written is taken for a result"
        (disk / "filler").unlink()
        again = project.submit(HANA)
        assert again.wait() == 0, again.said
        assert project.artifacts() == of("hana", undisturbed)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own in a folder; skips where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "drill", folder], capture_output=True)
    if done.returncode:
        pytest.skip(f"needs to mount a small disk: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file: Path) -> None:
    """Fill what is left of a disk."""
    with suppress(OSError), file.open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(65536))


def test_a_shared_file_system_shows_files_late(project: Project, undisturbed: dict[str, str]) -> None:
    """The job's exit code is visible at once, its outputs ten seconds later."""
    write_profile(project.folder / "profile", **{"latency-wait": 40})
    run = project.submit(HANA)
    assert run.until(lambda: [*project.folder.glob(".snakemake/*/codes/*/*[0-9]")], "an exit code", pause=0.01)
    hidden = project.folder / "results" / "hana" / "checkpoints"
    files = [hidden / "config.py", hidden.with_suffix(".manifest.json")]
    for file in files:
        file.rename(file.with_suffix(".late"))
    time.sleep(10)
    for file in files:
        file.with_suffix(".late").rename(file)
    assert run.wait() == 0, run.said
    assert project.artifacts() == of("hana", undisturbed)
