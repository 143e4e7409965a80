"""Layouts of one-file checkpoints: where each tensor of the diffusers layout lies in them.

The original layout is that of CompVis/latent-diffusion (UNet, VAE), huggingface/transformers (CLIP ViT-L) and
mlfoundations/open_clip (the second text encoder of SDXL). A test compares the names with diffusers' own conversion.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from charaloom.weights.architectures import Shapes

UNET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "unet.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.", "")
CLIP_PREFIXES = (  # of the first text encoder; `text_model.` follows, but in files from before 2023
    "cond_stage_model.transformer.",
    "conditioner.embedders.0.transformer.",
    "text_encoders.clip_l.transformer.",
    "text_encoder.",
)
OPEN_CLIP_PREFIX = "conditioner.embedders.1.model."
CLIP_2_PREFIXES = ("text_encoders.clip_g.transformer.", "text_encoder_2.")
TEXT_MODEL = "text_model."

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
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
THIRDS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}  # of OpenCLIP's `in_proj`
DEPRECATED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # of VAEs before 2023-03


@dataclass(frozen=True)
class Place:
    """Where a tensor of the diffusers layout lies."""

    name: str  # in the file
    third: int | None = None  # of its rows
    transposed: bool = False


Places = dict[str, Place]


def places_of(part: str, config: Mapping[str, Any], shapes: Shapes, names: Iterable[str]) -> Places | None:
    """Where the tensors of a part lie in a file with these tensors; None where the file has nothing of the part."""
    known = set(names)
    if part == "unet":
        return unet_places(config, shapes, known)
    if part == "vae":
        return vae_places(config, shapes, known)
    return text_places(part, shapes, known)


def direct(shapes: Shapes, prefix: str, rename: Callable[[str], str] = str) -> Places:
    return {name: Place(prefix + rename(name)) for name in shapes}


def unet_prefix(names: set[str]) -> tuple[str, bool] | None:
    """The prefix of a UNet's tensors, and whether it has the original layout."""
    for prefix in UNET_PREFIXES:
        for first, original in (("input_blocks.0.0.weight", True), ("conv_in.weight", False)):
            if prefix + first in names and (original or f"{prefix}time_embedding.linear_1.weight" in names):
                return prefix, original
    return next(((prefix, True) for prefix in UNET_PREFIXES[:1] if begun(names, prefix)), None)


def begun(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def unet_places(config: Mapping[str, Any], shapes: Shapes, names: set[str]) -> Places | None:
    found = unet_prefix(names)
    if found is None:
        return None
    prefix, original = found
    if not original:
        return direct(shapes, prefix)
    blocks = original_blocks(config, shapes)
    return direct(shapes, prefix, lambda name: original_unet(name, blocks))


def original_blocks(config: Mapping[str, Any], shapes: Shapes) -> dict[str, str]:
    """The blocks of a UNet by their names in diffusers, and by their place in the original lists of blocks."""
    levels = len(config["block_out_channels"])
    down = [layers_of(shapes, f"down_blocks.{level}") for level in range(levels)]
    up = [layers_of(shapes, f"up_blocks.{level}") for level in range(levels)]
    blocks, place = dict(UNET), 1
    for level, layers in enumerate(down):
        for index in range(layers):
            blocks[f"down_blocks.{level}.resnets.{index}"] = f"input_blocks.{place}.0"
            blocks[f"down_blocks.{level}.attentions.{index}"] = f"input_blocks.{place}.1"
            place += 1
        blocks[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{place}.0.op"
        place += 1
    place = 0
    for level, layers in enumerate(up):
        attention = f"up_blocks.{level}.attentions.0.norm.weight" in shapes
        for index in range(layers):
            blocks[f"up_blocks.{level}.resnets.{index}"] = f"output_blocks.{place}.0"
            blocks[f"up_blocks.{level}.attentions.{index}"] = f"output_blocks.{place}.1"
            place += 1
        blocks[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{place - 1}.{1 + attention}.conv"
    return blocks


def layers_of(shapes: Shapes, block: str) -> int:
    number = 0
    while f"{block}.resnets.{number}.norm1.weight" in shapes:
        number += 1
    return number


def original_unet(name: str, blocks: Mapping[str, str]) -> str:
    parts = name.split(".")
    block = next(".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in blocks)
    rest = name.removeprefix(f"{block}.")
    inner, _, end = rest.rpartition(".")
    return f"{blocks[block]}.{RESNET.get(inner, inner) + '.' if inner else ''}{end}"


def vae_places(config: Mapping[str, Any], shapes: Shapes, names: set[str]) -> Places | None:
    levels = len(config["block_out_channels"])
    for prefix in VAE_PREFIXES:
        if f"{prefix}decoder.mid_block.resnets.0.norm1.weight" in names:
            return direct(shapes, prefix, lambda name, prefix=prefix: diffusers_vae(name, prefix, names))  # type: ignore[misc]
        if f"{prefix}decoder.conv_in.weight" in names or (prefix and begun(names, prefix)):
            return direct(shapes, prefix, lambda name: original_vae(name, levels))
    return None


def diffusers_vae(name: str, prefix: str, names: set[str]) -> str:
    """A tensor of a VAE by the name that the file has for it: attention was named otherwise before 2023-03."""
    for old, new in DEPRECATED.items():
        former = name.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        if prefix + former in names:
            return former
    return name


def original_vae(name: str, levels: int) -> str:
    for pattern, place in (
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"group_norm", "norm"),
        (r"to_([qkv])\.", r"\1."),
        (r"to_out\.0", "proj_out"),
        (r"conv_norm_out", "norm_out"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    ):
        name = re.sub(pattern, place, name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda match: f"up.{levels - 1 - int(match[1])}.block.", name)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda match: f"up.{levels - 1 - int(match[1])}.upsample", name)


def text_places(part: str, shapes: Shapes, names: set[str]) -> Places | None:
    if part == "text_encoder_2" and begun(names, OPEN_CLIP_PREFIX):
        return {name: open_clip_place(name) for name in shapes}
    for prefix in CLIP_2_PREFIXES if part == "text_encoder_2" else CLIP_PREFIXES:
        if begun(names, prefix + TEXT_MODEL):
            return direct(shapes, prefix)
        if begun(names, f"{prefix}encoder.layers.") or begun(names, f"{prefix}embeddings."):
            return direct(shapes, prefix, lambda name: name.removeprefix(TEXT_MODEL))
    return None


def open_clip_place(name: str) -> Place:
    if name == "text_projection.weight":  # applied from the other side
        return Place(f"{OPEN_CLIP_PREFIX}text_projection", transposed=True)
    if name in OPEN_CLIP:
        return Place(OPEN_CLIP_PREFIX + OPEN_CLIP[name])
    index, inner, end = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name).groups()  # type: ignore[union-attr]
    block = f"{OPEN_CLIP_PREFIX}transformer.resblocks.{index}"
    third = THIRDS.get(inner.removeprefix("self_attn."))
    if third is not None:
        return Place(f"{block}.attn.in_proj_{end}", third=third)
    return Place(f"{block}.{OPEN_CLIP_LAYER[inner]}.{end}")
