"""SHA-256 of base models, computed once: hashing gigabytes on each call would cost more than reading them.

What was computed is kept in `work`, one JSON file for each folder that bases lie in, by path, size, modification time
and inode; whatever changes one of them makes the file be hashed again.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, read_json, sha256_file, write_json
from charaloom.artifacts.locks import locked

# A younger file may change again without a new modification time: file systems count it in steps of up to 2 s (FAT).
SETTLED_SECONDS = 2.0


def file_digests(folder: Path, names: Iterable[str], work: Path) -> dict[str, str]:
    """SHA-256 of files below `folder` by their relative names; each is hashed once, by one process at a time."""
    root = folder.resolve()
    store = work / "bases" / "digests" / f"{digest(str(root))[:32]}.json"
    with locked(store.with_suffix(".lock"), f"{folder}: another process hashes these files; waiting for it"):
        kept = read_kept(store)
        digests, fresh = {}, {}
        for name in names:
            facts = facts_of(root / name)
            entry = kept.get(name, {})
            digests[name] = entry["sha256"] if entry.get("facts") == facts else sha256_file(root / name)
            if entry.get("facts") != facts and settled(facts, root / name):
                fresh[name] = {"facts": facts, "sha256": digests[name]}
        if fresh:
            write_json(store, {**kept, **fresh})
    return digests


def read_kept(store: Path) -> dict[str, Any]:
    """What was computed before; nothing where the file is missing or broken."""
    try:
        return read_json(store)
    except (FileNotFoundError, ValueError):
        return {}


def facts_of(path: Path) -> list[int]:
    """Size in bytes, modification time in nanoseconds and inode of a file; those of its target where it is a link."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def settled(facts: list[int], path: Path) -> bool:
    """Whether the file is old enough, and the same as before it was hashed."""
    return facts == facts_of(path) and time.time() - facts[1] / 1e9 > SETTLED_SECONDS
