"""Base models: folders, single files, and what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import sha256_file
from charaloom.diffusion.bases import local_base
from charaloom.errors import CharaloomError

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
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda found: f"up.{3 - int(found[1])}.block.{found[2]}"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample"),
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


def single_file(base: Path, target: Path) -> Path:
    """A checkpoint in the original one-file layout, converted by rules of our own."""
    from safetensors.torch import load_file, save_file

    unet = load_file(base / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(base / "vae" / "diffusion_pytorch_model.safetensors")
    text = load_file(base / "text_encoder" / "model.safetensors")
    places = unet_places(json.loads((base / "unet" / "config.json").read_text()))
    tensors = {original_unet(key, places): value for key, value in unet.items()}
    for key, value in vae.items():
        linear = "attentions" in key and value.ndim == 2  # a 1x1 convolution in the original layout
        tensors[original_vae(key)] = value[:, :, None, None] if linear else value
    tensors |= {f"cond_stage_model.transformer.{key}": value for key, value in text.items()}
    save_file({key: value.contiguous() for key, value in tensors.items()}, target)
    return target


def entry(path: Path | None, **other: Any) -> dict[str, Any]:
    facts = {"name": "tiny", "path": path and str(path), "repo": None, "revision": None}
    return {**facts, "family": "sd15", "clip_skip": 1, "licence": "mit", **other}


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
    with pytest.raises(CharaloomError, match="holds weights only"):
        local_base(entry(path), tmp_path / "work")
    shutil.copytree(tiny_base, tmp_path / "tiny", ignore=shutil.ignore_patterns("*.safetensors"))
    assert (local_base(entry(path), tmp_path / "work").folder / "unet" / "config.json").exists()


def test_hub_repo_at_its_revision_comes_from_the_cache(tiny_base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    revision = "0123456789" * 4
    snapshot = tmp_path / "work" / "hub" / "hub" / "models--someone--tiny" / "snapshots" / revision
    with pytest.raises(CharaloomError, match="neither cached nor to be had"):
        local_base(entry(None, repo="someone/tiny", revision=revision), tmp_path / "work")
    shutil.copytree(tiny_base, snapshot)
    base = local_base(entry(None, repo="someone/tiny", revision=revision), tmp_path / "work")
    assert base.folder == snapshot
    assert base.digest == local_base(entry(tiny_base), tmp_path / "work").digest
    with pytest.raises(CharaloomError, match="40 hex digits"):
        local_base(entry(None, repo="someone/tiny", revision="main"), tmp_path / "work")


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
    with pytest.raises(CharaloomError, match=r"vae/diffusion_pytorch_model\.safetensors is broken"):
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
    with pytest.raises(CharaloomError, match="has no text_encoder_2/"):
        local_base(entry(tiny_base, family="sdxl"), tmp_path / "work")
    with pytest.raises(CharaloomError, match="does not exist"):
        local_base(entry(tmp_path / "nowhere"), tmp_path / "work")
    shutil.copytree(tiny_base, tmp_path / "base")
    scheduler = tmp_path / "base" / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "prediction_type": "v_prediction"}))
    with pytest.raises(CharaloomError, match="predicts `v_prediction`"):
        local_base(entry(tmp_path / "base"), tmp_path / "work")
