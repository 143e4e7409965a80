"""An answer whose body is still to be read, within its time and its bytes; and why there is none."""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import urllib3
from urllib3.exceptions import HTTPError

from charaloom.sources.network.connections import STALL_SECONDS, Overdue

MESSAGE_BYTES = 65536  # of an answer that is an error
PIECE_BYTES = 65536
ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")
CHALLENGE = re.compile(rb"_cf_chl_opt|challenge-platform|/cdn-cgi/challenge|g-recaptcha|h-captcha")


class NoAnswer(Exception):
    """No answer, or none that could be read to its end; the message is the reason as a table may hold it."""


class TooSlow(NoAnswer):
    """The time for the whole answer was over."""


class Silent(NoAnswer):
    """Nothing came for too long."""


class TooLarge(Exception):
    """More bytes than allowed."""


class Reply:
    """An answer whose body is still to be read."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, seconds: float) -> None:
        self.response, self.url, self.seconds = response, url, seconds
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.encoding = response.headers.get("Content-Encoding", "").strip().lower()
        self.message: bytes | None = None

    def chunks(self, most: int) -> Iterator[bytes]:
        """The decoded body. Raises TooLarge beyond `most` bytes, decoded or as sent, and NoAnswer where it is cut."""
        codings = [part.strip() for part in self.encoding.split(",")]
        if len(codings) > 2 or not set(codings) <= set(ENCODINGS):
            raise NoAnswer("an encoding that was not asked for")
        if (self.response.length_remaining or 0) > most:
            raise TooLarge
        size = 0
        with named_errors(self.seconds):
            for chunk in self.pieces():
                size += len(chunk)
                if max(size, self.response.tell()) > most:
                    raise TooLarge
                yield chunk

    def pieces(self) -> Iterator[bytes]:
        """What is there, as it comes: what was received before a cut is not lost."""
        if self.response.chunked and self.response.supports_chunked_reads():  # type: ignore[attr-defined]
            yield from self.response.stream(PIECE_BYTES, decode_content=True)
            return
        while piece := self.response.read1(PIECE_BYTES, decode_content=True):
            yield piece

    def start(self, most: int) -> bytes:
        """The first bytes of the body, or of what of it can be read; read once."""
        if self.message is None:
            body = bytearray()
            with suppress(NoAnswer, TooLarge):
                for chunk in self.chunks(most):
                    body += chunk
            self.message = bytes(body)
        return self.message


def is_challenge(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    if "challenge" in headers.get("cf-mitigated", "").lower():
        return True
    return (status >= 400 or body[:100].lstrip()[:1] == b"<") and CHALLENGE.search(body[:MESSAGE_BYTES]) is not None


@contextmanager
def named_errors(seconds: float) -> Iterator[None]:
    """Turn the errors of sockets, TLS and urllib3 into NoAnswer, whose reason names neither address nor clock."""
    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        raise named(error, seconds) from error


def named(error: BaseException, seconds: float) -> NoAnswer:
    chain = list(causes(error))
    if any(isinstance(cause, Overdue) for cause in chain):
        return TooSlow(f"more than {seconds:.0f} seconds")
    if any(isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError) for cause in chain):
        return Silent(f"silent for {STALL_SECONDS:.0f} seconds")
    if any(isinstance(cause, socket.gaierror) for cause in chain):
        return NoAnswer("no such host")
    if any(isinstance(cause, ssl.SSLError) for cause in chain):
        return NoAnswer("no trusted certificate, or no TLS")
    return NoAnswer("connection")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
