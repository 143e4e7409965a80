"""A model hub on loopback, as far as huggingface_hub asks it for files."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


class Hub(ThreadingHTTPServer):
    """A model hub on loopback: `files` by path, all of one commit; keeps the paths of its `requests`."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.requests = files, []
        self.commit = COMMIT
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.server.requests.append(self.path)
        if self.path.startswith("/api/"):
            self.answer_listing()
            return
        revision, _, path = self.path.partition("/resolve/")[2].partition("/")
        data = self.server.files.get(path)
        right_revision = revision in ("main", self.server.commit)
        ranged = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        found = 206 if ranged else 200
        self.send_response(found if data is not None and right_revision else 404)
        self.send_header("X-Repo-Commit", self.server.commit)
        if data is None or not right_revision:
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        if ranged:
            first, last = int(ranged[1]), int(ranged[2])
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def answer_listing(self) -> None:
        """/api/<type>s/<owner>/<name>/revision/<revision>?blobs=true; without a revision that of main"""
        known = self.path.partition("/revision/")[2].partition("?")[0] in ("", "main", self.server.commit)
        files = [{"rfilename": path, "size": len(data)} for path, data in sorted(self.server.files.items())]
        body = json.dumps({"id": "owner/name", "sha": self.server.commit, "siblings": files} if known else {}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        if not known:
            self.send_header("X-Error-Code", "RevisionNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub while it is asked."""
    hub = Hub(files)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield hub
    hub.shutdown()
    hub.server_close()
