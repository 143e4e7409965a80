"""Locks of files: one run at a time works in a folder, or has a GPU. The kernel frees a lock when its holder dies."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError

SECONDS_BETWEEN_TRIES = 0.2


@contextmanager
def locked(path: PathLike, message: str, seconds: float | None = None) -> Iterator[int]:
    """Hold the lock file `path`, which is made where there is none; yields its descriptor.

    A child process that inherits the descriptor holds the lock, too. Where another process holds it, this one waits at
    most `seconds` and raises CharaloomError with `message`; without a limit it prints `message` once and waits.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if seconds is not None:
            lock_within(descriptor, seconds, message)
        elif not try_lock(descriptor):
            print(message, file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def lock_within(descriptor: int, seconds: float, message: str) -> None:
    limit = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() >= limit:
            raise CharaloomError(message)
        time.sleep(SECONDS_BETWEEN_TRIES)


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder unless another process holds its lock. Raises OSError where it has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
