"""Manifests decide: small, byte-deterministic files, one set per stage and character.

`<stage>.manifest.json` holds digests and counts of what a stage made and what later stages need of it, and nothing
about where it came from: a stage that runs again to the same content leaves the same manifest, and what Snakemake
compares ends there. `<stage>.<facet>.json` is the digest of a part of it, for stages that read only that part.
`<stage>.lineage.json` says where it came from; cards and `charaloom explain` read it, and it is an input of nobody.

Manifests and facets are sealed. A job refuses to read what is not the bytes that a manifest lists (`refuse_damaged`);
`charaloom run` looks for such files before (`is_whole`) and makes them again.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, files_below, read_json, sha256_file, write_json
from charaloom.artifacts.sealed import damaged, read_sealed, write_sealed
from charaloom.artifacts.types import PathLike

LINEAGE_SCHEMA = 1
MANIFEST_ENDING, LINEAGE_ENDING = ".manifest.json", ".lineage.json"
PAGE_OUTPUT, REPORT_OUTPUT = "page", "report"  # of manifests: an artifact's pages
FILES = {  # where an output lies, by its name in a manifest; a folder has the name of its stage
    "table": "{stage}.parquet",
    "core": "core.json",
    "outfits": "outfits.json",
    "selection": "selection.json",
    PAGE_OUTPUT: "{stage}.html",
    REPORT_OUTPUT: "report.html",
}
OF_STAGE = {
    ("dataset", "pictures"): "dataset_pictures",
    ("outfits", PAGE_OUTPUT): "outfits.html",
    ("selection", PAGE_OUTPUT): "previews.html",
}


@dataclass(frozen=True)
class Lineage:
    """What an artifact is a function of: its stage's params and the content of what it was made of.

    `params_digest` is of the params as the rule has them; `params` are those that decide a byte, so no path of this
    machine. `inputs`: SHA-256 of each file that the stage depends on, by its name in the character's folder.
    """

    stage: str
    character: str
    params_digest: str
    params: Mapping[str, object]
    inputs: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version of the artifact: it changes with params, the stage's own version and the content of inputs."""
        return digest({"stage": self.stage, "character": self.character, "params": self.params, "inputs": self.inputs})

    def plain(self) -> dict[str, Any]:
        return {
            "schema": LINEAGE_SCHEMA,
            "stage": self.stage,
            "character": self.character,
            "params_digest": self.params_digest,
            "params": dict(self.params),
            "inputs": dict(self.inputs),
            "digest": self.version,
        }


def lineage(
    stage: str,
    character: str,
    params: Mapping[str, object],
    inputs: Iterable[PathLike],
    recorded: Mapping[str, object] | None = None,
) -> Lineage:
    """The lineage of a run that starts now.

    `params` are JSON-able, as the rule passes them (`Params.plain()`); `recorded` is what the version is a function of
    where that is not the same: without paths, with digests and versions of libraries. `inputs` are the manifests and
    facets that the rule names.
    """
    files = {input_name(path, character): sha256_file(path) for path in inputs}
    return Lineage(stage, character, digest(dict(params)), recorded or params, dict(sorted(files.items())))


def input_name(path: PathLike, character: str) -> str:
    """A file by its place in the character's folder; one that all characters share by its name alone."""
    parts = Path(path).parts
    return "/".join(parts[parts.index(character) + 1 :]) if character in parts[:-1] else parts[-1]


def lineage_file(manifest: PathLike) -> Path:
    """Where the lineage of an artifact lies: beside its manifest or receipt."""
    path = Path(manifest)
    return path.with_name(path.name.removesuffix(MANIFEST_ENDING).removesuffix(".json") + LINEAGE_ENDING)


def describe(path: PathLike) -> dict[str, Any]:
    """SHA-256 and size of a file, or of every file of a folder by relative name."""
    target = Path(path)
    if target.is_dir():
        return {"files": {str(name): describe(target / name) for name in files_below(target)}}
    return {"sha256": sha256_file(target), "size": target.stat().st_size}


def output_file(manifest: PathLike, name: str) -> Path:
    """Where an output of a manifest lies."""
    path = Path(manifest)
    stage = path.name.removesuffix(MANIFEST_ENDING)
    return path.with_name(OF_STAGE.get((stage, name)) or FILES.get(name, stage).format(stage=stage))


def damaged_files(path: Path, described: Mapping[str, Any], since: int | None = None) -> Iterator[Path]:
    """Files that are not, or no longer, what `describe` saw at `path`.

    `since`: when all of them were described (change time, ns); a file of the same size that was not touched afterwards
    is not read. Nobody sets a change time by hand.
    """
    if "files" in described:
        for name, file in described["files"].items():
            yield from damaged_files(path / name, file, since)
        return
    try:
        status = os.stat(path)
        untouched = since is not None and status.st_ctime_ns <= since
        if status.st_size != described["size"] or not (untouched or sha256_file(path) == described["sha256"]):
            yield path
    except OSError:
        yield path


def is_whole(path: Path, described: Mapping[str, Any], since: int | None = None) -> bool:
    """Whether a file, or every file of a folder, is as `describe` saw it."""
    return next(damaged_files(path, described, since), None) is None


def refuse_damaged(inputs: Iterable[PathLike]) -> None:
    """Raise DamagedError at the first file that is not what its manifest says, among the outputs of the manifests that
    are named in `inputs`; at a sealed file or a lineage of `inputs`, too."""
    for path in map(Path, inputs):
        if path.name.endswith(LINEAGE_ENDING) and read_lineage(path) is None:
            raise damaged(path)
        if path.suffix != ".json":
            continue
        content = read_sealed(path) if path.name.count(".") > 1 else {}  # <stage>.<facet>.json, no artifact
        if path.name.endswith(MANIFEST_ENDING):
            for name, described in content.get("outputs", {}).items():
                for file in damaged_files(output_file(path, name), described):
                    raise damaged(file)


def write_manifest(
    path: PathLike,
    lineage: Lineage,
    outputs: Mapping[str, PathLike],
    counts: dict[str, Any],
    **content: Any,
) -> None:
    """Write the lineage, and last the manifest.

    `outputs` maps a short name to a finished file or folder, `counts` says what was made, `content` is what later
    stages need of it.
    """
    described = {name: describe(target) for name, target in sorted(outputs.items())}
    write_lineage(path, lineage)
    write_sealed(path, {"outputs": described, "counts": counts, **content})


def write_lineage(manifest: PathLike, lineage: Lineage) -> None:
    """Write where the artifact of this manifest or receipt came from."""
    write_json(lineage_file(manifest), lineage.plain())


def read_manifest(path: PathLike) -> dict[str, Any]:
    """Raises DamagedError where it is not what was written."""
    return read_sealed(path)


def read_lineage(path: PathLike) -> dict[str, Any] | None:
    """A lineage; None where it is missing or not what was written."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        content = read_json(path)
        written = Lineage(*(content[key] for key in ("stage", "character", "params_digest", "params", "inputs")))
        if content == written.plain():
            return content
    return None


def write_facet(path: PathLike, value: Any, **content: Any) -> None:
    """Write the digest of the part of an artifact that some stages read, and what else they need to know of it."""
    write_sealed(path, {"digest": digest(value), **content})


def facet_digest(path: PathLike) -> str:
    """The digest of a facet. Raises KeyError where the file is none, DamagedError where it is damaged."""
    return read_sealed(path)["digest"]
