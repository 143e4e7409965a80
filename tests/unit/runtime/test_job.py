"""How a job ends, and what the last line of its log says of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from charaloom.config.schemas import CODE

BEGIN = "import errno, os\nfrom charaloom.errors import CharaloomError\nfrom charaloom.runtime.job import job\n"


@pytest.mark.parametrize(
    ("raising", "code", "last"),
    [
        ("raise CharaloomError('hana: no')", 1, "Error: hana: no"),
        ("raise KeyboardInterrupt", 130, "Interrupted."),
        (
            "raise OSError(errno.ENOSPC, 'No space left', 'a/b')",
            1,
            "Error: a/b: No space left; free some space, and run again",
        ),
        (
            "raise OSError(errno.ENOENT, 'No such file', 'a/b')",
            1,
            "Error: FileNotFoundError: [Errno 2] No such file: 'a/b'",
        ),
        ("print('done')", 0, "done"),
        ("raise CharaloomError('a\\nError: forged\\x1b[2J')", 1, r"    Error: forged\x1b[2J"),
        ("raise ValueError('a\\nError: forged')", 1, "    Error: forged"),
    ],
)
def test_the_last_line_of_the_log(tmp_path: Path, raising: str, code: int, last: str) -> None:
    log = tmp_path / "logs" / "raw.log"
    script = f"{BEGIN}with job({str(log)!r}):\n    {raising}\n"
    ended = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(CODE / "scripts")}, capture_output=True
    )
    assert ended.returncode == code
    assert log.read_text().splitlines()[-1].startswith(last)
    assert ended.stdout + ended.stderr == b""
