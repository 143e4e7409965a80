"""Layouts that other programs read, without training anything."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import sha256_file
from charaloom.config.families import EMBEDDING_KEY, SD15, Family
from charaloom.config.params import Base
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.lora import (
    bundle_weights,
    kohya_weights,
    lora_metadata,
    read_metadata,
    read_weights,
    write_weights,
)
from charaloom.errors import CharaloomError
from tests.unit.training.trainings import params


def metadata_of(family: Family) -> dict[str, str]:
    chosen = replace(params(Path("tiny")).settled(2), rank=4, resolution=512)
    base = LocalBase("tiny", family, Path("tiny"), "0" * 64, Base(name="tiny", family=family.name, clip_skip=1))
    tags = [["blue_hair", "1girl"], ["1girl"]]
    return lora_metadata("hana", base, chosen, steps=100, tags=tags, version="1" * 64)


def hcp_layer(module: str, rank: int = 4, stored_alpha: float = 0.5) -> dict[str, Any]:
    import torch

    down, up = torch.arange(rank * 8.0).reshape(rank, 8), torch.ones(6, rank)
    parts = {"layer.W_down": down, "layer.W_up": up, "alpha": torch.tensor(stored_alpha)}
    return {f"{module}.___.{part}": value for part, value in parts.items()}


def test_keys_and_alpha_of_kohya() -> None:
    unet = hcp_layer("denoiser.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0")
    text = hcp_layer("TE.text_model.encoder.layers.0.mlp.fc1", rank=2, stored_alpha=1.5)
    weights = kohya_weights({**unet, **text}, SD15)
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert weights[f"{module}.lora_down.weight"].shape == (4, 8)
    assert weights[f"{module}.lora_up.weight"].shape == (6, 4)
    assert weights[f"{module}.alpha"] == 2.0
    assert weights["lora_te_text_model_encoder_layers_0_mlp_fc1.alpha"] == 3.0


def test_text_model_is_put_back_where_transformers_dropped_it() -> None:
    old = kohya_weights(hcp_layer("TE.text_model.encoder.layers.1.self_attn.q_proj"), SD15)
    assert kohya_weights(hcp_layer("TE.encoder.layers.1.self_attn.q_proj"), SD15).keys() == old.keys()


def test_unknown_keys_are_refused() -> None:
    import torch

    with pytest.raises(CharaloomError, match=r"unknown key `vae\.conv"):
        kohya_weights({"vae.conv.___.alpha": torch.tensor(1.0)}, SD15)


def test_bundle_holds_the_embedding_and_refuses_dots() -> None:
    import torch

    lora = kohya_weights(hcp_layer("denoiser.conv"), SD15)
    bundle = bundle_weights(lora, {EMBEDDING_KEY: torch.ones(2, 8)}, "hana_emb")
    assert bundle.keys() - lora.keys() == {"bundle_emb.hana_emb.string_to_param.*"}
    with pytest.raises(CharaloomError, match="a dot in the name"):
        bundle_weights(lora, {EMBEDDING_KEY: torch.ones(2, 8)}, "hana.emb")


def test_a_training_on_velocities_says_so_as_kohya_does() -> None:
    chosen = params(Path("tiny")).settled(2)
    entry = Base(name="tiny", family="sd15", clip_skip=0, prediction="v_prediction", zero_snr=True)
    base = LocalBase("tiny", SD15, Path("tiny"), "0" * 64, entry)
    metadata = lora_metadata("hana", base, chosen, steps=1, tags=[], version="1" * 64)
    assert metadata["modelspec.prediction_type"] == "v"
    assert (metadata["ss_v_parameterization"], metadata["ss_zero_terminal_snr"]) == ("True", "True")
    assert metadata_of(SD15)["ss_zero_terminal_snr"] == "False"


def test_metadata_says_what_users_and_tools_ask_for() -> None:
    metadata = metadata_of(SD15)
    assert metadata["ss_network_module"] == "networks.lora"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "2.0")
    assert (metadata["ss_sd_model_name"], metadata["ss_sd_model_hash"]) == ("tiny", "0" * 64)
    assert json.loads(metadata["ss_tag_frequency"]) == {"hana": {"1girl": 2, "blue_hair": 1}}
    assert metadata["modelspec.trigger_phrase"] == "hana_charaloom"
    assert (metadata["modelspec.prediction_type"], metadata["ss_clip_skip"]) == ("epsilon", "2")
    assert metadata["charaloom.lineage"] == "1" * 64
    assert not any(word in key for key in metadata for word in ("session", "time", "date", "dirs"))


WRITE = """
import sys
import torch
from charaloom.diffusion.lora import write_weights
tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2)}
write_weights(sys.argv[1], tensors, {f"key {index}": str(index) for index in range(12)}, hashed=True)
"""


@pytest.mark.slow
def test_bytes_are_equal_in_three_processes(tmp_path: Path) -> None:
    package = str(Path(__file__).parents[3] / "scripts")
    for seed in ("1", "2", "3"):
        environment = {"PYTHONPATH": package, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, "-c", WRITE, str(tmp_path / f"{seed}.safetensors")], env=environment, check=True
        )
    assert len({sha256_file(tmp_path / f"{seed}.safetensors") for seed in ("1", "2", "3")}) == 1


def test_file_is_canonical_readable_and_hashed_as_kohya_does(tmp_path: Path) -> None:
    import hashlib

    import torch

    path = tmp_path / "lora.safetensors"
    tensors = {"b": torch.arange(3.0), "a": torch.zeros(2, 2)}
    write_weights(path, tensors, {"z": "1", "a": "ü"}, hashed=True)
    assert path.stat().st_mode & 0o777 == 0o644
    assert all((read_weights(path)[name] == tensors[name]).all() for name in tensors)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert list(header) == sorted(header)
    assert list(header["__metadata__"]) == sorted(header["__metadata__"])
    assert read_metadata(path) == {
        "a": "ü",
        "z": "1",
        "sshs_model_hash": hashlib.sha256(content[8 + length :]).hexdigest(),
    }


def test_f9_broken_files_and_numbers_are_refused(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "lora.safetensors"
    write_weights(path, {"layer.weight": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(CharaloomError, match=r"`layer\.weight` holds NaN"):
        read_weights(path)
    content = path.read_bytes()
    for broken in (b"", content[:20], content[:-1], (2**40).to_bytes(8, "little") + content[8:]):
        path.write_bytes(broken)
        with pytest.raises(CharaloomError, match="no readable safetensors file"):
            read_weights(path)
