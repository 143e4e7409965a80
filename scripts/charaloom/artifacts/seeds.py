"""Every random number of a run comes from here: seeds derived from (config seed, character, purpose)."""

import hashlib


def derive_seed(seed: int, character: str, purpose: str) -> int:
    """Seed in [0, 2**31) for one purpose of one character; equal inputs give equal seeds on every machine."""
    digest = hashlib.sha256(f"{seed}/{character}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF
