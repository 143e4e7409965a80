"""A model hub on loopback that takes repositories: what huggingface_hub asks a hub for when it publishes and fetches.

`RepoHub` keeps users by token, repositories with their commits, branches and tags, and the objects of large files; how
it is spoken to is in `repo_hub_http`. Large files come by LFS (one piece or several), or by xet: hf_xet takes
`local://<folder>` as the address of a content store, chunks the files there as on a real hub, and leaves shards that
say which SHA-256 has which xet hash.
"""

import hashlib
import struct
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGE = (".bin", ".parquet", ".safetensors", ".png", ".jpg", ".webp", ".zip", ".npz")
LARGE_BYTES = 10_000_000
GIT_ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
WRITERS = ("admin", "write", "contributor")  # roles in an organisation that may write
MDB_MAGIC = b"HFRepoMetaData\0"
MDB_HEADER, MDB_ENTRY = 48, 48
WITH_VERIFICATION, WITH_METADATA = 0x80000000, 0x40000000


class Refused(Exception):
    """An answer that is none of the wanted: status, the hub's code, what it says, and more headers."""

    def __init__(self, status: int, code: str = "", message: str = "", **headers: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class User:
    name: str
    role: str = "write"  # of the token: read, write, fineGrained
    orgs: dict[str, str] = field(default_factory=dict)  # role by organisation
    scoped: list[dict[str, Any]] | None = None  # of a fine-grained token

    def writes(self, namespace: str) -> bool:
        return self.role != "read" and (namespace == self.name or self.orgs.get(namespace) in WRITERS)

    def sees(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its bytes, or the SHA-256 of a large one."""

    size: int
    oid: str
    data: bytes | None = None
    sha256: str | None = None

    @classmethod
    def regular(cls, data: bytes) -> "Entry":
        return cls(len(data), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), data)


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    description: str
    parent: str | None
    files: dict[str, Entry]


@dataclass
class Repo:
    kind: str  # model, dataset
    name: str  # with its namespace
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit("initial commit", "", {".gitattributes": Entry.regular(GIT_ATTRIBUTES)})

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    def commit(self, title: str, description: str, files: dict[str, Entry]) -> Commit:
        parent = self.branches.get("main")
        facts = [self.kind, self.name, len(self.commits), parent, title, sorted((k, v.oid) for k, v in files.items())]
        oid = hashlib.sha1(repr(facts).encode()).hexdigest()
        self.commits[oid] = Commit(oid, title, description, parent, files)
        self.branches["main"] = oid
        return self.commits[oid]

    def at(self, revision: str) -> Commit:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[oid]

    def history(self) -> list[Commit]:
        """The commits of `main`, the newest first."""
        found, oid = [], self.branches.get("main")
        while oid:
            found.append(self.commits[oid])
            oid = self.commits[oid].parent
        return found


class RepoHub:
    """What a hub knows. `xet` is the folder of its content store; None: it has no xet."""

    def __init__(self, xet: Path | None = None):
        self.users: dict[str, User] = {}  # by token
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by SHA-256
        self.parts: dict[str, dict[int, bytes]] = {}  # of uploads in several pieces
        self.xet = xet
        self.piece_bytes = 1 << 30  # an object above this is uploaded in pieces of so many bytes
        self.page = 1000  # entries of a listing in one answer
        self.guards = True  # whether it heeds `parentCommit`, as the real hub does
        self.tells_oids = True  # whether preupload says what the repository has

    # --- users and repositories

    def user(self, token: str | None) -> User | None:
        if token is None:
            return None
        if token not in self.users:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return self.users[token]

    def whoami(self, user: User | None) -> dict[str, Any]:
        if user is None:
            raise Refused(401, "", "Invalid username or password.")
        fine = {"fineGrained": {"canReadGatedRepos": False, "global": [], "scoped": user.scoped}} if user.scoped else {}
        token = {"displayName": "test", "role": user.role, **fine}
        orgs = [{"type": "org", "name": name, "roleInOrg": role} for name, role in user.orgs.items()]
        auth = {"type": "access_token", "accessToken": token}
        return {"type": "user", "id": user.name, "name": user.name, "fullname": user.name, "orgs": orgs, "auth": auth}

    def create(self, user: User | None, kind: str, name: str, namespace: str | None, private: bool) -> str:
        owner = self.named(user)
        full = f"{namespace or owner.name}/{name}"
        if not owner.writes(full.partition("/")[0]):
            raise Refused(403, "", "You don't have the rights to create a repo under this namespace")
        if (kind, full) in self.repos:
            raise Refused(409, "RepoExists", "You already created this repo")
        self.repos[kind, full] = Repo(kind, full, private)
        return full

    def named(self, user: User | None) -> User:
        if user is None:
            raise Refused(401, "", "Invalid username or password.")
        return user

    def readable(self, user: User | None, kind: str, name: str) -> Repo:
        repo = self.repos.get((kind, name))
        if repo is None or (repo.private and not (user and user.sees(repo.namespace))):
            raise Refused(404, "RepoNotFound", "Repository not found")
        return repo

    def writable(self, user: User | None, kind: str, name: str) -> Repo:
        writer = self.named(user)
        repo = self.readable(user, kind, name)
        if not writer.writes(repo.namespace):
            raise Refused(403, "", "You don't have the rights to write to this repo")
        return repo

    # --- uploads

    def preupload(self, repo: Repo, revision: str, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        have = repo.at(revision).files
        answers = []
        for file in files:
            known = have.get(file["path"])
            oid = {"oid": known.sha256 or known.oid} if known and self.tells_oids else {}
            mode = "lfs" if is_large(file["path"], file["size"], file["sample"]) else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid})
        return answers

    def has(self, sha256: str, size: int) -> bool:
        """Whether the bytes of a large file have arrived."""
        if sha256 in self.objects:
            return len(self.objects[sha256]) == size
        return sha256 in self.xet_hashes()

    def store(self, sha256: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Refused(400, "", "these are other bytes than their SHA-256 says")
        self.objects[sha256] = data

    def apply(self, repo: Repo, revision: str, lines: list[dict[str, Any]]) -> Commit:
        """One commit of what the lines of a request say; all of it or nothing."""
        header = lines[0]["value"]
        head = repo.at(revision)
        parent = header.get("parentCommit")
        if self.guards and parent and not head.oid.startswith(parent):
            raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines[1:]:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "file":
                files[path] = Entry.regular(decoded(value))
            elif line["key"] == "lfsFile":
                if not self.has(value["oid"], value["size"]):
                    raise Refused(400, "", f"{path}: its bytes {value['oid']} have not arrived")
                pointer = hashlib.sha1(value["oid"].encode()).hexdigest()
                files[path] = Entry(value["size"], pointer, sha256=value["oid"])
            elif line["key"] == "deletedFile":
                if path not in files:
                    raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
                del files[path]
        return repo.commit(header["summary"], header.get("description", ""), files)

    def tag(self, repo: Repo, revision: str, tag: str) -> None:
        if tag in repo.tags:
            raise Refused(409, "", "Tag reference exists already")
        repo.tags[tag] = repo.at(revision).oid

    # --- listings and files

    def listing(self, commit: Commit) -> list[dict[str, Any]]:
        folders = {str(parent) for path in commit.files for parent in Path(path).parents} - {"."}
        hashes = self.xet_hashes()
        entries = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
        return entries + [entry_row(path, entry, hashes) for path, entry in sorted(commit.files.items())]

    def bytes_of(self, entry: Entry) -> bytes:
        data = entry.data if entry.data is not None else self.objects.get(entry.sha256 or "")
        if data is None:
            raise Refused(400, "", "this file can be had by xet alone")
        return data

    def xet_hashes(self) -> dict[str, str]:
        """Xet hash by SHA-256 of every file that came by xet."""
        shards = sorted(self.xet.rglob("*.mdb")) if self.xet else []
        return {sha: own for shard in shards for sha, own in files_of_shard(shard.read_bytes())}

    # --- what tests ask

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, str]:
        """SHA-256 by path of what a revision holds, without .gitattributes."""
        files = self.repos[kind, name].at(revision).files
        own = {path: entry for path, entry in files.items() if path != ".gitattributes"}
        return {path: entry.sha256 or hashlib.sha256(entry.data or b"").hexdigest() for path, entry in own.items()}


def is_large(path: str, size: int, sample: str) -> bool:
    return size > LARGE_BYTES or path.endswith(LARGE) or b"\0" in b64decode(sample)


def decoded(value: dict[str, Any]) -> bytes:
    return b64decode(value["content"]) if value.get("encoding") == "base64" else value["content"].encode()


def entry_row(path: str, entry: Entry, hashes: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
    if entry.sha256:
        row["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
        if entry.sha256 in hashes:
            row["xetHash"] = hashes[entry.sha256]
    return row


def files_of_shard(data: bytes) -> Iterator[tuple[str, str]]:
    """SHA-256 and xet hash of each file of a shard of hf_xet.

    A record is a hash of 32 bytes, flags and the number of its entries; entries of 48 bytes follow, then as many more
    if the flags say so, then one whose first 32 bytes are the SHA-256. A hash of ones ends the list.
    """
    if not data.startswith(MDB_MAGIC[:8]):
        return
    place = MDB_HEADER
    while place + MDB_ENTRY <= len(data) and data[place : place + 32] != b"\xff" * 32:
        flags, number = struct.unpack_from("<II", data, place + 32)
        hashed, place = printed(data[place : place + 32]), place + MDB_ENTRY
        place += number * MDB_ENTRY * (2 if flags & WITH_VERIFICATION else 1)
        if flags & WITH_METADATA:
            yield printed(data[place : place + 32]), hashed
            place += MDB_ENTRY


def printed(raw: bytes) -> str:
    """A hash as xet prints it: four numbers of 64 bits, each in hex."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))
