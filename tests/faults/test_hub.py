"""H8, H9: picture models from a cache without a network, and what is damaged or another there."""

import socket
from pathlib import Path

import pytest

from charaloom.artifacts.files import sha256_bytes
from charaloom.config.named_files import read_lock
from charaloom.config.params import Models
from charaloom.config.schemas import CODE
from charaloom.errors import CharaloomError, DamagedError
from charaloom.runtime.hub import hub_file, repository_folder
from charaloom.tagging.lint import Lint
from charaloom.tagging.vocabulary import Vocabulary
from charaloom.vision.ccip import CcipMetric
from charaloom.vision.model_set import ModelSet
from charaloom.vision.models import damaged_models, fetch_models, refuse_damaged_models
from tests.servers.hub import Hub, serving
from tests.unit.vision.test_models import params

PLACES = 20


def test_h8_with_all_caches_nothing_asks_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = read_lock("resources/demo/models.yaml")
    models = Models.of({"lock": lock, "hub": str(CODE / "resources/demo/models")})
    fetch_models(models, tmp_path / "hub", tmp_path / "models.manifest.json")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    refuse_damaged_models([tmp_path / "models.manifest.json"], tmp_path)
    for opened in (ModelSet, CcipMetric, Vocabulary, Lint):
        assert opened(tmp_path / "hub")


@pytest.fixture
def fetched(tmp_path: Path) -> tuple[Hub, Path]:
    with serving({"a/model.onnx": bytes(range(256)), "a/meta.json": b"{}"}) as hub:
        yield hub, tmp_path


def fetch(hub: Hub, root: Path, revision: str = "main") -> None:
    wanted = params(hub.address, {"a/model.onnx": None, "a/meta.json": None}, revision=revision)
    fetch_models(wanted, root / "hub", root / "models.manifest.json")


def test_h9_c10_a_bit_that_flips_in_the_cache_is_refused_and_fetched_again(fetched: tuple[Hub, Path]) -> None:
    hub, root = fetched
    fetch(hub, root)
    before = (root / "models.manifest.json").read_bytes()
    file = hub_file(root / "hub", "deepghs/toy", "a/model.onnx").resolve()
    for place in range(PLACES):
        data = bytearray(file.read_bytes())
        data[place * 12] ^= 1 << place % 8
        file.write_bytes(data)
        with pytest.raises(DamagedError, match=r"a/model\.onnx: not the file that .* names"):
            refuse_damaged_models([root / "models.manifest.json"], root)
        if place % 7:
            file.write_bytes(bytes(range(256)))
            continue
        fetch(hub, root)
        assert not list(damaged_models(root / "models.manifest.json", root / "hub"))
        file = hub_file(root / "hub", "deepghs/toy", "a/model.onnx").resolve()
        assert sha256_bytes(file.read_bytes()) == sha256_bytes(bytes(range(256)))
    assert (root / "models.manifest.json").read_bytes() == before


def test_h9_another_file_under_the_same_name_is_refused(fetched: tuple[Hub, Path]) -> None:
    """Whether `main` has moved on or the cache was emptied: the first fetch decides."""
    hub, root = fetched
    fetch(hub, root)
    for path in sorted(repository_folder(root / "hub", "deepghs/toy").rglob("*"), reverse=True):
        if not path.is_dir():
            path.unlink()
    hub.files["a/model.onnx"] = b"another"
    with pytest.raises(CharaloomError, match=r"deepghs/toy/a/model\.onnx .*the first fetch"):
        fetch(hub, root)
