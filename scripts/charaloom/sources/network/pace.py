"""How often a host is asked: one clock per host, shared by all jobs of this machine through a file and its lock.

`work/hosts/<host>.json` holds when the next request may go, and what a host in trouble asked for. The times are those
of the system's clock, so that they survive a restart; a clock that jumps costs at most one wait.
"""

import fcntl
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from charaloom.artifacts.files import safe_name
from charaloom.errors import CharaloomError

# Set by hand.
MARGIN = 1.05  # between two requests, so that they do not arrive closer than they left
LONGEST_WAIT = 900.0  # seconds that a host may ask us to wait; for longer, the run stops
LONGEST_BACK_OFF = 300.0
ROUNDS = 5  # times that a host may refuse in a row before the run stops
FORGOTTEN = 3600.0  # seconds after which old trouble no longer counts
SPOKEN = 10.0  # seconds of a wait of which the log speaks
LONGEST_KEPT = 86400.0


@dataclass
class State:
    """All in seconds of the system's clock."""

    next: float = 0.0  # when the next request may go
    closed: float = 0.0  # until when the host asked to be left alone
    refused: float = 0.0  # when it last refused
    rounds: int = 0  # refusals in a row


class Pace:
    """The pace of one host. `pause`, `patience`: seconds between two requests, and of the first wait after trouble."""

    def __init__(self, folder: Path, host: str, pause: float, patience: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{safe_name(host)}.json"
        self.host, self.pause, self.patience = host, pause, patience

    def wait_for_turn(self, stopped: Callable[[], bool] = lambda: False) -> float:
        """Wait until a request may go; returns when that was. Raises CharaloomError where the host asked for longer
        than is waited for."""
        spoken = False
        while True:
            with self.state() as state:
                now = time.time()
                self.forget(state, now)
                ready = max(state.next, state.closed)
                if ready <= now:
                    # In trouble, one request at a time finds out whether it is over.
                    pause = max(self.pause, self.patience) if state.rounds else self.pause * MARGIN
                    state.next = now + pause if pause else state.next
                    return now
            wait = ready - now
            if wait > LONGEST_WAIT:
                raise CharaloomError(
                    f"{self.host}: asked to be left alone for {wait / 60:.0f} minutes. Run again then; nothing that "
                    "was fetched is lost."
                )
            if wait >= SPOKEN and not spoken:
                print(f"{self.host}: waiting {wait:.0f} s before the next request", file=sys.stderr, flush=True)
                spoken = True
            time.sleep(min(wait, 1.0))
            if stopped():
                raise CharaloomError(f"{self.host}: the run was stopped")

    def refused(self, asked: float, departed: float) -> bool:
        """A 429 or 503 came, `asked` (0: nothing) being the seconds it asks for; False where it is time to stop.

        What had left before the last refusal is no new one.
        """
        with self.state() as state:
            now = time.time()
            self.forget(state, now)
            if departed >= state.refused:
                state.rounds, state.refused = state.rounds + 1, now
            growing = min(self.patience * 2 ** (state.rounds - 1), LONGEST_BACK_OFF) * random.uniform(1.0, 1.5)
            state.closed = max(state.closed, now + min(asked or growing, LONGEST_KEPT))
            return state.rounds < ROUNDS

    def answered(self) -> None:
        """An answer that is none of those: the trouble is over."""
        with self.state() as state:
            if state.rounds:
                state.rounds, state.next = 0, min(state.next, time.time() + self.pause * MARGIN)

    def forget(self, state: State, now: float) -> None:
        """Old trouble, and times that a clock set back has put far ahead."""
        if state.rounds and now - max(state.closed, state.refused) > FORGOTTEN:
            state.rounds = 0
        if state.closed > now + LONGEST_KEPT:
            state.closed = now
        state.next = min(state.next, now + max(self.pause, self.patience) * MARGIN)
        if state.refused > now:
            state.refused = now

    @contextmanager
    def state(self) -> Iterator[State]:
        """The state, locked against other threads and jobs; written back where it changed."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = os.pread(descriptor, 1000, 0)
            state = read_state(before)
            yield state
            after = json.dumps(asdict(state)).encode().ljust(200)
            if after != before:
                os.pwrite(descriptor, after, 0)
        finally:
            os.close(descriptor)


def read_state(data: bytes) -> State:
    """What a file holds; a fresh state where it holds none, or is damaged."""
    try:
        value = json.loads(data)
        state = State(float(value["next"]), float(value["closed"]), float(value["refused"]), int(value["rounds"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return State()
    return state if all(0 <= number < 1e12 for number in asdict(state).values()) else State()


# ---- what a host asks for


def seconds_asked(headers: Mapping[str, str]) -> float:
    """Seconds that a 429 or 503 asks to wait, by Retry-After (seconds or a date) or the RateLimit headers; else 0."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    if value and (at := date_of(value)) is not None:
        return max(0.0, at - (date_of(headers.get("Date", "")) or time.time()))
    for name in ("RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset"):
        if re.fullmatch(r"\d+(\.\d+)?", number := headers.get(name, "").strip()):
            reset = float(number)
            return max(0.0, reset - time.time()) if reset > 1e9 else reset  # some write a time, some seconds
    window = re.search(r"(?:^|[;,])\s*(?:t|reset)=(\d+)", headers.get("RateLimit", ""))
    return float(window[1]) if window else 0.0


def date_of(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
