"""How far a job is, in its log."""

import sys
import time


class Progress:
    """A plain line on stderr every few seconds: how many of how many, how fast, how long still."""

    SECONDS = 5.0  # between two lines, set by hand

    def __init__(self, label: str) -> None:
        self.label = label
        self.began = self.printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.printed < self.SECONDS or not total:
            return
        self.printed = now
        rate = done / (now - self.began)
        left = f", {(total - done) / rate:.0f} s left" if rate else ""
        print(f"{self.label}: {done} of {total}, {rate:.1f} a second{left}", file=sys.stderr, flush=True)
