"""Base models of the size of real ones, with random weights, as the files that people bring; and what trains on them.

A checkpoint is one fp16 file in the original layout, written tensor by tensor. Its weights keep every signal near one,
so that no number format overflows: linear layers and convolutions have the deviation 1 / sqrt(inputs), norms scale by
one.
"""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from charaloom.artifacts.files import whole_file
from charaloom.artifacts.seeds import derive_seed
from charaloom.runtime.hub import repository_folder
from charaloom.tagging.lint import CLIP
from charaloom.weights.architectures import SHIPPED, Shapes, part_shapes, read_config
from charaloom.weights.layouts import CLIP_PREFIXES, OPEN_CLIP_PREFIX, UNET_PREFIXES, VAE_PREFIXES, Place, places_of
from charaloom.weights.models import PARTS

SEED = 20261129
MARKERS = ("v_pred", "ztsnr")  # of v-prediction with zero terminal SNR
BLOCK = 2**24  # numbers sampled at once
KNOWN = {  # a tensor by which each part's original layout is known
    "unet": UNET_PREFIXES[0] + "input_blocks.0.0.weight",
    "vae": VAE_PREFIXES[0] + "decoder.conv_in.weight",
    "text_encoder": "text_model.encoder.layers.0",
    "text_encoder_2": OPEN_CLIP_PREFIX + "ln_final.weight",
}
REVISION = "0" * 40


def write_checkpoint(path: Path, family: str, markers: bool = False) -> Path:
    """One fp16 file of a family, 2 or 7 GB, written once; the same bytes each time."""
    if path.exists():
        return path
    shapes = original_shapes(family) | (dict.fromkeys(MARKERS, (0,)) if markers else {})
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for numbers in weights(name, shape):
                file.write(numbers.astype("<f2").tobytes())
    return path


def original_shapes(family: str) -> Shapes:
    """Name and shape of every tensor of a family in the original layout."""
    found: Shapes = {}
    prefix = CLIP_PREFIXES[1 if family == "sdxl" else 0]
    for part in PARTS[family]:
        config = read_config(SHIPPED / family, part)
        shapes = part_shapes(part, config)
        known = (prefix if part == "text_encoder" else "") + KNOWN[part]
        for name, place in (places_of(part, config, shapes, [known]) or {}).items():
            found[place.name] = original_shape(name, shapes[name], place)
    return found


def original_shape(name: str, shape: tuple[int, ...], place: Place) -> tuple[int, ...]:
    if place.third is not None:  # three projections in one tensor
        return (3 * shape[0], *shape[1:])
    if place.transposed:
        return shape[::-1]
    if "mid_block.attentions" in name and place.name.startswith(VAE_PREFIXES[0]) and len(shape) == 2:
        return (*shape, 1, 1)  # a 1 x 1 convolution
    return shape


def weights(name: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Numbers of one tensor, a few at a time."""
    size = math.prod(shape)
    if len(shape) < 2:
        yield np.full(size, float(name.endswith("weight")), np.float32)
        return
    deviation = 0.02 if "embedding" in name else 1 / math.sqrt(math.prod(shape[1:]))
    sampled = np.random.default_rng(derive_seed(SEED, name, "weights"))
    for begin in range(0, size, BLOCK):
        yield deviation * sampled.standard_normal(min(BLOCK, size - begin), dtype=np.float32)


def write_vocabulary(work: Path) -> None:
    """Words and merges of a tokenizer as large as CLIP's, where the picture models would lie: all pairs of bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    snapshot = repository_folder(work / "hub", CLIP) / "snapshots" / REVISION
    snapshot.mkdir(parents=True, exist_ok=True)
    (snapshot.parents[1] / "refs").mkdir(exist_ok=True)
    (snapshot.parents[1] / "refs" / "main").write_text(REVISION)
    rows = read_config(SHIPPED / "sd15", "text_encoder")["vocab_size"]
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    pairs = [(first, second) for first in letters for second in letters][: rows - len(words) - 2]
    words += [*map("".join, pairs), "<|startoftext|>", "<|endoftext|>"]
    (snapshot / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (snapshot / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, pairs)) + "\n")


def pictures(number: int, side: int) -> list[tuple[str, bytes]]:
    """Drawn pictures of one size, by name."""
    drawn = []
    for index in range(number):
        image = Image.new("RGB", (side, side), (40 + 20 * index % 200, 120, 200))
        box = (side // 8 + index, side // 8, side // 2 + index, side // 2)
        ImageDraw.Draw(image).ellipse(box, fill=(250, 180, 40 + 10 * index % 200))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        drawn.append((f"{index:03d}.png", buffer.getvalue()))
    return drawn


def write_project(folder: Path, checkpoint: Path, side: int, training: dict[str, Any]) -> Path:
    """A config whose base is a file and nothing else, with a roster of one character; the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "characters.tsv").write_text(
        "character\tsource\tquery\ttrigger\tage\n" + f"hana\tfolder\t{folder / 'pictures'}\thana_charaloom\tadult\n"
    )
    config = {
        "paths": {"results": str(folder / "results"), "work": str(folder / "work")},
        "roster": str(folder / "characters.tsv"),
        "bases": {"real": {"path": str(checkpoint)}},
        "training": {"base": "real", "resolution": side, "warm_seconds": 0, **training},
        "previews": {"bases": ["real"], "width": side, "height": side, "steps": 1, "threads": training["threads"]},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder / "config.yaml"
