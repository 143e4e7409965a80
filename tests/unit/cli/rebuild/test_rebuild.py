"""What `charaloom verify <repo>@<tag>` compares, what it takes over, and what it refuses."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from charaloom.artifacts.files import digest, read_json, sha256_file, write_json
from charaloom.artifacts.manifest import describe, write_facet
from charaloom.cli.rebuild.comparison import MISSING, NOT_MADE, Compared, compared
from charaloom.cli.rebuild.repositories import Repository, facts_of, opened
from charaloom.cli.rebuild.training import FACET, base_here, differences, ending_with, params_of, refuse_links
from charaloom.config.stages import STAGE_VERSION
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.diffusion.lora import bundle_weights, write_weights
from charaloom.errors import CharaloomError
from charaloom.publishing.layout import (
    LINEAGE,
    OUTFITS,
    REBUILD,
    bundle_file,
    embedding_file,
    lora_file,
    step_files,
)
from charaloom.publishing.published import version_tag
from charaloom.publishing.repos.weights import write_hashed
from charaloom.training.lengths import improving

STEPS = (100, 200)
METADATA = {"ss_network_dim": "2", "charaloom.lineage": "aa", "modelspec.title": "hana"}
CARD = {"modelspec.title": "Hana", "modelspec.thumbnail": "data:", "modelspec.description": "A LoRA."}


def tensors(step: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: torch.full((2, 3), float(step + seed)) for name in ("lora_unet_a.alpha", "lora_unet_b.alpha")}


def embedding(step: int) -> dict[str, torch.Tensor]:
    return {"emb_params": torch.full((2, 4), float(step))}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A published model of two steps, of which the second is the chosen one, and what it was made of."""
    (tmp_path / "checkpoints").mkdir()
    for step in STEPS:
        write_checkpoint(tmp_path, step)
        for path in step_files("hana", step):
            (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        publish(tmp_path, step_files("hana", step)[0], tensors(step))
        write_weights(tmp_path / "model" / step_files("hana", step)[1], embedding(step), {"charaloom.lineage": "aa"})
    (tmp_path / "model" / embedding_file("hana")).parent.mkdir(parents=True)
    publish(tmp_path, lora_file("hana"), tensors(200))
    write_weights(tmp_path / "model" / embedding_file("hana"), embedding(200), {"charaloom.lineage": "aa"})
    publish(tmp_path, bundle_file("hana"), bundle_weights(tensors(200), embedding(200), "hana_emb"))
    return tmp_path


def write_checkpoint(place: Path, step: int, seed: int = 0, **metadata: str) -> None:
    lora = place / "checkpoints" / f"step-{step:06d}.safetensors"
    write_weights(lora, tensors(step, seed), {**METADATA, "ss_output_name": lora.stem, **metadata}, hashed=True)
    own = {"charaloom.lineage": metadata.get("charaloom.lineage", "aa")}
    write_weights(lora.with_name(f"{lora.stem}_emb.safetensors"), embedding(step), own)


def publish(place: Path, path: str, weights: dict[str, torch.Tensor]) -> None:
    write_hashed(place / "model" / path, weights, {**METADATA, **CARD, "ss_output_name": Path(path).stem})


def rows(place: Path, judged: bool = False) -> dict[str, Compared]:
    return {row.file: row for row in compared(place / "model", place / "checkpoints", "hana", 200, judged)}


def test_the_same_training_gives_the_published_bytes(place: Path) -> None:
    found = rows(place)
    assert len(found) == 7
    assert all(row.equal for row in found.values())
    assert found["hana.safetensors"].published == sha256_file(place / "model" / "hana.safetensors")


def test_other_weights_are_named_with_their_distance(place: Path) -> None:
    write_checkpoint(place, 100, seed=3)
    different = {file: row.where for file, row in rows(place).items() if not row.equal}
    assert different == {step_files("hana", 100)[0]: "2 of 2 tensors differ, by 3.0e+00 at most (lora_unet_a.alpha)"}


def test_other_metadata_are_named(place: Path) -> None:
    write_checkpoint(place, 200, ss_network_dim="4")
    different = {row.where for row in rows(place).values() if not row.equal}
    assert different == {"metadata: ss_network_dim"}


def test_the_lineage_counts_unless_files_that_are_not_published_are_in_it(place: Path) -> None:
    for step in STEPS:
        write_checkpoint(place, step, **{"charaloom.lineage": "bb"})
    assert not any(row.equal for row in rows(place).values())
    assert all(row.equal for row in rows(place, judged=True).values())


def test_a_file_that_is_not_there_is_different(place: Path) -> None:
    (place / "model" / bundle_file("hana")).unlink()
    (place / "checkpoints" / "step-000100.safetensors").unlink()
    (place / "checkpoints" / "step-000100_emb.safetensors").unlink()
    different = {file: row.where for file, row in rows(place).items() if not row.equal}
    assert different == {bundle_file("hana"): MISSING, **dict.fromkeys(step_files("hana", 100), NOT_MADE)}


def test_steps_beyond_the_end_of_early_stopping_do_not_count(place: Path) -> None:
    write_checkpoint(place, 300)
    assert len(rows(place)) == 9
    assert len(rows(place, judged=True)) == 7


# --- repositories


def lay_out(folder: Path, **roster: str) -> None:
    lineage = {"params": {}, "inputs": {}}
    write_json(folder / "dataset" / REBUILD, {"roster": {"character": "hana", **roster}, "checkpoints": lineage})
    write_json(folder / "dataset" / OUTFITS, {})
    write_json(folder / "model" / LINEAGE, lineage)


def test_a_folder_with_both_is_opened(tmp_path: Path) -> None:
    lay_out(tmp_path)
    dataset, model = opened(str(tmp_path), None, tmp_path / "cache")
    assert (dataset.kind, model.kind) == ("dataset", "model")
    assert facts_of(dataset)["roster"]["character"] == "hana"


@pytest.mark.parametrize("what", ["hana", "me/hana", "me/hana@", "a/b/c@v-1", "me/hana@v-1@v-2", ""])
def test_what_names_nothing_is_refused(what: str, tmp_path: Path) -> None:
    with pytest.raises(CharaloomError, match="neither a folder nor"):
        opened(what or " ", None, tmp_path)


def test_both_must_belong_together(tmp_path: Path) -> None:
    lay_out(tmp_path)
    write_json(tmp_path / "model" / LINEAGE, {"params": {"seed": 7}, "inputs": {}})
    with pytest.raises(
        CharaloomError, match=r"was not trained as charaloom.json of the dataset says; name the revision"
    ):
        opened(str(tmp_path), None, tmp_path)


@pytest.mark.parametrize("missing", [f"dataset/{REBUILD}", f"dataset/{OUTFITS}", f"model/{LINEAGE}"])
def test_what_charaloom_did_not_publish_is_refused(missing: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(CharaloomError, match=f"has no {missing.partition('/')[2]}"):
        opened(str(tmp_path), None, tmp_path)


@pytest.mark.parametrize("name", ["../../etc", "", "Hana", "a b", "hana/mei"])
def test_a_name_of_a_stranger_leads_nowhere(name: str, tmp_path: Path) -> None:
    lay_out(tmp_path, character=name)
    with pytest.raises(CharaloomError, match="is not as Charaloom writes it"):
        opened(str(tmp_path), None, tmp_path)


def test_files_that_are_not_those_of_the_tag(tmp_path: Path) -> None:
    write_json(tmp_path / "README.md", 1)
    tag = version_tag(digest(describe(tmp_path)["files"]))
    (tmp_path / ".gitattributes").write_text("of the hub")
    assert Repository("dataset", "me/hana", tmp_path, tag).whole() == (
        True,
        f"dataset me/hana: 1 files, as the tag {tag} says",
    )
    assert Repository("dataset", "me/hana", tmp_path, "main").whole()[0]
    good, line = Repository("dataset", "me/hana", tmp_path, "v-0123456789ab").whole()
    assert not good
    assert f"which are {tag} and not v-0123456789ab" in line


# --- the training


def recorded(**changes: Any) -> dict[str, Any]:
    return {"base": {"name": "tiny", "family": "sd15", "clip_skip": 0, "digest": "ab"}, "software": {}, **changes}


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(CharaloomError, match="those of another version of Charaloom"):
        params_of(recorded(unheard_of=1), {"path": "base"})


def test_regularisation_pictures_are_not_published() -> None:
    with pytest.raises(CharaloomError, match="regularisation pictures, which are not published"):
        params_of(recorded(regularisation_digest="ab"), {"path": "base"})


def test_a_dataset_of_links_trains_nobody(tmp_path: Path) -> None:
    with pytest.raises(CharaloomError, match="holds no pictures, but links"):
        refuse_links(tmp_path)
    pq.write_table(pa.table({"url": ["https://board.example/1.png"]}), tmp_path / "train-0000.parquet")
    with pytest.raises(CharaloomError, match="holds no pictures, but links"):
        refuse_links(tmp_path)
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "train-0000.parquet")
    refuse_links(tmp_path)


def test_the_base_of_this_machine() -> None:
    config = {
        "bases": {"tiny": {"path": "here", "family": "sd15", "clip_skip": 0}},
        "previews": {"negative": "", "guidance": 7},
    }
    assert base_here({"name": "other"}, "there", config) == {"path": "there"}
    assert base_here({"name": "other", "repo": "a/b"}, None, config) == {}
    with pytest.raises(CharaloomError, match=r"SHA-256 ab\) is not among `bases`; say where it lies: `--base"):
        base_here({"name": "other", "digest": "ab"}, None, config)


def test_a_path_of_a_stranger_is_not_opened() -> None:
    base = {**recorded()["base"], "path": "/etc/passwd", "vae": "/etc/shadow"}
    with pytest.raises(CharaloomError, match="another version"):  # the rest of the settings is missing
        params_of(recorded(base=base, seed=1), {"path": "mine"})


def test_what_is_not_as_it_was(tmp_path: Path) -> None:
    write_facet(tmp_path / FACET, {"rows": []}, pictures=0)
    known = {"version": STAGE_VERSION["checkpoints"], "software": {"torch": version("torch")}}
    inputs = {FACET: sha256_file(tmp_path / FACET)}
    assert list(differences({"params": known, "inputs": inputs}, tmp_path / FACET)) == []
    before = {"params": {"version": 1, "software": {"torch": "0.1", "gone": "2"}}, "inputs": {FACET: "0"}}
    told = list(differences(before, tmp_path / FACET))
    assert len(told) == 4
    assert "the published pictures" in told[0]
    assert told[2] == "gone was 2 and is absent here"
    assert read_json(tmp_path / FACET)["pictures"] == 0


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_early_stopping_ends_where_it_ended(patience: int, count: int) -> None:
    """At the last published step, or behind it where so few were made that it did not end at all."""
    steps = [100 * number for number in range(1, count + 1)]
    judge, scores = ending_with(steps, patience), dict[str, float]()
    for step in range(100, 1100, 100):
        scores[str(step)] = judge(Checkpoint(str(step), step))
        if not improving(scores, patience):
            break
    assert step == max(steps[-1], 100 * (1 + patience))
