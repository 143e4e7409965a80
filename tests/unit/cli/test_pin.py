"""`charaloom models pin`: what was fetched as a lock, from which the same comes again and nothing else."""

from pathlib import Path

import pytest
import yaml

from charaloom.artifacts.files import write_json
from charaloom.cli.start.pin import TARGET, pin
from charaloom.config.project import Project, load_project
from charaloom.config.stage_params import models_params
from charaloom.errors import CharaloomError
from charaloom.runtime.hub import hub_file
from charaloom.vision.models import fetch_models
from tests.small_bases import write_base
from tests.unit.vision.test_models import params

OPTIONAL = ("a/extra.json", "a/absent.json")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    for name, content in (("model.onnx", b"weights"), ("extra.json", b"{}")):
        (tmp_path / "hub/deepghs/toy/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "hub/deepghs/toy/a" / name).write_bytes(content)
    write_base(tmp_path / "base")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/characters.tsv").write_text("character\tsource\tquery\nhana\tfolder\tbase\n")
    entry = {"repo": "deepghs/toy", "repo_type": "model", "revision": "main", "files": {"a/model.onnx": None}}
    (tmp_path / "lock.yaml").write_text(yaml.safe_dump([{**entry, "optional": list(OPTIONAL)}]))
    tiny = {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}
    own = {"bases": {"tiny": tiny}, "training": {"base": "tiny"}, "previews": {"bases": ["tiny"]}}
    write_json(tmp_path / "config/config.yaml", {**own, "models": {"hub": "hub", "lock": "lock.yaml"}})
    return load_project()


def fetch(project: Project) -> None:
    wanted = params("hub", {"a/model.onnx": None}, OPTIONAL, "main")
    fetch_models(wanted, Path("work/hub"), Path("work/models.manifest.json"))


def test_what_was_fetched_is_pinned(project: Project) -> None:
    with pytest.raises(CharaloomError, match="is not there yet"):
        pin(project)
    fetch(project)
    before = Path("work/models.manifest.json").read_bytes()
    said = pin(project)
    assert said[0] == "my/models.yaml: 2 files of 1 repositories, by commit and SHA-256."
    (entry,) = yaml.safe_load(TARGET.read_text())
    assert len(entry["revision"]) == 40
    assert entry["files"].keys() == {"a/model.onnx", "a/extra.json"}
    assert entry["optional"] == ["a/absent.json"]
    write_json(Path("my/config.yaml"), {"models": {"lock": str(TARGET)}})
    pinned = models_params(load_project())
    assert pinned["lock"] == [entry]
    wanted = type(params("hub", {})).of(pinned)
    fetch_models(wanted, Path("work/hub"), Path("work/models.manifest.json"))
    assert Path("work/models.manifest.json").read_bytes() == before
    Path("hub/deepghs/toy/a/model.onnx").write_bytes(b"other weights")
    with pytest.raises(CharaloomError, match="expected SHA-256"):
        fetch_models(wanted, Path("work/hub"), Path("work/models.manifest.json"))


def test_what_is_damaged_is_not_pinned(project: Project) -> None:
    fetch(project)
    hub_file(Path("work/hub"), "deepghs/toy", "a/model.onnx").write_bytes(b"Weights")
    with pytest.raises(CharaloomError, match=r"a/model\.onnx: not the file that was fetched"):
        pin(project)
