"""Connections that end in time and lead to the address that was checked.

A socket's timeout only bounds the wait for the next byte. Here every read of a connection, of its headers and while TLS
is set up, has what is left of the time that `within` gives to the whole answer.
"""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import certifi
import urllib3
from ssrfguard import connect
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from charaloom.sources.network.addresses import Places, certificates

STALL_SECONDS = 20.0  # without a byte, set by hand
CONNECT_SECONDS = 10.0
ENDS: ContextVar[float] = ContextVar("ends")  # monotonic time at which this thread's answer must be there


class Overdue(TimeoutError):
    """The time for the whole answer is over."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Everything that this thread reads from the network in the block has `seconds` in all."""
    token = ENDS.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        ENDS.reset(token)


def seconds_left(most: float) -> float:
    """What is left of the time, at most `most`. Raises Overdue where it is over."""
    left = ENDS.get() - time.monotonic()
    if left <= 0:
        raise Overdue("no time left")
    return min(left, most)


@contextmanager
def timed_read(connection: socket.socket) -> Iterator[None]:
    connection.settimeout(seconds_left(STALL_SECONDS))
    try:
        yield
    except TimeoutError:
        seconds_left(STALL_SECONDS)  # raises Overdue where it was not the silence that ended the wait
        raise


class TimedSocket(socket.socket):
    def recv_into(self, *arguments: Any) -> int:
        with timed_read(self):
            return super().recv_into(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        with timed_read(self):
            return super().recv(*arguments)


class TimedTLSSocket(ssl.SSLSocket):
    def recv_into(self, *arguments: Any) -> int:
        with timed_read(self):
            return super().recv_into(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        with timed_read(self):
            return super().recv(*arguments)


def tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates() or certifi.where())
    context.sslsocket_class = TimedTLSSocket
    return context


def timed(plain: socket.socket) -> socket.socket:
    timeout = plain.gettimeout()
    connection = TimedSocket(fileno=plain.detach())
    connection.settimeout(timeout)
    return connection


def lookup(*arguments: Any) -> Any:
    """`socket.getaddrinfo`, which knows no timeout, with one."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(*arguments))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds_left(CONNECT_SECONDS))
    except queue.Empty as error:
        raise TimeoutError("no answer of the name service") from error
    if isinstance(answer, UnicodeError):
        raise OSError(str(answer))
    if isinstance(answer, OSError):
        raise answer
    return answer


# ---- urllib3's pools


def pinned(places: Places, connections: int) -> urllib3.PoolManager:
    """Pools whose connections lead to public addresses, as they were looked up and checked, or to what the user
    named. The name in TLS and in the Host header stays the host's."""

    def opened(connection: HTTPConnection, scheme: str) -> socket.socket:
        addresses, policy = places.looked_up(scheme, connection._dns_host, connection.port, lookup)
        seconds = seconds_left(CONNECT_SECONDS)
        options = connection.socket_options
        return timed(connect(addresses, policy=policy, timeout=seconds, socket_options=options))  # type: ignore[arg-type]

    class PinnedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return opened(self, "http")

    class PinnedTLSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return opened(self, "https")

    manager = urllib3.PoolManager(maxsize=connections, ssl_context=tls(), retries=False)
    manager.pool_classes_by_scheme = pool_classes(PinnedConnection, PinnedTLSConnection)  # type: ignore[assignment]
    return manager


def proxied(proxy: str, connections: int) -> urllib3.ProxyManager:
    """Pools of a proxy of the user's: it looks the names up, so nothing can be pinned."""

    class TimedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return timed(super()._new_conn())

    class TimedTLSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return timed(super()._new_conn())

    parts = urllib3.util.parse_url(proxy)
    headers = urllib3.util.make_headers(proxy_basic_auth=parts.auth) if parts.auth else {}
    address = parts._replace(auth=None).url
    manager = urllib3.ProxyManager(
        address, maxsize=connections, ssl_context=tls(), retries=False, proxy_headers=headers
    )
    manager.pool_classes_by_scheme = pool_classes(TimedConnection, TimedTLSConnection)  # type: ignore[assignment]
    return manager


def pool_classes(plain: type, encrypted: type) -> dict[str, type]:
    """As urllib3's own table, with other connections; a new one for each manager."""
    return {
        "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("TLSPool", (HTTPSConnectionPool,), {"ConnectionCls": encrypted}),
    }
