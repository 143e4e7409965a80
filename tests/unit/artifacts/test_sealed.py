"""Sealed files: every flipped bit of them is found."""

import random
from pathlib import Path

import pytest

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import (
    damaged_files,
    describe,
    lineage,
    read_lineage,
    read_manifest,
    refuse_damaged,
    write_facet,
    write_manifest,
)
from charaloom.artifacts.sealed import (
    is_whole_folder,
    read_sealed,
    remove_damaged,
    seal_folder,
    sealed_file,
    whole_sealed,
    write_sealed,
)
from charaloom.errors import DamagedError


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def test_c10_every_flipped_bit_of_sealed_json_is_found(tmp_path: Path) -> None:
    file, content = tmp_path / "x.json", {"counts": {"kept": 3}, "names": ["ü", "b"], "share": 0.25, "none": None}
    write_sealed(file, content)
    assert read_sealed(file) == {"schema": 3, **content}
    whole = file.read_bytes()
    for place in range(len(whole) - 1):  # the last byte ends the last line
        for bit in range(8):
            flip(file, place, bit)
            with pytest.raises(DamagedError, match=r"x\.json: not the bytes"):
                read_sealed(file)
            file.write_bytes(whole)


def test_json_of_before_files_were_sealed_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"schema": 2, "counts": {}})
    assert read_sealed(tmp_path / "x.json") == {"schema": 2, "counts": {}}


def test_c10_a_damaged_file_is_removed_so_that_it_is_made_again(tmp_path: Path) -> None:
    place = tmp_path / "state.pt"
    assert whole_sealed(place) is None
    for content in (b"first", b"second"):
        with sealed_file(place) as part:
            part.write_bytes(content)
    (file,) = tmp_path.iterdir()
    assert whole_sealed(place) == file
    assert file.read_bytes() == b"second"
    flip(file, 3, 2)
    assert whole_sealed(place) is None
    assert list(tmp_path.iterdir()) == []


def test_c10_a_folder_with_a_flipped_a_missing_or_a_foreign_file_is_not_whole(tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    for damage in (lambda: flip(folder / "a", 0, 0), (folder / "a").unlink, lambda: (folder / "c").write_text("x")):
        (folder / "b").mkdir(parents=True)
        (folder / "a").write_text("a")
        (folder / "b" / "c").write_text("c")
        seal_folder(folder)
        remove_damaged(folder)
        assert is_whole_folder(folder)
        damage()
        assert not is_whole_folder(folder)
        remove_damaged(folder)
        assert not folder.exists()


def test_c10_what_a_stage_reads_is_what_its_manifest_lists(tmp_path: Path) -> None:
    """A table, a folder, a facet, the manifest itself: one bit flipped at 20 places of each."""
    table, folder = tmp_path / "dataset.parquet", tmp_path / "dataset_pictures"
    facet, manifest = tmp_path / "dataset.training.json", tmp_path / "dataset.manifest.json"
    folder.mkdir()
    (folder / "1.png").write_bytes(bytes(range(200)))
    table.write_bytes(bytes(range(256)))
    write_facet(facet, ["a"], pictures=7)
    made = lineage("dataset", "hana", {"limit": 3}, [])
    write_manifest(manifest, made, {"table": table, "pictures": folder}, {"rows": 3})
    reads = [facet, manifest, table, tmp_path / "dataset.lineage.json"]
    refuse_damaged(reads)
    generator = random.Random(3)
    for file in (table, folder / "1.png", facet, manifest):
        whole = file.read_bytes()
        for _ in range(20):
            flip(file, generator.randrange(len(whole) - 1), generator.randrange(8))
            with pytest.raises(DamagedError, match=file.name):
                refuse_damaged(reads)
            file.write_bytes(whole)
    refuse_damaged(reads)
    assert read_manifest(manifest)["counts"] == {"rows": 3}


def test_c10_a_damaged_lineage_is_none(tmp_path: Path) -> None:
    write_manifest(tmp_path / "raw.manifest.json", lineage("raw", "hana", {"limit": 3}, []), {}, {})
    file = tmp_path / "raw.lineage.json"
    assert read_lineage(file) == read_json(file)
    whole = file.read_bytes()
    kept = []
    for place in range(len(whole) - 1):
        flip(file, place, place % 8)
        kept += [place] if read_lineage(file) else []
        file.write_bytes(whole)
    params = whole.index(b'"params_digest": "') + len(b'"params_digest": "')
    assert set(kept) <= set(range(params, params + 64)), "it is compared with today's params instead"


def test_a_file_that_was_not_touched_after_its_manifest_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("abc")
    described = {**describe(file), "sha256": "another"}
    changed = file.stat().st_ctime_ns
    assert list(damaged_files(file, described)) == [file]
    assert list(damaged_files(file, described, since=changed)) == []
    assert list(damaged_files(file, described, since=changed - 1)) == [file]
    assert list(damaged_files(file, {**described, "size": 4}, since=changed)) == [file]
