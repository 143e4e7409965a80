"""Publishing to a folder: whole, once, and only what the stages made."""

from pathlib import Path

import pytest

from charaloom.artifacts.files import files_below, read_json, write_json, write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.sealed import read_sealed
from charaloom.config.params import Published, Target
from charaloom.errors import CharaloomError, DamagedError
from charaloom.publishing import published

STAGE_PARAMS = {"version": 1}
COUNTS = {"weak": False}
CHARACTER = "hana"
ROSTER = {"character": CHARACTER, "source": "folder", "trigger": "hana_charaloom", "age": "unknown"}


@pytest.fixture
def results(tmp_path) -> Path:
    folder = tmp_path / "results" / CHARACTER
    for name, files in (
        ("dataset", ("README.md", "data/train-00000.parquet")),
        ("model", ("README.md", "hana.safetensors")),
    ):
        for file in files:
            write_text(folder / name / file, f"{name} {file}")
        if name == "model":
            write_json(folder / name / "selection.json", {"step": 200})
            write_json(folder / name / "training" / "lineage.json", {"params": {}})
        write_manifest(
            folder / f"{name}.manifest.json", lineage(name, CHARACTER, STAGE_PARAMS, ()), {name: folder / name}, COUNTS
        )
    return folder


def publish(results: Path, target: Path, kind: str = "folder", weak: bool = False) -> dict:
    receipt = results / "published" / "shelf.json"
    published.publish(
        character=CHARACTER,
        params=Published(version=1, roster=ROSTER, private=True, weak=weak, target=Target(kind=kind, path=str(target))),
        dataset=results / "dataset",
        dataset_manifest=results / "dataset.manifest.json",
        model=results / "model",
        model_manifest=results / "model.manifest.json",
        receipt=receipt,
    )
    return read_json(receipt)


