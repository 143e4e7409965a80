"""Weights in the layouts other programs read: HCP-Diffusion to kohya keys, embeddings, bundles, canonical safetensors.

Key names and the meaning of alpha are those of hcpdiff 2.6, which stores alpha divided by the rank.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import sha256_bytes, whole_file
from charaloom.artifacts.types import PathLike
from charaloom.config.families import DIFFUSERS, EMBEDDING_KEY, EPSILON, SGM, V_PREDICTION, Family
from charaloom.config.params import Training
from charaloom.diffusion.bases import LocalBase
from charaloom.errors import CharaloomError

if TYPE_CHECKING:
    from torch import Tensor

SGM_LAYERS = 3  # of a block in Stability's numbering: two residual ones and what changes the size
HCP_KEY = re.compile(r"^(?P<model>denoiser|TE)\.(?P<module>.+)\.___\.(?P<part>layer\.W_down|layer\.W_up|alpha)$")
KOHYA_PART = {"layer.W_down": "lora_down.weight", "layer.W_up": "lora_up.weight", "alpha": "alpha"}
# Names of prediction types in kohya's library/sai_model_spec.py, and its keys for a training on velocities.
MODELSPEC_PREDICTION = {EPSILON: "epsilon", V_PREDICTION: "v"}
V_METADATA = {"ss_v_parameterization": "True"}
HEADER_LIMIT = 100 * 1024 * 1024


def kohya_weights(hcp: Mapping[str, "Tensor"], family: Family) -> dict[str, "Tensor"]:
    """One plain LoRA in kohya keys from the UNet and text-encoder LoRA that HCP wrote; alpha = stored alpha x rank."""
    ranks = {name[: -len(".layer.W_down")]: value.shape[0] for name, value in hcp.items() if name.endswith("W_down")}
    weights = {}
    for name, value in hcp.items():
        match = HCP_KEY.match(name)
        if match is None:
            raise CharaloomError(f"LoRA of the trainer: unknown key `{name}`; hcpdiff 2.6 is the version that is read")
        weight = value.float()
        if match["part"] == "alpha":
            weight = weight * ranks[name[: -len(".alpha")]]
        weights[f"{kohya_module(match['model'], match['module'], family)}.{KOHYA_PART[match['part']]}"] = (
            weight.contiguous()
        )
    return weights


def kohya_module(model: str, module: str, family: Family) -> str:
    """`denoiser`, `a.b` -> `lora_unet_a_b`; text encoders carry `text_model`, which transformers >= 5.6 drops.

    SD 1.x has the names of diffusers, SDXL those of Stability's own code: what kohya's trainer writes for each.
    """
    if model == "denoiser":
        return "lora_unet_" + UNET_NAMES[family.unet_names](module).replace(".", "_")
    for encoder in family.text_encoders:
        start = f"{encoder.trainer_name}." if encoder.trainer_name else ""
        if module.startswith(start):
            flat = module.removeprefix(start).replace(".", "_")
            return encoder.lora_prefix + (flat if flat.startswith("text_model_") else f"text_model_{flat}")
    raise CharaloomError(f"LoRA of the trainer: `{module}` is no part of a text encoder of {family.title}")


def sgm_module(module: str) -> str:
    """A module of an attention in diffusers' SDXL UNet by Stability's name: `down_blocks.1.attentions.0.x` is
    `input_blocks.4.1.x`."""
    match = re.fullmatch(r"(down_blocks|up_blocks)\.(\d+)\.attentions\.(\d+)\.(.+)", module)
    if match:
        number = SGM_LAYERS * int(match[2]) + int(match[3])
        side = f"input_blocks.{number + 1}" if match[1] == "down_blocks" else f"output_blocks.{number}"
        return f"{side}.1.{match[4]}"
    if module.startswith("mid_block.attentions.0."):
        return module.replace("mid_block.attentions.0.", "middle_block.1.", 1)
    raise CharaloomError(f"LoRA of the trainer: `{module}` is no part of an attention of an SDXL UNet")


UNET_NAMES: dict[str, Callable[[str], str]] = {DIFFUSERS: str, SGM: sgm_module}


def bundle_weights(lora: Mapping[str, "Tensor"], embedding: Mapping[str, "Tensor"], word: str) -> dict[str, "Tensor"]:
    """LoRA with its embedding inside, as A1111 (1.7 and newer) reads it; diffusers refuses such a file."""
    if "." in word:
        raise CharaloomError(f"embedding `{word}`: a dot in the name breaks the keys of a bundle; choose another name")
    inside = {"string_to_param.*" if key == EMBEDDING_KEY else key: value for key, value in embedding.items()}
    return {**lora, **{f"bundle_emb.{word}.{key}": value for key, value in inside.items()}}


def lora_metadata(
    character: str, base: LocalBase, params: Training, steps: int, tags: Iterable[Iterable[str]], version: str
) -> dict[str, str]:
    """What kohya's tools, Civitai and model managers read; no clock, no path, no session id.

    `tags` holds the tags of each training picture, `version` the lineage digest of the checkpoints.
    """
    frequency = Counter(tag for picture in tags for tag in picture)
    size = params.resolution
    return {
        "format": "pt",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(params.rank),
        "ss_network_alpha": repr(float(params.alpha)),
        "ss_base_model_version": base.family.base_version,
        "ss_sd_model_name": base.name,
        "ss_sd_model_hash": base.digest,
        "ss_new_sd_model_hash": base.digest,
        "ss_clip_skip": str(base.clip_skip + 1),
        "ss_zero_terminal_snr": str(base.entry.zero_snr),
        "ss_resolution": f"({size}, {size})",
        "ss_steps": str(steps),
        "ss_tag_frequency": json.dumps({character: dict(sorted(frequency.items()))}, ensure_ascii=False),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": base.family.architecture,
        "modelspec.implementation": "diffusers",
        "modelspec.title": character.replace("_", " "),
        "modelspec.trigger_phrase": params.trigger,
        "modelspec.prediction_type": MODELSPEC_PREDICTION[base.prediction],
        "modelspec.resolution": f"{size}x{size}",
        "charaloom.lineage": version,
        **(V_METADATA if base.prediction == V_PREDICTION else {}),
    }


def alias(stem: str) -> dict[str, str]:
    """The metadata that A1111 and Forge call a LoRA by: files beside each other need different ones."""
    return {"ss_output_name": stem}


def write_weights(
    path: PathLike, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str], hashed: bool = False
) -> None:
    """Write safetensors whose bytes are a function of their content; `hashed` adds kohya's hash of the weights.

    safetensors 0.8.0 keeps metadata in hash order, so that three processes write three different files, and creates
    files with mode 0600.
    """
    header, data = encoded_tensors(tensors)
    written = {**metadata, "sshs_model_hash": sha256_bytes(data)} if hashed else metadata
    with whole_file(path) as part:
        part.write_bytes(encoded_header(header, written) + data)


def encoded_tensors(tensors: Mapping[str, "Tensor"]) -> tuple[dict[str, Any], bytes]:
    """Header (without metadata) and data of a safetensors file of these tensors, sorted by name."""
    from safetensors.torch import save

    return split_safetensors(save({name: tensors[name].contiguous() for name in sorted(tensors)}), "new file")


def encoded_header(header: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """The header as it stands in a file, before the data: its length, and JSON with sorted keys."""
    whole = {**header, "__metadata__": dict(metadata)}
    encoded = json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded


def split_safetensors(content: bytes, name: str) -> tuple[dict[str, Any], bytes]:
    """Header without metadata, and the data behind it."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(HEADER_LIMIT, len(content) - 8):
        raise CharaloomError(f"{name}: no whole safetensors file; fetch or train it again")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, content[8 + length :]


def read_weights(path: PathLike) -> dict[str, "Tensor"]:
    """Tensors of a safetensors file; refuses broken files and names the key that holds NaN or infinity."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CharaloomError(f"{path}: no readable safetensors file ({error}); fetch or train it again") from error
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CharaloomError(f"{path}: `{name}` holds NaN or infinity; lower the learning rates and train again")
    return tensors


def read_metadata(path: PathLike) -> dict[str, str]:
    """The metadata of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}
