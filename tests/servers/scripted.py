"""A site whose every path is a function of the test's, and a listener that nobody should reach."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.lock:
            self.server.requests.append((time.monotonic(), self.command, self.path, headers))
        with suppress(ConnectionError):
            self.server.routes.get(path, not_found)(self)

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A header's name is written with underscores; Content-Length is the body's unless given."""
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Length": str(len(body)), **named}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def raw(self, data: bytes, pause: float = 0.0) -> None:
        """Bytes as they are, one by one with a pause between them, and then the end of the connection."""
        self.close_connection = True
        for position in range(0, len(data), 1 if pause else len(data)):
            self.wfile.write(data[position : position + 1] if pause else data)
            self.wfile.flush()
            time.sleep(pause)

    def log_message(self, format: str, *args: object) -> None:
        pass


def not_found(handler: ScriptedHandler) -> None:
    handler.answer(404, b"{}")


class Scripted(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, routes: dict[str, Callable[[ScriptedHandler], None]], address: str = "127.0.0.1") -> None:
        self.routes, self.lock = routes, threading.Lock()
        self.requests: list[tuple[float, str, str, dict[str, str]]] = []
        super().__init__((address, 0), ScriptedHandler)
        self.root = f"http://{address}:{self.server_address[1]}"

    def paths(self, method: str = "GET") -> list[str]:
        return [path for _, of, path, _ in self.requests if of == method]

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def scripted(routes: dict[str, Callable[[ScriptedHandler], None]], address: str = "127.0.0.1") -> Iterator[Scripted]:
    server = Scripted(routes, address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def trap() -> Iterator[tuple[int, list[object]]]:
    """(port, connections): a listener on all addresses of this machine, IPv4 and IPv6, at one port."""
    connections: list[object] = []
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)

    def listen() -> None:
        with suppress(OSError):
            while True:
                connection, peer = listener.accept()
                connections.append(peer)
                connection.close()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield listener.getsockname()[1], connections
    finally:
        listener.close()
