"""Serves a world in a process of its own, at a free port, under the fixed address that artifacts name."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charaloom.cli.snakemake import environment
from charaloom.errors import CharaloomError

SECONDS_TO_ANSWER = 20.0
PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY")


@contextmanager
def serving(folder: Path, root: str) -> Iterator[None]:
    """Serve a world as the board at `root` while the block runs, to this process and those that it starts.

    The board takes a free port, so that demos side by side never meet, and is their proxy for plain HTTP: every URL,
    and with it every byte, is the same whatever the port. Raises CharaloomError where the board does not start.
    """
    with board(folder, root=root) as address, proxied(address):
        yield


@contextmanager
def board(folder: Path, port: int = 0, root: str | None = None) -> Iterator[str]:
    """Run a board process; yields its address. Port 0 takes a free one; URLs name `root` (its address if None)."""
    with tempfile.TemporaryDirectory(prefix="charaloom-board-") as scratch:
        ready, log = Path(scratch) / "ready", Path(scratch) / "log"
        command = [sys.executable, "-m", "charaloom.demo.world.board", "--world", str(folder), "--port", str(port)]
        command += ["--ready-file", str(ready), *(["--root", root] if root else [])]
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment())
        try:
            wait_for(ready, process, log)
            yield ready.read_text().strip()
        finally:
            process.terminate()
            end(process)


@contextmanager
def proxied(address: str) -> Iterator[None]:
    """Make `address` the proxy of this process and those that it starts, for plain HTTP to any host."""
    before = {name: os.environ.pop(name) for name in PROXY_VARIABLES if name in os.environ}
    os.environ["http_proxy"] = address
    try:
        yield
    finally:
        del os.environ["http_proxy"]
        os.environ.update(before)


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a terminated process; kill one that does not go."""
    try:
        process.wait(SECONDS_TO_ANSWER)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(ready: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + SECONDS_TO_ANSWER
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise CharaloomError(f"the demo board did not start: {log.read_text().strip() or 'its log is empty'}")
        time.sleep(0.05)
