"""Architectures of base models: the name and shape of every tensor that a diffusers config describes.

Computed from the configs alone, so that a missing tensor is found before any stage runs and without torch. The
names are those of diffusers' UNet2DConditionModel and AutoencoderKL and transformers' CLIPTextModel; a test compares
them with these classes.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from charaloom.errors import CharaloomError

SHIPPED = Path(__file__).parent / "shipped"  # a diffusers folder without weights of each family
Shapes = dict[str, tuple[int, ...]]
Pairs = Iterator[tuple[str, tuple[int, ...]]]

CROSS_BLOCKS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
PLAIN_BLOCKS = ("DownBlock2D", "UpBlock2D")
PLAIN_UNET = {  # what a UNet of Stable Diffusion has of the options that would change its tensors
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "resnet_time_scale_shift": "default",
    "time_cond_proj_dim": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
}
FAULTS = (AttributeError, IndexError, KeyError, TypeError, ValueError)  # of code that reads a config of another kind


def read_config(folder: Path, part: str) -> dict[str, Any]:
    """The config of a part of a diffusers folder. Raises CharaloomError where there is none."""
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    try:
        content = json.loads((folder / part / name).read_text(encoding="utf-8"))
    except OSError as problem:
        raise CharaloomError(f"{folder}: {part}/{name} cannot be read: {problem.strerror}") from None
    except ValueError:
        raise CharaloomError(f"{folder}: {part}/{name} is no valid JSON; fetch it again") from None
    if not isinstance(content, dict):
        raise CharaloomError(f"{folder}: {part}/{name} holds no settings; fetch it again")
    return content


def part_shapes(part: str, config: dict[str, Any]) -> Shapes:
    """Name and shape of every tensor of a part with weights. Raises CharaloomError where its config is of another kind.

    `part` is unet, vae, text_encoder, text_encoder_2.
    """
    describe = {"unet": unet, "vae": vae}.get(part, text_encoder)
    try:
        shapes = dict(describe(config))
        if part == "text_encoder_2":
            shapes["text_projection.weight"] = (config["projection_dim"], config["hidden_size"])
    except FAULTS as problem:
        raise CharaloomError(f"{part}/config.json is none of Stable Diffusion ({problem})") from None
    return shapes


def layer(name: str, *shape: int) -> Pairs:
    """A layer with weight and bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def each(value: Any, number: int) -> list[Any]:
    """A setting for each of so many blocks."""
    values = list(value) if isinstance(value, list | tuple) else [value] * number
    if len(values) != number:
        raise ValueError(f"{value} are not {number} blocks")
    return values


def unet(config: dict[str, Any]) -> Pairs:
    for key, plain in PLAIN_UNET.items():
        if config.get(key, plain) != plain:
            raise ValueError(f"{key} is {config[key]}")
    widths = config["block_out_channels"]
    levels, time = len(widths), 4 * widths[0]
    depths = each(config.get("transformer_layers_per_block", 1), levels)
    crosses = each(config.get("cross_attention_dim", 1280), levels)
    layers = each(config.get("layers_per_block", 2), levels)
    linear = config.get("use_linear_projection", False)
    yield from layer("conv_in", widths[0], config.get("in_channels", 4), 3, 3)
    yield from layer("time_embedding.linear_1", time, widths[0])
    yield from layer("time_embedding.linear_2", time, time)
    if config.get("addition_embed_type") == "text_time":
        yield from layer("add_embedding.linear_1", time, config["projection_class_embeddings_input_dim"])
        yield from layer("add_embedding.linear_2", time, time)
    elif config.get("addition_embed_type") is not None:
        raise ValueError(f"addition_embed_type is {config['addition_embed_type']}")
    skips = [widths[0]]
    before = widths[0]
    for level, (kind, width) in enumerate(zip(config["down_block_types"], widths, strict=True)):
        place = f"down_blocks.{level}"
        for index in range(layers[level]):
            yield from resnet(f"{place}.resnets.{index}", before, width, time)
            if has_attention(kind):
                attention = f"{place}.attentions.{index}"
                yield from transformer(attention, width, depths[level], crosses[level], linear)
            before = width
            skips.append(width)
        if level < levels - 1:
            yield from layer(f"{place}.downsamplers.0.conv", width, width, 3, 3)
            skips.append(width)
    yield from resnet("mid_block.resnets.0", before, before, time)
    yield from transformer("mid_block.attentions.0", before, depths[-1], crosses[-1], linear)
    yield from resnet("mid_block.resnets.1", before, before, time)
    for level, (kind, width) in enumerate(zip(config["up_block_types"], reversed(widths), strict=True)):
        place, mirrored = f"up_blocks.{level}", levels - 1 - level
        for index in range(layers[mirrored] + 1):
            yield from resnet(f"{place}.resnets.{index}", before + skips.pop(), width, time)
            if has_attention(kind):
                attention = f"{place}.attentions.{index}"
                yield from transformer(attention, width, depths[mirrored], crosses[mirrored], linear)
            before = width
        if level < levels - 1:
            yield from layer(f"{place}.upsamplers.0.conv", width, width, 3, 3)
    yield from layer("conv_norm_out", widths[0])
    yield from layer("conv_out", config.get("out_channels", 4), widths[0], 3, 3)


