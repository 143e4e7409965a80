"""The stage `checkpoints`: real trainings on a tiny base, from its inputs to its files."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charaloom.artifacts.files import sha256_file
from charaloom.artifacts.manifest import facet_digest
from charaloom.artifacts.sealed import whole_sealed
from charaloom.config.families import EMBEDDING_KEY
from charaloom.diffusion.bases import local_base
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.diffusion.lora import read_metadata, read_weights
from charaloom.errors import CharaloomError
from charaloom.training.curves import TABLE, read_rows
from charaloom.training.inputs import prepare
from charaloom.training.working_directory import working_directory
from tests.unit.training.trainings import (
    OUTFITS,
    STEPS,
    Pictures,
    Trained,
    digests_of,
    params,
    tensors_equal,
    train_once,
    write_dataset,
)


@pytest.mark.slow
def test_what_is_written(trained: Trained) -> None:
    names = ["step-000003", "step-000006"]
    files = [f"{name}{ending}.safetensors" for name in names for ending in ("", "_emb")]
    assert sorted(path.name for path in trained.folder.iterdir()) == sorted(["config.py", "loss.tsv", *files])
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in trained.folder.iterdir())
    assert trained.checkpoints == [
        {"name": name, "step": step, "lora": f"{name}.safetensors", "embedding": f"{name}_emb.safetensors"}
        for name, step in zip(names, (3, 6), strict=True)
    ]
    losses = [line.split("\t") for line in (trained.folder / "loss.tsv").read_text().splitlines()]
    assert losses[0] == ["step", "loss", "rate_unet", "rate_text", "rate_embedding"]
    assert [int(line[0]) for line in losses[1:]] == list(range(1, STEPS + 1))
    assert [float(rate) for rate in losses[1][2:]] == [0.01, 0.01, 0.1]


@pytest.mark.slow
def test_files_carry_no_path_host_clock_or_secret(trained: Trained) -> None:
    for path in trained.folder.iterdir():
        content = path.read_bytes()
        assert str(trained.root).encode() not in content
        assert b"canary" not in content
        assert b"/tmp" not in content
    assert "canary" not in trained.log.read_text()
    metadata = read_metadata(trained.folder / "step-000006.safetensors")
    assert metadata["modelspec.trigger_phrase"] == "hana_charaloom"
    assert (metadata["ss_network_dim"], metadata["ss_steps"]) == ("4", "6")
    assert json.loads(metadata["ss_tag_frequency"]) == {"hana": {"1girl": 8}}


@pytest.mark.slow
def test_everything_that_should_learn_did(trained: Trained) -> None:
    first, last = (read_weights(trained.folder / f"step-{step:06d}.safetensors") for step in (3, 6))
    assert len([name for name in last if name.startswith("lora_unet_")]) == 120
    assert len([name for name in last if name.startswith("lora_te_text_model_")]) == 36
    skipped = "lora_te_text_model_encoder_layers_1_"  # clip skip 2: the last layer is not in the way of anything
    ups = [name for name in last if name.endswith("lora_up.weight") and not name.startswith(skipped)]
    assert all(last[name].abs().max() > 0 and (last[name] != first[name]).any() for name in ups)
    assert all(last[name] == 2.0 for name in last if name.endswith(".alpha"))
    one, two = (read_weights(trained.folder / f"step-{step:06d}_emb.safetensors")[EMBEDDING_KEY] for step in (3, 6))
    assert one.shape == (3, 32)
    assert ((one != two).any(1)).all()


@pytest.mark.slow
def test_c4_second_run_elsewhere_after_a_kill_is_bit_identical(
    trained: Trained, tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    """Another folder, and leftovers of a killed run in the working directory and beside the output."""
    inputs, chosen = write_dataset(tmp_path, drawn_pictures), params(tiny_base)
    base = local_base(chosen.base, tmp_path / "work")
    content = facet_digest(inputs.content)
    workdir = working_directory(tmp_path / "work", "hana", chosen.settled(len(drawn_pictures)), base, content)
    (workdir / "run" / "ckpts").mkdir(parents=True)
    (workdir / "run" / "ckpts" / "lora_unet-6.safetensors").write_bytes(b"half")
    (workdir / ".inputs.x.part").mkdir()
    (tmp_path / ".checkpoints.x.part").mkdir()
    train_once(tmp_path, inputs, chosen)
    for path in trained.folder.iterdir():
        assert sha256_file(path) == sha256_file(tmp_path / "checkpoints" / path.name), path.name
    manifest = json.loads((tmp_path / "checkpoints.manifest.json").read_text())
    assert manifest["checkpoints"] == trained.checkpoints
    assert manifest["counts"] == {"pictures": 8, "checkpoints": 2, "tags_left_out": 0}
    recorded = json.loads((tmp_path / "checkpoints.lineage.json").read_text())["params"]
    assert recorded["software"]["hcpdiff"] == "2.6"
    assert recorded["threads"] == 1
    assert str(tiny_base) not in (tmp_path / "checkpoints.lineage.json").read_text()
    assert str(tiny_base) not in (tmp_path / "checkpoints.manifest.json").read_text()
    assert manifest["training"] == {"steps": 6, "rank": 4, "mode": "reproducible", "recipe": "pivotal"}
    assert not list(tmp_path.glob(".*.part"))
    assert [row["step"] for row in read_rows(tmp_path / "log" / TABLE)] == list(range(1, STEPS + 1))
    assert list((tmp_path / "log" / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_more_steps_go_on_and_fewer_train_nothing(
    trained: Trained, tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    inputs, log = write_dataset(tmp_path, drawn_pictures), tmp_path / "log.txt"
    train_once(tmp_path, inputs, params(tiny_base, steps=4))
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*4.safetensors")] == ["step-000004.safetensors"]
    longer = train_once(tmp_path, inputs, params(tiny_base))
    assert "going on after step 4 of 6" in log.read_text()
    assert longer == digests_of(trained.folder)
    before = log.read_text()
    train_once(tmp_path, inputs, params(tiny_base, steps=3))
    assert log.read_text() == before, "what was trained before is enough"
    assert len((tmp_path / "checkpoints" / "loss.tsv").read_text().splitlines()) == 4
    for ending in ("", "_emb"):
        name = f"step-000003{ending}.safetensors"
        assert tensors_equal(tmp_path / "checkpoints" / name, trained.folder / name)
    train_once(tmp_path, inputs, params(tiny_base, save_every=2))
    assert "the checkpoint of step 2 was not kept" in log.read_text()
    train_once(tmp_path, inputs, params(tiny_base, rate_unet=0.02))
    directories = [path for path in (tmp_path / "work" / "hana").iterdir() if (path / "run").exists()]
    assert len(directories) == 1, "the working directory of other settings is emptied"


@pytest.mark.slow
def test_early_stopping_ends_in_the_bytes_of_a_training_of_that_length(
    tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    """Two checkpoints in a row are no better than the one before: the third is the last."""
    given = {3: 0.8, 6: 0.7, 9: 0.8, 12: 0.9}
    judged: list[int] = []

    def judge(checkpoint: Checkpoint) -> float:
        judged.append(checkpoint.step)
        return given[checkpoint.step]

    (tmp_path / "models.json").write_text("{}\n")
    inputs = write_dataset(tmp_path, drawn_pictures)
    judged_inputs = replace(inputs, judged_by=[tmp_path / "models.json"])
    early = params(tiny_base, steps=12, early_stopping=2)
    stopped = train_once(tmp_path / "early", judged_inputs, early, judge=judge)
    assert judged == [3, 6, 9]
    assert stopped.keys() == train_once(tmp_path / "straight", inputs, params(tiny_base, steps=9)).keys()
    for name in stopped:
        assert tensors_equal(*(tmp_path / way / "checkpoints" / name for way in ("early", "straight"))), name
    training = json.loads((tmp_path / "early" / "checkpoints.manifest.json").read_text())["training"]
    assert training["steps"] == 9
    assert training["early_stopping"] == {"step-000003": 0.8, "step-000006": 0.7, "step-000009": 0.8}
    assert train_once(tmp_path / "early", judged_inputs, early, judge=judge) == stopped, "again: nothing is trained"


@pytest.mark.slow
def test_two_threads_share_a_batch_and_give_the_same_bytes_each_time(
    trained: Trained, tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        inputs = write_dataset(tmp_path / name, drawn_pictures)
        digests.append(train_once(tmp_path / name, inputs, params(tiny_base, threads=2)))
    assert digests[0] == digests[1]
    alone, shared = (
        [float(line.split("\t")[1]) for line in (folder / "loss.tsv").read_text().splitlines()[1:]]
        for folder in (trained.folder, tmp_path / "first" / "checkpoints")
    )
    assert shared == pytest.approx(alone, rel=1e-3), "the same training but for the last bits"
    assert shared[0] == pytest.approx(alone[0], rel=1e-6)


@pytest.mark.slow
def test_mend_latents_are_encoded_once_and_kept(
    trained: Trained, tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    whole = load_file(whole_sealed(trained.workdir / "latents" / "pictures.safetensors"))
    assert len([name for name in whole if name.endswith(".latent")]) == len(drawn_pictures)
    inputs = write_dataset(tmp_path, drawn_pictures[:4])
    chosen = params(tiny_base, steps=1, save_every=1, buckets=1)
    train_once(tmp_path, inputs, chosen)
    (kept,) = (tmp_path / "work").glob("hana/*/latents/pictures.*.safetensors")
    fewer = {name: value.tolist() for name, value in load_file(kept).items()}  # a copy
    before = kept.stat().st_mtime_ns
    assert set(fewer) < set(whole)
    train_once(tmp_path, inputs, replace(chosen, steps=2))
    assert kept.stat().st_mtime_ns == before, "encoded once"
    kept.write_bytes(b"half")
    train_once(tmp_path, inputs, replace(chosen, steps=3))
    assert "damaged; it is made again" in (tmp_path / "log.txt").read_text()
    assert {name: value.tolist() for name, value in load_file(kept).items()} == fewer


@pytest.mark.slow
def test_regularisation_pictures_train_beside_the_characters(
    trained: Trained, tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    inputs, folder = write_dataset(tmp_path, drawn_pictures), tmp_path / "regularisation"
    folder.mkdir()
    chosen = params(tiny_base, regularisation=str(folder), regularisation_digest="of the folder")
    with pytest.raises(CharaloomError, match="no pictures to regularise with"):
        train_once(tmp_path, inputs, chosen)
    for name, content in drawn_pictures[:3]:
        (folder / name).write_bytes(content)
        (folder / name).with_suffix(".txt").write_text("1girl,\n solo")
    digests = train_once(tmp_path, inputs, chosen)
    assert digests != digests_of(trained.folder)
    (captions,) = (tmp_path / "work").glob("hana/*/inputs/regularisation.json")
    assert set(json.loads(captions.read_text()).values()) == {"1girl, solo"}
    assert str(folder) not in (tmp_path / "checkpoints.manifest.json").read_text()


def test_an_unusable_dataset_is_named(tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path) -> None:
    inputs, settled = write_dataset(tmp_path, drawn_pictures), params(tiny_base).settled(8)
    base = local_base(settled.base, tmp_path / "work")
    shard = inputs.dataset / "data" / "train-00000.parquet"
    row = {"image": {"bytes": b"<svg>", "path": "a.png"}, "caption": "hana", "tags": ["1girl"], "repeats": 1}
    pq.write_table(pa.Table.from_pylist([row]), shard)
    with pytest.raises(CharaloomError, match=r"picture a\.png: not readable"):
        prepare(tmp_path / "workdir", inputs.dataset, OUTFITS, settled, base)
    shard.unlink()
    with pytest.raises(CharaloomError, match="no training picture"):
        prepare(tmp_path / "workdir", inputs.dataset, OUTFITS, settled, base)
    assert not list((tmp_path / "workdir").iterdir())