def state(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    paths = {path: folder / path for path in files_below(folder)}
    return {str(path): (at.read_bytes(), at.stat().st_mtime_ns, at.stat().st_ino) for path, at in paths.items()}


def test_both_folders_arrive_whole_and_the_receipt_tells_them(results, tmp_path):
    receipt = publish(results, tmp_path / "shelf")
    for name in ("dataset", "model"):
        target = tmp_path / "shelf" / CHARACTER / name
        files = {path: (target / path).read_bytes() for path in files_below(target)}
        added = {Path("charaloom.json")} if name == "dataset" else set()
        assert files.keys() - added == set(files_below(results / name))
        assert all(files[path] == (results / name / path).read_bytes() for path in files_below(results / name))
        assert set(receipt[name]["files"]) == {str(path) for path in files_below(target)}
        assert receipt[name]["version"] == receipt[name]["digest"], "equal bytes have equal versions"
    assert receipt["target"] == {"name": "shelf", "kind": "folder"}
    assert receipt["tag"] == f"v-{receipt['version'][:12]}"
    assert str(tmp_path) not in (results / "published" / "shelf.json").read_text()


def test_a_receipt_that_was_changed_is_known(results: Path, tmp_path: Path) -> None:
    publish(results, tmp_path / "shelf")
    receipt = results / "published" / "shelf.json"
    receipt.write_text(receipt.read_text().replace('"kind": "folder"', '"kind": "Folder"'))
    with pytest.raises(DamagedError, match=r"shelf.json"):
        read_sealed(receipt)


def test_a_published_dataset_says_how_its_model_was_trained(results: Path, tmp_path: Path) -> None:
    publish(results, tmp_path / "shelf")
    said = read_json(tmp_path / "shelf" / CHARACTER / "dataset" / "charaloom.json")
    assert said["roster"] == ROSTER
    assert said["checkpoints"] == {"params": {}}
    assert said["chosen"] == 200
    assert not list(results.glob(".*")), "nothing stays beside the dataset"
    assert not (results / "dataset" / "charaloom.json").exists()


def test_what_a_killed_publication_left_is_cleared_away(results: Path, tmp_path: Path) -> None:
    left = results / ".dataset_to_publish.x.part"
    write_text(left / "README.md", "half")
    publish(results, tmp_path / "shelf")
    assert not left.exists()


def test_a_second_run_touches_nothing(results, tmp_path):
    first = publish(results, tmp_path / "shelf")
    before = state(tmp_path / "shelf")
    assert publish(results, tmp_path / "shelf") == first
    assert state(tmp_path / "shelf") == before


def test_another_place_gives_the_same_receipt(results, tmp_path):
    assert publish(results, tmp_path / "shelf") == publish(results, tmp_path / "elsewhere")


def test_a_new_version_replaces_the_old_and_leaves_nothing_of_it(results, tmp_path):
    first = publish(results, tmp_path / "shelf")
    (results / "model" / "hana.safetensors").unlink()
    write_text(results / "model" / "new.safetensors", "new")
    write_manifest(
        results / "model.manifest.json",
        lineage("model", CHARACTER, {**STAGE_PARAMS, "new": 1}, ()),
        {"model": results / "model"},
        COUNTS,
    )
    dataset = state(tmp_path / "shelf" / CHARACTER / "dataset")
    second = publish(results, tmp_path / "shelf")
    assert second["model"]["digest"] != first["model"]["digest"]
    assert second["dataset"] == first["dataset"]
    assert {str(path) for path in files_below(tmp_path / "shelf" / CHARACTER / "model")} == {
        "README.md",
        "new.safetensors",
        "selection.json",
        "training/lineage.json",
    }
    assert state(tmp_path / "shelf" / CHARACTER / "dataset") == dataset


def test_what_somebody_changed_at_the_target_is_mended(results, tmp_path):
    first = publish(results, tmp_path / "shelf")
    card = tmp_path / "shelf" / CHARACTER / "model" / "README.md"
    card.write_text("mine")
    assert publish(results, tmp_path / "shelf") == first
    assert card.read_text() == "model README.md"


def test_a_folder_that_is_not_what_its_manifest_says_is_refused(results, tmp_path):
    write_text(results / "model" / "README.md", "edited by hand")
    with pytest.raises(CharaloomError, match=r"not what .*model.manifest.json says was made"):
        publish(results, tmp_path / "shelf")
    assert not (tmp_path / "shelf").exists()


def test_a_copy_that_fails_leaves_the_old_version_whole(results, tmp_path, monkeypatch):
    publish(results, tmp_path / "shelf")
    before = state(tmp_path / "shelf")
    write_text(results / "model" / "README.md", "second version")
    write_manifest(
        results / "model.manifest.json",
        lineage("model", CHARACTER, STAGE_PARAMS, ()),
        {"model": results / "model"},
        COUNTS,
    )

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(published.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        publish(results, tmp_path / "shelf")
    assert state(tmp_path / "shelf") == before


def test_a_weak_model_is_not_published_unless_asked_and_says_so(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = publish(results, tmp_path / "shelf")
    before = state(tmp_path / "shelf")
    write_text(results / "model" / "README.md", "another version, which is weak")
    facts = lineage("model", CHARACTER, {**STAGE_PARAMS, "new": 1}, ())
    write_manifest(results / "model.manifest.json", facts, {"model": results / "model"}, {"weak": True})

    receipt = publish(results, tmp_path / "shelf")
    assert "weak" in receipt["withheld"]
    assert "`published.weak: true`" in receipt["withheld"]
    assert receipt["withheld"] in capsys.readouterr().err
    assert receipt["version"] != first["version"], "the report is written again"
    assert not {"tag", "model", "dataset"} & set(receipt)
    assert state(tmp_path / "shelf") == before, "what an earlier run published stays"

    published_all_the_same = publish(results, tmp_path / "shelf", weak=True)
    assert published_all_the_same["model"]["digest"] != first["model"]["digest"]


def test_other_kinds_of_target_are_refused_by_name(results, tmp_path):
    with pytest.raises(CharaloomError, match=r"published\.targets\.shelf\.kind is 'ftp'; allowed: folder, hub"):
        publish(results, tmp_path / "shelf", "ftp")
