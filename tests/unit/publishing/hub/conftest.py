"""A hub on loopback with and without xet, and huggingface_hub as it is when it talks to it."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from charaloom.artifacts.files import digest, files_below, write_json
from charaloom.artifacts.manifest import describe, lineage, write_manifest
from charaloom.publishing.gate import READ
from charaloom.publishing.hub.attempts import Attempts
from charaloom.publishing.hub.child import hub_api
from charaloom.publishing.hub.remote import Remote
from charaloom.publishing.hub.upload import Revision, publish_revision
from charaloom.publishing.layout import LINEAGE, OUTFITS, PREVIEWS
from charaloom.publishing.published import version_tag
from tests.servers.repo_hub import Repo, User
from tests.servers.repo_hub_http import Server, serving

TOKEN = "hf_secret"


@dataclass
class Place:
    """A folder and its repository on a hub."""

    server: Server
    folder: Path
    kind: str = "dataset"
    name: str = "ann/hana"
    waits: list[float] = field(default_factory=list)

    def publish(self, private: bool = True) -> dict:
        """Publish what the folder holds now."""
        files = describe(self.folder)["files"]
        revision = Revision(self.folder, files, version_tag(digest(files)), private)
        remote = Remote(hub_api(self.server.address), self.kind, self.name)
        return publish_revision(remote, revision, Attempts(str(remote), self.waits.append))

    @property
    def repo(self) -> Repo:
        return self.server.hub.repos[self.kind, self.name]

    @property
    def tag(self) -> str:
        return version_tag(digest(describe(self.folder)["files"]))

    def local(self) -> dict[str, str]:
        return {
            str(path): hashlib.sha256((self.folder / path).read_bytes()).hexdigest()
            for path in files_below(self.folder)
        }

    def assert_published(self, commits: int) -> None:
        """The hub holds the folder's files at `main` and at the tag, after so many commits of ours."""
        hub = self.server.hub
        assert hub.files(self.kind, self.name) == self.local()
        assert hub.files(self.kind, self.name, self.tag) == self.local()
        assert len(self.repo.history()) == commits + 1


def fill(folder: Path, seed: int = 0) -> Path:
    """A card, a table and a file in a folder of its own, each of bytes of its own."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\nlicense: other\n---\n# Hana {seed}\n")
    (folder / "data" / "train-00000.parquet").write_bytes(noise(30_000, f"{folder.name} {seed}"))
    (folder / "charaloom.json").write_text(f'{{"seed": {seed}}}\n')
    return folder


def fill_results(folder: Path, seed: int = 0) -> None:
    """A dataset and a model of a character as their stages leave them, with nothing in them that the gate refuses."""
    fill(folder / "dataset", seed)
    table = pa.table({name: pa.array([], pa.string()) for name in READ}, metadata={"seed": str(seed)})
    pq.write_table(table, folder / "dataset" / "data" / "train-00000.parquet")
    write_json(folder / "dataset" / OUTFITS, {"outfits": [], "core": [], "prompts": []})
    write_json(folder / "model" / PREVIEWS, {"previews": []})
    write_json(folder / "model" / "selection.json", {"step": 200, "seed": seed})
    write_json(folder / "model" / LINEAGE, {"params": {}})
    (folder / "model" / "README.md").write_text("# Hana\n")
    (folder / "model" / "hana.safetensors").write_bytes(noise(50_000, f"lora {seed}"))
    for name in ("dataset", "model"):
        facts = lineage(name, folder.name, {"version": 1}, ())
        write_manifest(folder / f"{name}.manifest.json", facts, {name: folder / name}, {"weak": False})


def noise(size: int, seed: object) -> bytes:
    return b"".join(hashlib.sha256(f"{seed} {place}".encode()).digest() for place in range(size // 32 + 1))[:size]


@pytest.fixture(params=["lfs", "xet"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A hub with two users, and a client that waits for nothing."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", transport == "lfs")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with serving(xet=tmp_path / "xet" if transport == "xet" else None) as server:
        server.hub.users = {TOKEN: User("ann", orgs={"circle": "write", "club": "read"}), "hf_other": User("bob")}
        yield server


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Place:
    return Place(server, fill(tmp_path / "dataset"))


@pytest.fixture
def places(server: Server, tmp_path: Path) -> Callable[[str], Place]:
    """A folder and its repository by name: as many as a test asks for."""
    return lambda name: Place(server, fill(tmp_path / name), name=f"ann/{name}")
