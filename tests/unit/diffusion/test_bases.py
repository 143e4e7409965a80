"""Base models: folders, single files, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import sha256_file
from charaloom.config.params import Base
from charaloom.diffusion.bases import local_base
from charaloom.errors import CharaloomError
from charaloom.weights import digests

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
VAE = [
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"group_norm", "norm"),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0", "proj_out"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda match: f"up.{3 - int(match[1])}.block.{match[2]}"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{3 - int(match[1])}.upsample"),
]


def unet_places(config: dict[str, Any]) -> dict[str, str]:
    """Where the parts of a UNet lie in a checkpoint of the original layout."""
    levels, layers, places = len(config["block_out_channels"]), config["layers_per_block"], dict(UNET)
    for level in range(levels):
        for layer in range(layers):
            block = f"input_blocks.{1 + level * (layers + 1) + layer}"
            places |= {f"down_blocks.{level}.resnets.{layer}": f"{block}.0"}
            places |= {f"down_blocks.{level}.attentions.{layer}": f"{block}.1"}
        places[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
        for layer in range(layers + 1):
            block = f"output_blocks.{level * (layers + 1) + layer}"
            places |= {f"up_blocks.{level}.resnets.{layer}": f"{block}.0"}
            places |= {f"up_blocks.{level}.attentions.{layer}": f"{block}.1"}
        after = 2 if "CrossAttn" in config["up_block_types"][level] else 1
        places[f"up_blocks.{level}.upsamplers.0.conv"] = f"{block}.{after}.conv"
    return places


def original_unet(key: str, places: dict[str, str]) -> str:
    part = max((part for part in places if key.startswith(part + ".")), key=len)
    rest = key[len(part) + 1 :]
    name, _, end = rest.rpartition(".")
    return f"model.diffusion_model.{places[part]}.{RESNET.get(name, name) + '.' if name else ''}{end}"


def original_vae(key: str) -> str:
    for pattern, name in VAE:
        key = re.sub(pattern, name, key)
    return f"first_stage_model.{key}"


def single_file(base: Path, target: Path, **metadata: str) -> Path:
    """A checkpoint in the original one-file layout, converted by rules of our own."""
    from safetensors.torch import save_file

    save_file(original(base), target, metadata or None)
    return target


def original(base: Path) -> dict[str, Any]:
    """The tensors of a diffusers folder by their original names."""
    from safetensors.torch import load_file

    unet = load_file(base / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(base / "vae" / "diffusion_pytorch_model.safetensors")
    text = load_file(base / "text_encoder" / "model.safetensors")
    places = unet_places(json.loads((base / "unet" / "config.json").read_text()))
    tensors = {original_unet(key, places): value for key, value in unet.items()}
    for key, value in vae.items():
        linear = "attentions" in key and value.ndim == 2  # a 1x1 convolution in the original layout
        tensors[original_vae(key)] = value[:, :, None, None] if linear else value
    sdxl = (base / "text_encoder_2").is_dir()
    prefix = "conditioner.embedders.0.transformer." if sdxl else "cond_stage_model.transformer."
    tensors |= {prefix + key: value for key, value in text.items()}
    if sdxl:
        tensors |= open_clip(load_file(base / "text_encoder_2" / "model.safetensors"))
    return {key: value.contiguous() for key, value in tensors.items()}


def open_clip(text: dict[str, Any]) -> dict[str, Any]:
    """SDXL's second text encoder by the names of OpenCLIP, its three projections of attention in one tensor."""
    import torch

    names = {"layer_norm": "ln_", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
    found = {
        "text_projection": text["text_projection.weight"].T,
        "token_embedding.weight": text["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": text["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": text["text_model.final_layer_norm.weight"],
        "ln_final.bias": text["text_model.final_layer_norm.bias"],
    }
    for key, value in text.items():
        layer = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)", key)
        if layer and "q_proj" in key:
            parts = [text[key.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            end = key.rpartition(".")[2]
            found[f"transformer.resblocks.{layer[1]}.attn.in_proj_{end}"] = torch.cat(parts)
        elif layer and "k_proj" not in key and "v_proj" not in key:
            name = layer[2]
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            found[f"transformer.resblocks.{layer[1]}.{name}"] = value
    return {f"conditioner.embedders.1.model.{key}": value for key, value in found.items()}


def entry(path: Path | None, **other: Any) -> Base:
    facts = {"name": "tiny", "path": path and str(path), "repo": None, "revision": None}
    return Base.of({**facts, "family": "sd15", "clip_skip": 1, "licence": "mit", **other})


def test_folder_is_used_in_place_and_its_digest_is_of_its_content(tiny_base: Path, tmp_path: Path) -> None:
    base = local_base(entry(tiny_base), tmp_path / "work")
    assert base.folder == tiny_base
    shutil.copytree(tiny_base, tmp_path / "copy")
    assert local_base(entry(tmp_path / "copy"), tmp_path / "work").digest == base.digest
    config = tmp_path / "copy" / "unet" / "config.json"
    config.write_text(config.read_text() + " ")
    assert local_base(entry(tmp_path / "copy"), tmp_path / "work").digest != base.digest


def test_single_file_becomes_the_same_model(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path = single_file(tiny_base, tmp_path / "tiny.safetensors")
    base = local_base(entry(path, config=str(tiny_base)), tmp_path / "work")
    assert base.digest == sha256_file(path)
    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        ours, theirs = load_file(base.folder / f"{part}.safetensors"), load_file(tiny_base / f"{part}.safetensors")
        assert ours.keys() == theirs.keys()
        assert all((ours[key] == theirs[key]).all() for key in ours)
    assert local_base(entry(path, config=str(tiny_base)), tmp_path / "work").folder == base.folder


def test_single_file_takes_its_config_from_the_folder_beside_it(tiny_base: Path, tmp_path: Path) -> None:
    path = single_file(tiny_base, tmp_path / "tiny.safetensors")
    with pytest.raises(CharaloomError, match=r"its UNet lacks .* tensors of Stable Diffusion"):
        local_base(entry(path), tmp_path / "work")
    shutil.copytree(tiny_base, tmp_path / "tiny", ignore=shutil.ignore_patterns("*.safetensors"))
    assert (local_base(entry(path), tmp_path / "work").folder / "unet" / "config.json").exists()


def test_hub_repo_at_its_revision_comes_from_the_cache(tiny_base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    revision = "0123456789" * 4
    snapshot = tmp_path / "work" / "hub" / "hub" / "models--someone--tiny" / "snapshots" / revision
    shutil.copytree(tiny_base, snapshot)
    base = local_base(entry(None, repo="someone/tiny", revision=revision), tmp_path / "work")
    assert base.folder == snapshot
    assert base.digest == local_base(entry(tiny_base), tmp_path / "work").digest


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".pth"])
def test_f8_pickles_are_never_opened(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(CharaloomError, match="run code"):
        local_base(entry(path), tmp_path / "work")
    assert not (tmp_path / "ran").exists()


def test_f8_folder_with_pickled_weights_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    weights = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CharaloomError, match="pickled weights"):
        local_base(entry(tmp_path / "base"), tmp_path / "work")


def test_f9_broken_weights_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    weights = tmp_path / "base" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CharaloomError, match=r"vae/diffusion_pytorch_model\.safetensors is cut"):
        local_base(entry(tmp_path / "base"), tmp_path / "work")


def test_text_encoder_without_its_prefix_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_base, tmp_path / "base")
    weights = tmp_path / "base" / "text_encoder" / "model.safetensors"
    save_file({key.removeprefix("text_model."): value for key, value in load_file(weights).items()}, weights)
    with pytest.raises(CharaloomError, match=r"transformers >= 5\.6"):
        local_base(entry(tmp_path / "base"), tmp_path / "work")


def test_what_cannot_be_trained_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(CharaloomError, match="family `sd3` is not one of sd15, sdxl"):
        local_base(entry(tiny_base, family="sd3"), tmp_path / "work")
    with pytest.raises(CharaloomError, match="`family` is sdxl, but tiny says sd15"):
        local_base(entry(tiny_base, family="sdxl"), tmp_path / "work")
    with pytest.raises(CharaloomError, match="does not exist"):
        local_base(entry(tmp_path / "nowhere"), tmp_path / "work")
    shutil.copytree(tiny_base, tmp_path / "base")
    write_scheduler(tmp_path / "base", prediction_type="v_prediction")
    with pytest.raises(CharaloomError, match="`prediction` is epsilon, but base says v_prediction"):
        local_base(entry(tmp_path / "base"), tmp_path / "work")
    assert (
        local_base(entry(tmp_path / "base", prediction="v_prediction"), tmp_path / "work").prediction == "v_prediction"
    )
    write_scheduler(tmp_path / "base", prediction_type="sample")
    with pytest.raises(CharaloomError, match="predicts `sample`"):
        local_base(entry(tmp_path / "base"), tmp_path / "work")


def write_scheduler(folder: Path, **settings: Any) -> None:
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), **settings}))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed, one entry for each time."""
    names: list[str] = []
    read = digests.read_file
    monkeypatch.setattr(digests, "read_file", lambda path: names.append(Path(path).name) or read(path))
    return names


def aged(path: Path, seconds: float) -> None:
    """Give a file, or all files of a folder, a modification time in the past, and wait: nobody sets a change time."""
    for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
        os.utime(file, (time.time() - seconds,) * 2)
    time.sleep(digests.SETTLED_SECONDS + 0.1)


def test_each_file_of_a_base_is_hashed_once(tiny_base: Path, tmp_path: Path, hashed: list[str]) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    aged(tmp_path / "base", seconds=60)
    first = local_base(entry(tmp_path / "base"), tmp_path / "work")
    assert hashed.count("diffusion_pytorch_model.safetensors") == 2
    hashed.clear()
    assert local_base(entry(tmp_path / "base"), tmp_path / "work") == first
    assert hashed == []
    weights = tmp_path / "base" / "vae" / "diffusion_pytorch_model.safetensors"
    aged(weights, seconds=30)
    assert local_base(entry(tmp_path / "base"), tmp_path / "work") == first
    assert hashed == ["diffusion_pytorch_model.safetensors"], "another modification time"
    hashed.clear()
    shutil.copy2(weights, tmp_path / "copy")
    (tmp_path / "copy").replace(weights)
    assert local_base(entry(tmp_path / "base"), tmp_path / "work") == first
    assert hashed == ["diffusion_pytorch_model.safetensors"], "another inode"


def test_a_single_file_is_hashed_once_beside_others(
    tiny_base: Path, tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -1.0)
    paths = [single_file(tiny_base, tmp_path / f"{name}.safetensors") for name in ("one", "two")]
    bases = [local_base(entry(path, config=str(tiny_base)), tmp_path / "work") for path in (*paths, *paths)]
    assert [hashed.count(path.name) for path in paths] == [1, 1]
    assert hashed.count("model.safetensors") == 1, "of the folder that both become"
    assert {base.digest for base in bases} == {sha256_file(paths[0])}


def test_a_file_that_has_just_changed_is_hashed_again(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "base").write_text("one")
    before = digests.read_files(tmp_path, ["base"], tmp_path / "work")
    (tmp_path / "base").write_text("two")
    assert digests.read_files(tmp_path, ["base"], tmp_path / "work") != before
    assert hashed == ["base", "base"]


def test_a_broken_store_of_digests_is_made_again(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "base").write_text("one")
    aged(tmp_path / "base", seconds=60)
    for _ in range(2):
        digests.read_files(tmp_path, ["base"], tmp_path / "work")
        (store,) = (tmp_path / "work").rglob("*.json")
        store.write_text("{")
    digests.read_files(tmp_path, ["base"], tmp_path / "work")
    digests.read_files(tmp_path, ["base"], tmp_path / "work")
    assert len(hashed) == 3


HASH = """
import sys, time
from pathlib import Path
from charaloom.weights import digests
real = digests.read_file
def slow(path):
    print("hashed", flush=True)
    time.sleep(0.5)
    return real(path)
digests.read_file = slow
digests.read_files(Path(sys.argv[1]), ["base"], Path(sys.argv[2]))
"""


def test_processes_side_by_side_hash_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("one")
    aged(tmp_path / "base", seconds=60)
    command = [sys.executable, "-c", HASH, str(tmp_path), str(tmp_path / "work")]
    package = {"PYTHONPATH": str(Path(__file__).parents[3] / "scripts")}
    jobs = [subprocess.Popen(command, env={**os.environ, **package}, stdout=subprocess.PIPE) for _ in range(3)]
    output = b"".join(job.communicate(timeout=60)[0] for job in jobs)
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert output.split() == [b"hashed"]


def test_a_base_that_was_replaced_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    path, work = single_file(tiny_base, tmp_path / "tiny.safetensors"), tmp_path / "work"
    right, wrong = sha256_file(path), "0" * 64
    with pytest.raises(CharaloomError, match=rf"SHA-256 is {right}, `bases\.tiny\.digest` asks for {wrong}; fetch"):
        local_base(entry(path, digest=wrong, config=str(tiny_base)), work)
    assert not list((work / "bases").glob("[0-9a-f]*/unet")), "nothing is converted"
    assert local_base(entry(path, digest=right, config=str(tiny_base)), work).digest == right
    with pytest.raises(CharaloomError, match="asks for 0000"):
        local_base(entry(tiny_base, digest=wrong), work)
    folder = local_base(entry(tiny_base), work)
    assert local_base(entry(tiny_base, digest=folder.digest), work).folder == folder.folder
