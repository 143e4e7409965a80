"""One real cluster and one small project for all tests here; each test works on its own copy."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import PROGRAMS, Cluster, cluster
from tests.slurm.project import Project, make_project


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    missing = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    if missing:
        pytest.skip("needs the packages slurmctld, slurmd, slurm-client and munge; bash .ci/run installs them")
    with tempfile.TemporaryDirectory(prefix="charaloom-slurm-") as folder:
        Path(folder).chmod(0o755)  # munge wants folders that all may enter
        with cluster(Path(folder) / "cluster") as started:
            yield started


@pytest.fixture(scope="session")
def untrained(tiny_base: Path, drawn_pictures: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three characters before training."""
    return make_project(tmp_path_factory.mktemp("untrained") / "project", tiny_base, drawn_pictures).folder


@pytest.fixture(scope="session")
def undisturbed(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what training all of them on this machine, without a cluster, gives."""
    folder = tmp_path_factory.mktemp("undisturbed") / "elsewhere"
    shutil.copytree(untrained, folder)
    project = Project(folder)
    project.snakemake("stage_checkpoints", "--cores", "2")
    return project.artifacts()


@pytest.fixture
def project(untrained: Path, slurm: Cluster, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(untrained, tmp_path / "project")
    yield Project(tmp_path / "project", slurm)
    slurm.run("scancel", "--me", check=False)
    for node in ("cpu1", "cpu2", "gpu1"):
        slurm.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
