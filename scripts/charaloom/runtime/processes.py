"""Child processes that do not outlive the process that started them."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # of Linux' prctl.h


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """In a child, before it does anything: receive signal `number` when the parent dies, so that no orphan writes.

    A command that a shell starts in the background ignores SIGINT, and so would its children: here they hear it again.
    What is sent at the parent's death is Linux only.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