def has_attention(kind: str) -> bool:
    if kind not in CROSS_BLOCKS + PLAIN_BLOCKS:
        raise ValueError(f"a block is {kind}")
    return kind in CROSS_BLOCKS


def resnet(name: str, before: int, width: int, time: int | None = None) -> Pairs:
    """A residual block; `time` is the width of the time embedding."""
    yield from layer(f"{name}.norm1", before)
    yield from layer(f"{name}.conv1", width, before, 3, 3)
    if time:
        yield from layer(f"{name}.time_emb_proj", width, time)
    yield from layer(f"{name}.norm2", width)
    yield from layer(f"{name}.conv2", width, width, 3, 3)
    if before != width:
        yield from layer(f"{name}.conv_shortcut", width, before, 1, 1)


def transformer(name: str, width: int, depth: int, cross: int, linear: bool) -> Pairs:
    """Attention blocks: `depth` of them over `width` channels and a text of `cross` numbers a token."""
    projection = (width, width) if linear else (width, width, 1, 1)
    yield from layer(f"{name}.norm", width)
    yield from layer(f"{name}.proj_in", *projection)
    yield from layer(f"{name}.proj_out", *projection)
    for index in range(depth):
        block = f"{name}.transformer_blocks.{index}"
        for attention, source in (("attn1", width), ("attn2", cross)):
            yield f"{block}.{attention}.to_q.weight", (width, width)
            yield f"{block}.{attention}.to_k.weight", (width, source)
            yield f"{block}.{attention}.to_v.weight", (width, source)
            yield from layer(f"{block}.{attention}.to_out.0", width, width)
        for norm in ("norm1", "norm2", "norm3"):
            yield from layer(f"{block}.{norm}", width)
        yield from layer(f"{block}.ff.net.0.proj", 8 * width, width)
        yield from layer(f"{block}.ff.net.2", width, 4 * width)


def vae(config: dict[str, Any]) -> Pairs:
    widths = config["block_out_channels"]
    levels, layers, latent = len(widths), config.get("layers_per_block", 1), config.get("latent_channels", 4)
    attention = config.get("mid_block_add_attention", True)
    if set(config["down_block_types"]) | set(config["up_block_types"]) != {"DownEncoderBlock2D", "UpDecoderBlock2D"}:
        raise ValueError("its blocks are others")
    yield from layer("encoder.conv_in", widths[0], config.get("in_channels", 3), 3, 3)
    before = widths[0]
    for level, width in enumerate(widths):
        yield from coder_block(f"encoder.down_blocks.{level}", before, width, layers)
        if level < levels - 1:
            yield from layer(f"encoder.down_blocks.{level}.downsamplers.0.conv", width, width, 3, 3)
        before = width
    yield from coder_middle("encoder", before, attention)
    yield from layer("encoder.conv_norm_out", before)
    yield from layer("encoder.conv_out", 2 * latent, before, 3, 3)
    yield from layer("decoder.conv_in", before, latent, 3, 3)
    yield from coder_middle("decoder", before, attention)
    for level, width in enumerate(reversed(widths)):
        yield from coder_block(f"decoder.up_blocks.{level}", before, width, layers + 1)
        if level < levels - 1:
            yield from layer(f"decoder.up_blocks.{level}.upsamplers.0.conv", width, width, 3, 3)
        before = width
    yield from layer("decoder.conv_norm_out", widths[0])
    yield from layer("decoder.conv_out", config.get("out_channels", 3), widths[0], 3, 3)
    if config.get("use_quant_conv", True):
        yield from layer("quant_conv", 2 * latent, 2 * latent, 1, 1)
    if config.get("use_post_quant_conv", True):
        yield from layer("post_quant_conv", latent, latent, 1, 1)


def coder_block(name: str, before: int, width: int, layers: int) -> Pairs:
    for index in range(layers):
        yield from resnet(f"{name}.resnets.{index}", width if index else before, width)


def coder_middle(name: str, width: int, attention: bool) -> Pairs:
    for index in range(2):
        yield from resnet(f"{name}.mid_block.resnets.{index}", width, width)
    if attention:
        yield from layer(f"{name}.mid_block.attentions.0.group_norm", width)
        for projection in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from layer(f"{name}.mid_block.attentions.0.{projection}", width, width)


def text_encoder(config: dict[str, Any]) -> Pairs:
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield "text_model.embeddings.token_embedding.weight", (config["vocab_size"], width)
    yield "text_model.embeddings.position_embedding.weight", (config["max_position_embeddings"], width)
    for index in range(config["num_hidden_layers"]):
        block = f"text_model.encoder.layers.{index}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from layer(f"{block}.self_attn.{projection}", width, width)
        yield from layer(f"{block}.layer_norm1", width)
        yield from layer(f"{block}.layer_norm2", width)
        yield from layer(f"{block}.mlp.fc1", inner, width)
        yield from layer(f"{block}.mlp.fc2", width, inner)
    yield from layer("text_model.final_layer_norm", width)


def parts_with_weights(parts: Sequence[str]) -> list[str]:
    return [part for part in parts if part in ("unet", "vae") or part.startswith("text_encoder")]
