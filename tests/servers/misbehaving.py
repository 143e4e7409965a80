"""A board that misbehaves on purpose: each fault is named for a path, and happens so many times."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from charaloom.demo.world.board import Answer, Board, Handler

Fault = Callable[[Handler, Answer], None]


def answering(
    status: int, body: bytes = b"", type: str = "application/json", **headers: str | Callable[[], str]
) -> Fault:
    """Another answer than the true one; a header's name is written with underscores, its value may be made then."""

    def fault(handler: Handler, _: Answer) -> None:
        named = {name.replace("_", "-"): value() if callable(value) else value for name, value in headers.items()}
        handler.send(Answer(status, body, type, named))

    return fault


def cut_after(share: float) -> Fault:
    """The connection breaks in the middle of the body; the announced length stays true."""

    def fault(handler: Handler, answer: Answer) -> None:
        start(handler, answer, len(answer.body))
        handler.wfile.write(answer.body[: int(len(answer.body) * share)])
        hang_up(handler)

    return fault


def endless(handler: Handler, answer: Answer) -> None:
    """A body without a length that goes on until the client has enough."""
    start(handler, answer, None)
    for _ in range(10_000):
        handler.wfile.write(answer.body)
    hang_up(handler)


def dripping(handler: Handler, answer: Answer) -> None:
    """Some bytes, and then one a quarter of a second."""
    start(handler, answer, len(answer.body))
    for position in range(len(answer.body)):
        handler.wfile.write(answer.body[position : position + 1])
        if position > 100:
            handler.wfile.flush()
            time.sleep(0.25)


def start(handler: Handler, answer: Answer, length: int | None) -> None:
    handler.send_response(answer.status)
    handler.send_header("Content-Type", answer.type)
    handler.send_header("Connection", "close")
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def hang_up(handler: Handler) -> None:
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Planned:
    fault: Fault
    times: int
    happened: list[float] = field(default_factory=list)


class MisbehavingHandler(Handler):
    def send(self, answer: Answer) -> None:
        for part, planned in self.server.faults.items():
            if part in self.path and len(planned.happened) < planned.times and not getattr(self, "misbehaved", False):
                planned.happened.append(time.monotonic())
                self.misbehaved = True
                try:
                    return planned.fault(self, answer)
                finally:
                    self.misbehaved = False
        return super().send(answer)


class Misbehaving(Board):
    """`faults`: by a part of the path, which fault happens and how many times."""

    handler = MisbehavingHandler

    def plan(self, part: str, fault: Fault, times: int = 1) -> Planned:
        self.faults[part] = planned = Planned(fault, times)
        return planned

    def __init__(self, *arguments, **options) -> None:
        self.faults: dict[str, Planned] = {}
        super().__init__(*arguments, **options)
