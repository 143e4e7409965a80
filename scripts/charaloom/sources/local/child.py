"""Work on a stranger's file in a process of its own, whose memory, files and time are bounded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from charaloom.errors import CharaloomError
from charaloom.runtime.processes import confined

MEMORY_BYTES = 3 * 2**30  # address space; set by hand
SECONDS = 6 * 3600.0  # set by hand: a long film on a slow machine
FAILED = 3  # exit status of a child whose message is meant for the user


def run(module: str, facts: dict[str, Any], file_bytes: int) -> dict[str, Any]:
    """Run `python -m <module> <facts as JSON>` and return the JSON that it prints.

    No file that it writes may be larger than `file_bytes`, and where the kernel has Landlock it writes only below the
    fact `folder`. Raises CharaloomError with its message where it has one.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OPENBLAS_NUM_THREADS": "1"}

    try:
        result = subprocess.run(
            [sys.executable, "-m", module, json.dumps(facts)],
            capture_output=True,
            env=environment,
            preexec_fn=confined(MEMORY_BYTES, file_bytes, [Path(facts["folder"])]),
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise CharaloomError(f"{facts['path']}: took longer than {SECONDS / 3600:.0f} hours to read") from error
    if result.returncode == 0:
        return json.loads(result.stdout)
    said = result.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
    if result.returncode == FAILED:
        raise CharaloomError(f"{facts['path']}: {said[-1]}")
    if any("MemoryError" in line or "Cannot allocate" in line for line in said):
        raise CharaloomError(f"{facts['path']}: needs more than {MEMORY_BYTES // 2**30} GiB of memory to read")
    raise CharaloomError(f"{facts['path']}: cannot be read ({said[-1][:200]}). Unpack it yourself and name the folder.")


def fail(message: str) -> NoReturn:
    """End a child with a message for the user."""
    print(message, file=sys.stderr)
    sys.exit(FAILED)
