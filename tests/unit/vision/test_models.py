"""The model cache: layout, checksums, trust at first use, and imgutils reading from it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from charaloom.artifacts.files import sha256_bytes
from charaloom.config.params import Models
from charaloom.errors import CharaloomError
from charaloom.runtime.hub import repository_folder
from charaloom.vision.models import fetch_models, picture_models
from tests.servers.hub import COMMIT, Hub, serving
from tests.standins import read_lock, write_models


def params(hub: object, files: dict[str, str | None], optional: tuple[str, ...] = (), revision: str = COMMIT) -> Models:
    """Params that lock one repository of `hub`."""
    entry = {"repo": "deepghs/toy", "repo_type": "model", "revision": revision}
    return Models.of({"hub": str(hub), "lock": [{**entry, "files": files, "optional": list(optional)}]})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deepghs/toy/a").mkdir(parents=True)
    (folder / "deepghs/toy/a/model.onnx").write_bytes(b"weights")
    return folder


def test_folder_is_laid_out_as_huggingface_hub_expects(source: Path, tmp_path: Path) -> None:
    hub, manifest = tmp_path / "hub", tmp_path / "models.manifest.json"
    fetch_models(params(source, {"a/model.onnx": None}, optional=("a/extra.json",)), hub, manifest)
    folder = hub / "hub/models--deepghs--toy"
    assert (folder / "refs/main").read_text() == COMMIT
    assert (folder / f"snapshots/{COMMIT}/a/model.onnx").read_bytes() == b"weights"
    assert json.loads(manifest.read_text())["models"] == [
        {
            "repo": "deepghs/toy",
            "repo_type": "model",
            "revision": COMMIT,
            "files": {"a/model.onnx": {"sha256": sha256_bytes(b"weights"), "size": 7}},
        }
    ]
    assert str(tmp_path) not in manifest.read_text()


def test_manifest_does_not_depend_on_where_the_files_came_from(source: Path, tmp_path: Path) -> None:
    files: dict[str, str | None] = {"a/model.onnx": None}
    fetch_models(params(source, files, revision="main"), tmp_path / "one", tmp_path / "one.json")
    moved = source.rename(tmp_path / "moved")
    fetch_models(params(moved, files, revision="main"), tmp_path / "two", tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_wrong_checksum_names_file_expected_and_found(source: Path, tmp_path: Path) -> None:
    expected = "0" * 64
    with pytest.raises(CharaloomError) as caught:
        fetch_models(params(source, {"a/model.onnx": expected}), tmp_path / "hub", tmp_path / "manifest.json")
    for part in ("deepghs/toy/a/model.onnx", expected, sha256_bytes(b"weights")):
        assert part in str(caught.value)
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / "hub/hub/models--deepghs--toy/refs/main").exists()


def test_missing_file_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(CharaloomError, match=r"b/model\.onnx"):
        fetch_models(params(source, {"b/model.onnx": None}), tmp_path / "hub", tmp_path / "manifest.json")


@pytest.fixture
def server() -> Iterator[Hub]:
    with serving({"a/model.onnx": b"weights"}) as hub:
        yield hub


def test_the_first_fetch_is_trusted_and_later_ones_must_repeat_it(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as in a measuring job: fetching ignores it
    hub = tmp_path / "hub"
    pinned = params(server.address, {"a/model.onnx": None}, optional=("a/preprocess.json",), revision="main")
    fetch_models(pinned, hub, tmp_path / "one.json")
    folder = repository_folder(hub, "deepghs/toy")
    assert (folder / "refs/main").read_text() == COMMIT
    assert (folder / f"snapshots/{COMMIT}/a/model.onnx").read_bytes() == b"weights"
    requests = len(server.requests)
    server.commit = "d" * 40  # `main` moved on
    fetch_models(pinned, hub, tmp_path / "two.json")
    assert len(server.requests) == requests
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    server.commit = COMMIT
    server.files["a/model.onnx"] = b"other weights"
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name in ("a", "blobs"):
            path.unlink()
    with pytest.raises(CharaloomError, match="the first fetch"):
        fetch_models(pinned, hub, tmp_path / "three.json")


def test_endpoint_without_the_file_says_which_repository(server: Hub, tmp_path: Path) -> None:
    with pytest.raises(CharaloomError, match="deepghs/toy"):
        fetch_models(
            params(server.address, {"b/model.onnx": None}, revision="main"),
            tmp_path / "hub",
            tmp_path / "manifest.json",
        )


def test_imgutils_reads_the_cache_with_a_set_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HOME", raising=False)
    whole = Models.of({"lock": read_lock(), "hub": str(write_models(tmp_path / "models"))})
    fetch_models(whole, tmp_path / "hub", tmp_path / "manifest.json")
    with picture_models(tmp_path / "hub", threads=1):
        from imgutils.metrics import ccip
        from PIL import Image

        feature = ccip.ccip_extract_feature(Image.new("RGB", (32, 32), "red"))
        session = ccip._open_feat_model(ccip._DEFAULT_MODEL_NAMES)
    assert feature.shape == (768,)
    assert session.get_session_options().intra_op_num_threads == 1
    assert "HF_HOME" not in os.environ
    with picture_models(tmp_path / "hub", threads=2):
        session = ccip._open_feat_model(ccip._DEFAULT_MODEL_NAMES)
    assert session.get_session_options().intra_op_num_threads == 2
