"""Which GPU a job has, on a machine with several. No GPU is needed: what is decided is a name."""

import os
import threading
from pathlib import Path

import pytest

from charaloom.runtime.gpus import VARIABLE, Gpu, gpus, one_gpu


def test_jobs_side_by_side_have_different_ones_and_the_third_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "2,5")
    waited = []

    def third() -> None:
        with one_gpu(tmp_path) as name:
            waited.append(name)

    with one_gpu(tmp_path) as first:
        monkeypatch.setenv(VARIABLE, "2,5")  # each job starts with what the machine shows
        with one_gpu(tmp_path) as second:
            assert (first, second) == ("2", "5")
            assert os.environ[VARIABLE] == "5"
            monkeypatch.setenv(VARIABLE, "2,5")
            thread = threading.Thread(target=third)
            thread.start()
            thread.join(0.2)
            assert waited == []
    thread.join(10)
    assert waited


@pytest.mark.parametrize("shown", ["", "3"])
def test_where_there_is_no_choice_nothing_changes(shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, shown)
    with one_gpu(tmp_path) as name:
        assert name is None
        assert os.environ[VARIABLE] == shown
    assert list(tmp_path.iterdir()) == []


NVIDIA_SMI = """#!/bin/sh
case "$1" in
*compute_cap*) printf '0, NVIDIA A100-SXM4-40GB, 40960, 40000, 8.0\n1, Tesla T4, 15360, [N/A], 7.5\n' ;;
*) printf '0\n1\n' ;;
esac
"""


def test_gpus_are_what_nvidia_smi_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    large, small = gpus()
    assert large == Gpu("NVIDIA A100-SXM4-40GB", 40960 * 2**20, 40000 * 2**20, 8.0)
    assert (large.precision, small.precision, small.free) == ("bf16", "fp16", 0)
    monkeypatch.setenv(VARIABLE, "1")
    assert gpus() == [small]
