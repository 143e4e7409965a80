"""Calls to the hub on loopback, their answers, and what goes wrong with them on purpose."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CUT, HALF, LOST = "cut", "half", "lost"  # before anything is done, in the middle of what is sent, after it is done


@dataclass
class Fault:
    """Something that goes wrong: with the call number `at`, or with those that match `call` (`POST .*/commit/.*`).

    `how` is `cut`, `half`, `lost`, or a status: in place of what is asked, or with `after` when that is done.
    """

    how: str | int
    at: int | None = None
    call: str | None = None
    times: int = 1
    after: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "on purpose"}'

    def hits(self, number: int, call: str) -> bool:
        wanted = self.at == number if self.call is None else re.fullmatch(self.call, call) is not None
        if wanted and self.times > 0:
            self.times -= 1
            return True
        return False


@dataclass
class Call:
    """A request as it came: method and path, and the bytes of its body."""

    what: str
    size: int


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, **headers: str) -> "Answer":
        return cls(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def part_of(answer: Answer, wanted: str) -> Answer:
    """The range of bytes that is asked for, of a file."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if not found or answer.status != 200 or "ETag" not in answer.headers:
        return answer
    first, size = int(found[1]), len(answer.body)
    last = min(int(found[2] or size), size - 1)
    headers = {**answer.headers, "Content-Range": f"bytes {first}-{last}/{size}"}
    return Answer(206, answer.body[first : last + 1], headers)
