"""Children end with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import subprocess
import sys
import time
from functools import partial
from charaloom.runtime.processes import die_with_parent
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[2]], preexec_fn=partial(die_with_parent, int(sys.argv[1])), stdout=subprocess.PIPE
)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
WILLING = "import time; print(flush=True); time.sleep(60)"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such signal")
@pytest.mark.parametrize(("number", "child"), [(signal.SIGKILL, STUBBORN), (signal.SIGINT, WILLING)])
def test_c2_a_child_ends_with_its_parent(number: int, child: str) -> None:
    command = [sys.executable, "-c", PARENT, str(int(number)), child]
    package = {"PYTHONPATH": str(Path(__file__).parents[3] / "scripts")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **package}) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(process):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.05)


def test_a_child_of_a_background_command_hears_ctrl_c() -> None:
    """A shell starts background commands with SIGINT ignored, which their children would inherit."""
    ignoring = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{PARENT}"
    command = [sys.executable, "-c", ignoring, str(int(signal.SIGKILL)), WILLING]
    package = {"PYTHONPATH": str(Path(__file__).parents[3] / "scripts")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **package}) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        os.kill(process, signal.SIGINT)
        deadline = time.monotonic() + 10
        while alive(process):
            assert time.monotonic() < deadline, "the child ignores SIGINT"
            time.sleep(0.05)
        parent.kill()


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
