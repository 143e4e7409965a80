"""Safetensors files whose tensors are zeros on a sparse disk: names and shapes are all that counts."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

SIZES = {"F32": 4, "F16": 2, "U8": 1}


def sparse_file(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F16", **metadata: str) -> Path:
    """A file with tensors of these shapes; it takes no room on the disk."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.truncate(8 + len(text) + end)
    return path
