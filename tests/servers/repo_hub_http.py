"""How `RepoHub` is spoken to: the calls of huggingface_hub over HTTP, and faults that happen to them on purpose."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.repo_hub import Refused, Repo, RepoHub, User
from tests.servers.repo_hub_calls import CUT, HALF, LOST, Answer, Call, Fault, part_of

KINDS = {"models": "model", "datasets": "dataset"}


class Server(ThreadingHTTPServer):
    """The hub at an address; it keeps all `calls`."""

    daemon_threads = True

    def __init__(self, hub: RepoHub) -> None:
        self.hub, self.faults, self.calls = hub, list[Fault](), list[Call]()
        self.lock = threading.RLock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def store(self) -> str:
        """Where files lie: another name of the same machine, as with real hubs."""
        return f"http://localhost:{self.server_port}"

    def sent(self, pattern: str = ".*") -> int:
        """Bytes that came in the bodies of requests."""
        return sum(call.size for call in self.calls if re.fullmatch(pattern, call.what))

    def counted(self, pattern: str) -> int:
        return sum(re.fullmatch(pattern, call.what) is not None for call in self.calls)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for an acknowledgement of its headers

    def handle_any(self) -> None:
        with self.server.lock:
            number, what = len(self.server.calls), f"{self.command} {unquote(self.path.partition('?')[0])}"
            self.server.calls.append(Call(what, 0))
            fault = next((fault for fault in self.server.faults if fault.hits(number, what)), None)
        length = int(self.headers.get("Content-Length") or 0)
        if fault and fault.how in (CUT, HALF):
            self.rfile.read(length // 2 if fault.how == HALF else 0)
            self.hang_up()
            return
        body = self.rfile.read(length) if length else self.read_chunks()
        self.server.calls[number].size = len(body)
        if fault and isinstance(fault.how, int) and not fault.after:
            self.send(Answer(fault.how, fault.body, {"Content-Type": "application/json", **fault.headers}))
            return
        with self.server.lock:
            answer = answered(self, body)
        if fault and fault.how == LOST:
            self.hang_up()
        elif fault and isinstance(fault.how, int):
            self.send(Answer(fault.how, fault.body, {"Content-Type": "application/json", **fault.headers}))
        else:
            self.send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def read_chunks(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, answer: Answer) -> None:
        answer = part_of(answer, self.headers.get("Range", "")) if self.command == "GET" else answer
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


def answered(handler: Handler, body: bytes) -> Answer:
    """What the hub answers, refusals included."""
    token = handler.headers.get("Authorization", "").removeprefix("Bearer ") or None
    path, query = urlsplit(handler.path).path, parse_qs(urlsplit(handler.path).query)
    try:
        for pattern, route in ROUTES:
            if found := re.fullmatch(pattern, f"{handler.command} {path}"):
                return route(Asked(handler.server, token, body, found.groups(), query))
        raise Refused(404, "", f"no such call: {handler.command} {path}")
    except Refused as refusal:
        headers = {"X-Error-Message": refusal.message, "Content-Type": "application/json", **refusal.headers}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        more = {"url": f"{handler.server.address}/"} if refusal.status == 409 else {}
        return Answer(refusal.status, json.dumps({"error": refusal.message, **more}).encode(), headers)


@dataclass
class Asked:
    """One call: who asks, for what, with which body."""

    server: Server
    token: str | None
    body: bytes
    parts: tuple[Any, ...]
    query: dict[str, list[str]]

    @property
    def hub(self) -> RepoHub:
        return self.server.hub

    @property
    def user(self) -> User | None:
        return self.hub.user(self.token)

    @property
    def value(self) -> Any:
        return json.loads(self.body or b"{}")

    @property
    def repo(self) -> Repo:
        return self.hub.readable(self.user, KINDS[self.parts[0] or "models"], self.parts[1])

    @property
    def own_repo(self) -> Repo:
        return self.hub.writable(self.user, KINDS[self.parts[0] or "models"], self.parts[1])

    def named(self, number: int) -> str:
        return unquote(self.parts[number])


def whoami(asked: Asked) -> Answer:
    return Answer.json(asked.hub.whoami(asked.user))


def create(asked: Asked) -> Answer:
    wanted = asked.value
    private = wanted.get("visibility") == "private" or wanted.get("private") is True
    kind = wanted.get("type") or "model"
    name = asked.hub.create(asked.user, kind, wanted["name"], wanted.get("organization"), private)
    return Answer.json({"url": f"{asked.server.address}/{'datasets/' if kind == 'dataset' else ''}{name}"})


def validate_yaml(asked: Asked) -> Answer:
    return Answer.json({"errors": [], "warnings": []})


def preupload(asked: Asked) -> Answer:
    return Answer.json({"files": asked.hub.preupload(asked.own_repo, asked.named(2), asked.value["files"])})


def batch(asked: Asked) -> Answer:
    assert asked.own_repo
    objects = [upload_of(asked, wanted) for wanted in asked.value["objects"]]
    return Answer.json({"transfer": "basic", "objects": objects})


def upload_of(asked: Asked, wanted: dict[str, Any]) -> dict[str, Any]:
    oid, size, piece = wanted["oid"], wanted["size"], asked.hub.piece_bytes
    if asked.hub.has(oid, size):
        return wanted
    if size <= piece:
        upload = {"href": f"{asked.server.store}/lfs/{oid}"}
        verify = {"href": f"{asked.server.address}/lfs/verify"}
        return {**wanted, "actions": {"upload": upload, "verify": verify}}
    pieces = {str(n + 1): f"{asked.server.store}/lfs/{oid}/{n + 1}" for n in range(-(-size // piece))}
    upload = {"href": f"{asked.server.store}/lfs/{oid}/whole", "header": {"chunk_size": str(piece), **pieces}}
    return {**wanted, "actions": {"upload": upload}}


def put_object(asked: Asked) -> Answer:
    asked.hub.store(asked.parts[0], asked.body)
    return Answer()


def put_piece(asked: Asked) -> Answer:
    oid, number = asked.parts
    asked.hub.parts.setdefault(oid, {})[int(number)] = asked.body
    return Answer(headers={"ETag": f'"{number}"'})


def join_pieces(asked: Asked) -> Answer:
    pieces = asked.hub.parts.pop(asked.parts[0])
    asked.hub.store(asked.parts[0], b"".join(pieces[part["partNumber"]] for part in asked.value["parts"]))
    return Answer.json({})


def verify_object(asked: Asked) -> Answer:
    if not asked.hub.has(asked.value["oid"], asked.value["size"]):
        raise Refused(404, "", "Object not found")
    return Answer.json({})


def xet_token(asked: Asked) -> Answer:
    writes = asked.parts[2] == "write"
    assert asked.own_repo if writes else asked.repo
    if asked.hub.xet is None:
        raise Refused(404, "", "no xet here")
    known = {"accessToken": "xet-token", "exp": 4_000_000_000, "casUrl": f"local://{asked.hub.xet}"}
    headers = {
        "X-Xet-Cas-Url": known["casUrl"],
        "X-Xet-Access-Token": "xet-token",
        "X-Xet-Token-Expiration": "4000000000",
    }
    return Answer.json(known, **headers)


def commit(asked: Asked) -> Answer:
    lines = [json.loads(line) for line in asked.body.splitlines()]
    made = asked.hub.apply(asked.own_repo, asked.named(2), lines)
    prefix = "datasets/" if asked.parts[0] == "datasets" else ""
    return Answer.json(
        {"commitUrl": f"{asked.server.address}/{prefix}{asked.parts[1]}/commit/{made.oid}", "commitOid": made.oid}
    )


def info(asked: Asked) -> Answer:
    repo = asked.repo
    found = repo.at(asked.named(2) if asked.parts[2] else "main")
    siblings = [{"rfilename": path, "size": entry.size} for path, entry in sorted(found.files.items())]
    known = {"_id": repo.name, "id": repo.name, "sha": found.oid, "private": repo.private, "siblings": siblings}
    return Answer.json({**known, "tags": [], "downloads": 0, "likes": 0, "author": repo.namespace})


def tree(asked: Asked) -> Answer:
    """What lies in a folder, or at the top; pages name the next one."""
    folder = f"{asked.named(3)}/" if asked.parts[3] else ""
    entries = [own for own in asked.hub.listing(asked.repo.at(asked.named(2))) if own["path"].startswith(folder)]
    if asked.query.get("recursive", ["false"])[0].lower() != "true":
        entries = [own for own in entries if "/" not in own["path"].removeprefix(folder)]
    if folder and not entries:
        raise Refused(404, "EntryNotFound", "no such folder")
    start, page = int(asked.query.get("cursor", ["0"])[0]), asked.hub.page
    headers = {}
    if start + page < len(entries):
        path = f"{asked.server.address}/api/{asked.parts[0]}/{asked.parts[1]}/tree/{asked.parts[2]}/{folder}"
        headers["Link"] = f'<{path}?recursive=true&expand=false&cursor={start + page}>; rel="next"'
    return Answer.json(entries[start : start + page], **headers)


def paths_info(asked: Asked) -> Answer:
    """Entries of the files and folders that are named, in a form or in JSON."""
    form = parse_qs(asked.body.decode())
    paths = form["paths"] if "paths" in form else asked.value["paths"]
    entries = asked.hub.listing(asked.repo.at(asked.named(2)))
    return Answer.json([entry for entry in entries if entry["path"] in paths])


def refs(asked: Asked) -> Answer:
    repo = asked.repo
    tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repo.tags.items()]
    heads = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in repo.branches.items()]
    return Answer.json({"branches": heads, "tags": tags, "converts": []})


def commits(asked: Asked) -> Answer:
    date = "2026-01-01T00:00:00.000Z"
    made = asked.repo.history()
    return Answer.json(
        [{"id": own.oid, "title": own.title, "message": own.description, "date": date, "authors": []} for own in made]
    )


def tag(asked: Asked) -> Answer:
    asked.hub.tag(asked.own_repo, asked.named(2), asked.value["tag"])
    return Answer.json({})


def delete_tag(asked: Asked) -> Answer:
    if asked.own_repo.tags.pop(asked.named(2), None) is None:
        raise Refused(404, "RevisionNotFound", "no such tag")
    return Answer.json({})


def squash(asked: Asked) -> Answer:
    asked.hub.squash(asked.own_repo, asked.value["message"])
    return Answer.json({})


def large_files(asked: Asked) -> Answer:
    """The objects that commits of this repository named, also those that nothing leads to any more."""
    commits = asked.own_repo.commits.values()
    named = {entry.sha256: path for own in commits for path, entry in own.files.items() if entry.sha256}
    rows = [(sha, path) for sha, path in sorted(named.items()) if sha not in asked.hub.deleted]
    date = "2026-01-01T00:00:00.000Z"
    return Answer.json(
        [
            {"fileOid": sha, "filename": path, "oid": "0" * 40, "pushedAt": date, "ref": "main", "size": 1}
            for sha, path in rows
        ]
    )


def delete_large(asked: Asked) -> Answer:
    assert asked.own_repo
    for sha in asked.value["deletions"]["sha"]:
        asked.hub.objects.pop(sha, None)
        asked.hub.deleted.add(sha)
    return Answer.json({})


def resolve(asked: Asked) -> Answer:
    """A file's facts; a large one lies elsewhere."""
    found = asked.repo.at(asked.named(2))
    path = asked.named(3)
    headers = {"X-Repo-Commit": found.oid}
    if path not in found.files:
        raise Refused(404, "EntryNotFound", "Entry not found", X_Repo_Commit=found.oid)
    entry = found.files[path]
    if entry.sha256 is None:
        return Answer(200, entry.data or b"", {**headers, "ETag": f'"{entry.oid}"'})
    headers |= {"X-Linked-ETag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    if hashed := asked.hub.xet_hashes().get(entry.sha256):
        token = f"{asked.server.address}/api/{asked.parts[0] or 'models'}/{asked.parts[1]}/xet-read-token/{found.oid}"
        headers |= {"X-Xet-Hash": hashed, "Link": f'<{token}>; rel="xet-auth"'}
    return Answer(302, b"", {**headers, "Location": f"{asked.server.store}/blob/{entry.sha256}"})


def blob(asked: Asked) -> Answer:
    data = asked.hub.objects.get(asked.parts[0])
    if data is None:
        raise Refused(404, "", "this file can be had by xet alone")
    return Answer(200, data, {"ETag": f'"{asked.parts[0]}"'})


REPO = r"/api/(models|datasets)/([^/]+/[^/]+)"
SHOWN = r"/(?:(datasets)/)?([^/]+/[^/]+)"  # as a browser knows a repository
ROUTES: list[tuple[str, Callable[[Asked], Answer]]] = [
    (r"GET /api/whoami-v2", whoami),
    (r"POST /api/repos/create", create),
    (r"POST /api/validate-yaml", validate_yaml),
    (rf"POST {REPO}/preupload/([^/]+)", preupload),
    (rf"POST {SHOWN}\.git/info/lfs/objects/batch", batch),
    (r"PUT /lfs/([0-9a-f]{64})", put_object),
    (r"PUT /lfs/([0-9a-f]{64})/(\d+)", put_piece),
    (r"POST /lfs/([0-9a-f]{64})/whole", join_pieces),
    (r"POST /lfs/verify", verify_object),
    (rf"GET {REPO}/xet-(read|write)-token/.*", xet_token),
    (rf"POST {REPO}/commit/([^/]+)", commit),
    (rf"GET {REPO}(?:/revision/([^/]+))?", info),
    (rf"GET {REPO}/tree/([^/]+)(?:/(.*?))?/?", tree),
    (rf"POST {REPO}/paths-info/([^/]+)", paths_info),
    (rf"GET {REPO}/refs", refs),
    (rf"GET {REPO}/commits/[^/]+", commits),
    (rf"POST {REPO}/tag/([^/]+)", tag),
    (rf"DELETE {REPO}/tag/([^/]+)", delete_tag),
    (rf"POST {REPO}/super-squash/main", squash),
    (rf"GET {REPO}/lfs-files", large_files),
    (rf"POST {REPO}/lfs-files/batch", delete_large),
    (rf"(?:GET|HEAD) {SHOWN}/resolve/([^/]+)/(.+)", resolve),
    (r"(?:GET|HEAD) /blob/([0-9a-f]{64})", blob),
]


@contextmanager
def serving(hub: RepoHub | None = None, xet: Path | None = None) -> Iterator[Server]:
    """A hub while it is asked."""
    server = Server(hub or RepoHub(xet))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
