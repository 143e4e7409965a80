"""Trying again: what is worth it, how long to wait, and what to tell when it is not.

huggingface_hub tries some calls again and neither a commit nor the making of a repository: whether those happened can
only be told by looking. So `Attempts.once` says that a call failed in a way that may pass, and its caller looks.
"""

import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from charaloom.errors import CharaloomError
from charaloom.publishing.hub.remote import NoXetError, response_of

T = TypeVar("T")
TRIES = 8  # failures of one repository until it is given up; set by hand, as the following
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds, doubled each time
LONGEST_ASKED = 900.0  # seconds that a hub may ask for; with more, the run ends and says so
PASSING = frozenset({408, 409, 412, 421, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
RESET = re.compile(r"(?:^|[;,\s])t=(\d+)")  # of the header `RateLimit`
CURES = {
    401: "refuses the token: set HF_TOKEN to a valid one of this hub",
    403: "does not let this token write there: take a token with the right to write, of a user who may, or mend"
    " `published.targets`",
    404: "does not know this repository or this call: check `published.targets` and HF_ENDPOINT",
    413: "takes no request as large as this one: make files smaller, or ask who runs the hub",
}


@dataclass
class Attempts:
    """The failures of one repository so far; `what` names it in messages."""

    what: str
    sleep: Callable[[float], None] = time.sleep
    failures: int = 0

    def of(self, step: Callable[[], T]) -> T:
        """The result of a step that may be repeated at will."""
        while True:
            done, result = self.tried(step)
            if done:
                return result  # type: ignore[return-value]  # it is one where it is done

    def once(self, step: Callable[[], T]) -> T | None:
        """The result of a step; None where it failed in a way that may pass: look whether it happened all the same."""
        return self.tried(step)[1]

    def tried(self, step: Callable[[], T]) -> tuple[bool, T | None]:
        try:
            return True, step()
        except (CharaloomError, NoXetError):
            raise
        except Exception as problem:
            self.note(problem)
            return False, None

    def note(self, problem: Exception) -> None:
        """Wait after a failure that may pass; raise what the user can mend, and what is no failure of the hub."""
        response = response_of(problem)
        said = f"{type(problem).__name__}: {first_line(problem)}"
        if response is not None and response.status_code not in PASSING:
            cure = CURES.get(response.status_code, f"answers {response.status_code}")
            raise CharaloomError(f"{self.what}: the hub {cure}. ({said})") from problem
        if response is None and not of_the_network(problem):
            raise problem
        self.failures += 1
        wait = asked_for(response) if response is not None else None
        if wait is not None and wait > LONGEST_ASKED:
            raise CharaloomError(
                f"{self.what}: the hub asks to wait {wait:,.0f} seconds; run again after that. ({said})"
            ) from problem
        if self.failures >= TRIES:
            raise CharaloomError(
                f"{self.what}: given up after {TRIES} failures; what the hub held before it holds still. Run again "
                f"later: what has arrived is not sent twice. ({said})"
            ) from problem
        grown = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self.failures - 1))
        seconds = wait if wait is not None else grown * random.uniform(0.75, 1.25)
        print(f"{self.what}: {said}; looking again in {seconds:.0f} s", file=sys.stderr, flush=True)
        self.sleep(seconds)


def of_the_network(problem: BaseException) -> bool:
    """Whether an error without an answer is one of the connection, or of an answer that nobody can read."""
    if isinstance(problem, OSError) and problem.filename is not None:
        return False  # a file of this machine
    known = isinstance(problem, OSError | ValueError | RuntimeError | EOFError)
    return known or type(problem).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "hf_xet")


def asked_for(response: object) -> float | None:
    """Seconds that the hub asks to wait: `Retry-After` in seconds or as a date, or the reset of `RateLimit`."""
    headers = getattr(response, "headers", {})
    after, limit = headers.get("Retry-After", "").strip(), RESET.search(headers.get("RateLimit", ""))
    if after.isdecimal():
        return float(after)
    if after:
        try:
            until = parsedate_to_datetime(after)
        except ValueError:
            return None
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return float(limit[1]) + 1 if limit else None


def first_line(problem: BaseException) -> str:
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), "")
