"""Child processes that do not outlive the process that started them."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # of Linux' prctl.h


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """In a child, before it does anything: receive signal `number` when the parent dies, so that no orphan writes.

    Linux only; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
