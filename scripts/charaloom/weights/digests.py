"""SHA-256 of base models and the tensors that hold no numbers, found in one reading: bases have gigabytes.

What was found is kept in `work`, one JSON file for each folder that bases lie in, by path, size, modification time,
inode and change time; whatever changes one of them makes the file be read again.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from charaloom.artifacts.files import digest, sha256_file
from charaloom.artifacts.locks import locked
from charaloom.artifacts.sealed import read_kept, write_sealed
from charaloom.weights.headers import Header, read_header

# A younger file may change again without a new modification time: file systems count it in steps of up to 2 s (FAT).
SETTLED_SECONDS = 2.0
BLOCK = 1 << 24  # bytes read at once
LONG_READ = 1_000_000_000  # bytes, from which on a person is told why the program waits
# Exponent bits of each dtype, all of them set in infinity and NaN; E4M3 has no infinity and NaN in its last value
# alone (Micikevicius et al. 2022, arXiv:2209.05433).
EXPONENTS = {
    "F64": ("<u8", 0x7FF0000000000000),
    "F32": ("<u4", 0x7F800000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}


@dataclass(frozen=True)
class Read:
    """What reading a file whole has found."""

    sha256: str
    broken: tuple[str, ...]  # tensors that hold NaN or infinity


def read_files(folder: Path, names: Iterable[str], work: Path) -> dict[str, Read]:
    """Files below `folder` by their relative names; each is read once, by one process at a time."""
    root = folder.resolve()
    store = work / "bases" / "digests" / f"{digest(str(root))[:32]}.json"
    with locked(store.with_suffix(".lock"), f"{folder}: another process hashes these files; waiting for it"):
        kept = read_kept(store).get("files", {})
        files, fresh = {}, {}
        for name in names:
            facts = facts_of(root / name)
            entry = kept.get(name, {})
            known = entry.get("facts") == facts and "broken" in entry
            if not known and facts[0] >= LONG_READ:
                print(f"{root / name}: reading {facts[0] / 1e9:.1f} GB once, for digest and check", file=sys.stderr)
            files[name] = Read(entry["sha256"], tuple(entry["broken"])) if known else read_file(root / name)
            if not known and settled(facts, root / name):
                fresh[name] = {"facts": facts, "sha256": files[name].sha256, "broken": list(files[name].broken)}
        if fresh:
            write_sealed(store, {"files": {**kept, **fresh}})
    return files


def facts_of(path: Path) -> list[int]:
    """Size in bytes, modification time (ns), inode and change time (ns) of a file; of its target where it is a link."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


def settled(facts: list[int], path: Path) -> bool:
    """Whether the file is old enough, and the same as before it was hashed."""
    return facts == facts_of(path) and time.time() - max(facts[1], facts[3]) / 1e9 > SETTLED_SECONDS


def read_file(path: Path) -> Read:
    """Read one file whole. Raises CharaloomError where it is a broken safetensors file."""
    if path.suffix.lower() != ".safetensors":
        return Read(sha256_file(path), ())
    header = read_header(path)
    found = hashlib.sha256()
    with path.open("rb") as handle:
        broken = tuple(dict.fromkeys(broken_tensors(header, handle, found)))
    return Read(found.hexdigest(), broken)


def broken_tensors(header: Header, handle: BinaryIO, found: Any) -> Iterator[str]:
    """Names of tensors with NaN or infinity, in the order they lie in; all that is read goes into the hash `found`."""
    import numpy as np

    ordered = sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end))
    end = ordered[0][1].start if ordered else header.path.stat().st_size
    found.update(handle.read(end))
    for name, tensor in ordered:
        dtype, exponent = EXPONENTS.get(tensor.dtype, ("u1", None))
        for start in range(tensor.start, tensor.end, BLOCK):
            block = handle.read(min(BLOCK, tensor.end - start))
            found.update(block)
            if exponent is not None and ((np.frombuffer(block, dtype) & exponent) == exponent).any():
                yield name
