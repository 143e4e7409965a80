"""Headers of safetensors files: names, dtypes, shapes and places of tensors; no tensor is read.

Format: 8 bytes with the length of the header (little endian), the header as JSON, the tensors without gaps
(huggingface/safetensors, README, "Format").
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from charaloom.errors import CharaloomError

LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}
PICKLE = "a pickle, which runs code when it is read and is never opened: take the .safetensors version of this model"
STARTS = (  # of files that are something else, and what they are
    (b"PK\x03\x04", PICKLE),  # torch saves its pickles as ZIP archives
    *((bytes([0x80, protocol]), PICKLE) for protocol in range(2, 6)),
    (b"GGUF", "a GGUF file, whose weights are quantised: take the .safetensors version of this model"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`, or download the file"),
    (b"<", "a web page, not a model: open the address in a browser, log in where it asks for that, and download again"),
    (b"{", "a text, as sites answer instead of a file (log in, or accept its terms, and download again)"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (bytes(64), "filled with zeros: its download was not finished; fetch it again"),
)


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in its file."""

    dtype: str  # as the header writes it: F32, F16, BF16, F8_E4M3, …
    shape: tuple[int, ...]
    start: int  # bytes from the beginning of the file
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says before its tensors."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file. Raises CharaloomError, which names the file, where it is broken or no such."""
    try:
        with path.open("rb") as handle:
            return checked(path, handle)
    except OSError as problem:
        raise CharaloomError(f"{path.name} cannot be read: {problem.strerror}") from problem


def checked(path: Path, handle: BinaryIO) -> Header:
    size = path.stat().st_size
    start = handle.read(64)
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if not 2 <= length <= LONGEST_HEADER or start[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        starts = (start, start.lstrip())
        other = next((what for begin, what in STARTS if any(each.startswith(begin) for each in starts)), None)
        what = other or f"no safetensors file ({size:,} bytes): fetch it again, or take another"
        raise CharaloomError(f"{path.name} is {what}")
    if size < LENGTH_BYTES + length:
        raise CharaloomError(f"{path.name} is cut within its header: fetch it again")
    handle.seek(LENGTH_BYTES)
    try:
        content = json.loads(handle.read(length), object_pairs_hook=without_twins)
        metadata = content.pop("__metadata__", {})
        tensors = dict(placed(content, LENGTH_BYTES + length))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise CharaloomError(f"{path.name} is broken: its header is not valid ({problem}); fetch it again") from None
    check_extent(path.name, tensors, LENGTH_BYTES + length, size)
    texts = metadata.items() if isinstance(metadata, dict) else ()
    return Header(path, tensors, {key: value for key, value in texts if isinstance(value, str)})


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands there twice")
    return content


def placed(content: dict[str, Any], offset: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name. Raises ValueError where size, shape and dtype do not fit each other."""
    for name, facts in content.items():
        dtype, shape, (start, end) = facts["dtype"], tuple(facts["shape"]), facts["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
            raise ValueError(f"{name}: sizes are no whole numbers")
        if dtype in BITS and math.prod(shape) * BITS[dtype] != (end - start) * 8:
            raise ValueError(f"{name}: {dtype}{list(shape)} does not have {end - start} bytes")
        yield name, Tensor(str(dtype), shape, offset + start, offset + end)


def check_extent(name: str, tensors: dict[str, Tensor], start: int, size: int) -> None:
    """The tensors must fill the file from `start` to its end, one behind the other."""
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != start:
            raise CharaloomError(f"{name} is broken: its tensors overlap or leave gaps; fetch it again")
        start = tensor.end
    if size < start:
        raise CharaloomError(f"{name} is cut: it has {size:,} of {start:,} bytes; fetch it again")
    if size > start:
        raise CharaloomError(f"{name} is broken: {size - start:,} bytes follow its tensors; fetch it again")
