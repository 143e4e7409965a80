"""Manifests decide: one small, byte-deterministic file per stage and character, compared by content."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, files_below, read_json, sha256_file, write_json
from charaloom.artifacts.types import PathLike

SCHEMA = 1


def lineage(stage: str, character: str, params: Mapping[str, object], inputs: Mapping[str, PathLike]) -> dict[str, Any]:
    """What an artifact is a function of; its digest is the artifact's version.

    `params` are JSON-able, with the stage's `version` among them (`Params.plain()`). `inputs` maps a name (the upstream
    stage, `models`) to the path of its manifest, whose bytes are hashed.
    """
    facts = {
        "stage": stage,
        "character": character,
        "version": params["version"],
        "params": dict(params),
        "inputs": {name: sha256_file(path) for name, path in sorted(inputs.items())},
    }
    return {**facts, "digest": digest(facts)}


def describe(path: PathLike) -> dict[str, Any]:
    """SHA-256 and size of a file, or of every file of a folder by relative name."""
    target = Path(path)
    if target.is_dir():
        return {"files": {str(name): describe(target / name) for name in files_below(target)}}
    return {"sha256": sha256_file(target), "size": target.stat().st_size}


def write_manifest(
    path: PathLike,
    lineage: dict[str, Any],
    outputs: Mapping[str, PathLike],
    counts: dict[str, Any],
    **extra: Any,
) -> None:
    """Write the manifest last: `outputs` maps a short name to a finished file or folder, `counts` what was made."""
    described = {name: describe(target) for name, target in sorted(outputs.items())}
    write_json(path, {"schema": SCHEMA, "lineage": lineage, "outputs": described, "counts": counts, **extra})


def read_manifest(path: PathLike) -> dict[str, Any]:
    return read_json(path)
