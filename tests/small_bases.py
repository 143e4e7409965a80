"""Base models of a few kilobytes, made without torch, for tests that open a project and draw nothing."""

import json
import math
from pathlib import Path
from typing import Any

from charaloom.weights.architectures import SHIPPED, Shapes, part_shapes, read_config
from charaloom.weights.models import PARTS, STEMS
from charaloom.weights.tokenizers import SPECIAL

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"block_out_channels": [8, 8], "layers_per_block": 1, "cross_attention_dim": 8, "attention_head_dim": 8},
    "vae": {"block_out_channels": [8], "layers_per_block": 1},
    "text_encoder": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 16},
    "text_encoder_2": {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "vocab_size": 16,
        "projection_dim": 8,
    },
}
BLOCKS = {
    "unet": {
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "transformer_layers_per_block": 1,
    },
    "vae": {"down_block_types": ["DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D"]},
}


def write_base(folder: Path, family: str = "sd15") -> Path:
    """A diffusers folder of a family whose weights are zeros."""
    for part in PARTS[family]:
        config = {**read_config(SHIPPED / family, part), **SMALL[part], **BLOCKS.get(part, {})}
        write_text(folder / part / "config.json", config)
        write_zeros(folder / part / f"{STEMS.get(part, 'model')}.safetensors", part_shapes(part, config))
    for part in ("tokenizer", "tokenizer_2")[: len(PARTS[family]) - 2]:
        write_text(folder / part / "vocab.json", {word: number for number, word in enumerate(SPECIAL)})
        (folder / part / "merges.txt").write_text("")
    write_text(folder / "scheduler" / "scheduler_config.json", read_config(SHIPPED / family, "scheduler"))
    (folder / "model_index.json").write_text((SHIPPED / family / "model_index.json").read_text())
    return folder


def write_text(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_zeros(path: Path, shapes: Shapes) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
