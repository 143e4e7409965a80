"""Locks: who waits, who is refused, and what becomes of a lock whose holder is killed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from charaloom.artifacts.locks import locked
from charaloom.errors import CharaloomError

HOLD = "import sys, time; from charaloom.artifacts.locks import locked\n"
HOLD += "with locked(sys.argv[1], ''): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path: Path) -> "subprocess.Popen[str]":
    """Another process that holds the lock of `tmp_path`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "scripts")}


def test_the_second_is_refused_with_the_message(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(CharaloomError, match="busy"), locked(tmp_path / "lock", "busy", 0.0):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock", "busy", 0.0):
        pass


def test_within_the_limit_the_second_waits(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    timer = threading.Timer(0.3, holder.kill)
    timer.start()
    with locked(tmp_path / "lock", "busy", 30.0):
        timer.join()
        assert holder.wait() != 0


def test_without_a_limit_the_message_is_printed(
    tmp_path: Path, holder: "subprocess.Popen[str]", capfd: pytest.CaptureFixture[str]
) -> None:
    timer = threading.Timer(0.3, holder.kill)
    timer.start()
    with locked(tmp_path / "lock", "waiting for another run"):
        assert holder.wait() != 0
    assert capfd.readouterr().err == "waiting for another run\n"


def test_a_child_that_inherits_the_descriptor_holds_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "new" / "lock", "busy", 0.0) as descriptor:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    with pytest.raises(CharaloomError), locked(tmp_path / "new" / "lock", "busy", 0.0):
        pass
    child.kill()
    child.wait()
    with locked(tmp_path / "new" / "lock", "busy", 0.0):
        pass
