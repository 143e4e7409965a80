"""A diffusers folder made from a checkpoint: tensor by tensor, so that memory holds one of them at a time.

Numbers keep their dtype, and so a file its size; fp8, which no program trains on, becomes fp16 without loss.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from charaloom.artifacts.files import write_json
from charaloom.errors import CharaloomError
from charaloom.weights.architectures import SHIPPED, read_config
from charaloom.weights.headers import BITS, LENGTH_BYTES
from charaloom.weights.kinds import SDXL
from charaloom.weights.models import STEMS, Model, Source
from charaloom.weights.tokenizers import VOCABULARY, brings_words

if TYPE_CHECKING:
    import numpy as np

CONVERSION_VERSION = 1  # bump where the same file would become another folder
BLOCK = 1 << 24  # bytes copied at once
FP8 = ("F8_E4M3", "F8_E5M2")
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1"}


def write_folder(model: Model, scheduler: Mapping[str, Any], vocabulary: Path | None, target: Path) -> None:
    """Write `model` as a diffusers folder with plain weights.

    `scheduler` overrides settings of its noise schedule; `vocabulary` holds vocab.json and merges.txt of CLIP, for an
    architecture that brings no tokenizer. Raises CharaloomError where the vocabulary is not the text encoder's.
    """
    schedule = read_config(giving(model, "scheduler"), "scheduler")
    write_json(target / "scheduler" / "scheduler_config.json", {**schedule, **scheduler})
    for part, tensors in model.parts.items():
        write_json(target / part / "config.json", read_config(model.architecture, part))
        write_weights(target / part / f"{STEMS.get(part, 'model')}.safetensors", tensors)
    for part in ("tokenizer", "tokenizer_2") if model.family == SDXL else ("tokenizer",):
        copy_tokenizer(model, giving(model, part) / part, vocabulary, target / part)
    shutil.copyfile(giving(model, "model_index.json") / "model_index.json", target / "model_index.json")


def giving(model: Model, name: str) -> Path:
    """The folder that a file or subfolder is taken from: the architecture's own, else the family's."""
    return model.architecture if (model.architecture / name).exists() else SHIPPED / model.family


def copy_tokenizer(model: Model, source: Path, vocabulary: Path | None, target: Path) -> None:
    shutil.copytree(source, target)
    if not brings_words(source):
        if vocabulary is None:
            raise CharaloomError(
                "the words of its tokenizer come with the picture models, which are not fetched yet: run `charaloom run"
                " --until models`, or name a diffusers folder with a tokenizer with `config`"
            )
        for name in VOCABULARY:
            shutil.copyfile(vocabulary / name, target / name)
        check_vocabulary(model, target / VOCABULARY[0])


def check_vocabulary(model: Model, vocabulary: Path) -> None:
    words = len(json.loads(vocabulary.read_text(encoding="utf-8")))
    rows = read_config(model.architecture, "text_encoder")["vocab_size"]
    if words != rows:
        raise CharaloomError(
            f"{model.path.name} knows {rows:,} tokens, the tokenizer among the picture models {words:,}: name a"
            " diffusers folder with its own tokenizer with `config`"
        )


def write_weights(path: Path, tensors: Mapping[str, Source]) -> None:
    """One safetensors file. Wide dtypes come first, so that every tensor starts at a multiple of its width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = sorted(tensors, key=lambda name: (-BITS[stored(tensors[name])], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in order:
        source = tensors[name]
        end = start + bytes_of(source)
        header[name] = {"dtype": stored(source), "shape": list(source.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    handles: dict[Path, BinaryIO] = {}
    try:
        with path.open("wb") as output:
            output.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
            for name in order:
                source = tensors[name]
                handle = handles.get(source.path) or handles.setdefault(source.path, source.path.open("rb"))
                copy_tensor(source, handle, output)
    finally:
        for handle in handles.values():
            handle.close()


def stored(source: Source) -> str:
    return "F16" if source.tensor.dtype in FP8 else source.tensor.dtype


def bytes_of(source: Source) -> int:
    number = 1
    for side in source.shape:
        number *= side
    return number * BITS[stored(source)] // 8


def copy_tensor(source: Source, handle: BinaryIO, output: BinaryIO) -> None:
    start, end = source.tensor.start, source.tensor.end
    if source.place.third is not None:  # rows lie one behind the other
        third = (end - start) // 3
        start, end = start + source.place.third * third, start + (source.place.third + 1) * third
    handle.seek(start)
    if source.tensor.dtype in FP8 or source.place.transposed:
        output.write(changed(source, handle.read(end - start), scale_of(source, handle)))
        return
    for place in range(start, end, BLOCK):
        output.write(handle.read(min(BLOCK, end - place)))


def changed(source: Source, data: bytes, scale: float) -> bytes:
    """The numbers of a tensor as fp16 where they are fp8, multiplied with `scale`, in the order of its shape."""
    import numpy as np

    numbers = np.frombuffer(data, TYPES[source.tensor.dtype])
    if source.tensor.dtype in FP8:
        numbers = fp8_values(source.tensor.dtype)[numbers]
        if scale != 1.0:
            numbers = (numbers.astype(np.float32) * scale).astype("<f2")
    if source.place.transposed:
        numbers = numbers.reshape(source.shape[::-1]).T
    return np.ascontiguousarray(numbers).tobytes()


def scale_of(source: Source, handle: BinaryIO) -> float:
    """The factor of an fp8 weight, one number in a tensor of its own (comfyanonymous/ComfyUI, comfy/ops.py)."""
    import numpy as np

    if source.scale is None:
        return 1.0
    place = handle.tell()
    handle.seek(source.scale.start)
    data = handle.read(source.scale.end - source.scale.start)
    handle.seek(place)
    wide = np.frombuffer(data, TYPES[source.scale.dtype])
    if source.scale.dtype == "BF16":
        wide = (wide.astype("<u4") << 16).view("<f4")
    if wide.size != 1 or source.scale.dtype in FP8:
        raise CharaloomError(f"{source.path.name} is quantised in another way: take its fp16 version")
    return float(wide[0])


def fp8_values(dtype: str) -> "np.ndarray":
    """The 256 values of an fp8 format as fp16, which holds each of them (arXiv:2209.05433, table 1)."""
    import numpy as np

    codes = np.arange(256, dtype=np.uint16)
    if dtype == "F8_E5M2":  # the upper byte of fp16
        return (codes << 8).view(np.float16)
    sign, exponent, fraction = codes >> 7, (codes >> 3) & 15, codes & 7
    sizes = np.where(exponent, (8 + fraction) * 2.0 ** (exponent - 10.0), fraction * 2.0**-9)
    sizes[(codes & 0x7F) == 0x7F] = np.nan
    return np.where(sign, -sizes, sizes).astype(np.float16)
