"""Publishing to a folder: the dataset and the model as finished, copied whole, and a receipt of what lies there.

Idempotent by content: a target that already holds the same bytes is not touched, and the receipt is the same.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, whole_folder, write_json
from charaloom.artifacts.manifest import describe, lineage, read_manifest
from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError

SCHEMA = 1


def publish(
    character: str,
    params: dict[str, Any],
    dataset: PathLike,
    dataset_manifest: PathLike,
    model: PathLike,
    model_manifest: PathLike,
    receipt: PathLike,
) -> None:
    """Copy both folders to `<target path>/<character>/{dataset,model}` and write the receipt, named like the target.

    Raises CharaloomError for a target of another kind than `folder`, and where a folder is not what its manifest says.
    """
    target = params["target"]
    if target["kind"] != "folder":
        raise CharaloomError(
            f"published.targets.{Path(receipt).stem}.kind is {target['kind']!r}; only `folder` can be published to."
        )
    sources = {"dataset": (Path(dataset), dataset_manifest), "model": (Path(model), model_manifest)}
    for name, (folder, manifest) in sources.items():
        refuse_if_changed(name, folder, manifest)
    root = Path(target["path"]) / character
    for name, (folder, _) in sources.items():
        place(folder, root / name)
    neutral = {**params, "target": {"kind": target["kind"]}}
    upstream = {name: os.fspath(manifest) for name, (_, manifest) in sources.items()}
    facts = lineage("published", character, neutral, upstream)
    write_json(
        receipt,
        {
            "schema": SCHEMA,
            "target": {"name": Path(receipt).stem, "kind": target["kind"]},
            "lineage": facts,
            "version": facts["digest"],
            "tag": tag(facts["digest"]),
            **{name: placed(name, root / name, manifest) for name, (_, manifest) in sources.items()},
        },
    )


def refuse_if_changed(name: str, folder: Path, manifest: PathLike) -> None:
    """Publish only what a stage made: a folder edited by hand would carry a version that is not its own."""
    found = describe(folder) if folder.is_dir() else None
    if found not in read_manifest(manifest)["outputs"].values():
        raise CharaloomError(
            f"{folder}: not what {manifest} says was made. Restore it, or remove that manifest so that the {name} "
            "stage makes it again."
        )


def place(source: Path, target: Path) -> None:
    """Copy a folder whole; one that is there with the same bytes is left as it is, times included."""
    if target.is_dir() and describe(target) == describe(source):
        return
    with whole_folder(target) as part:
        shutil.copytree(source, part, dirs_exist_ok=True, copy_function=shutil.copyfile)


def placed(name: str, folder: Path, manifest: PathLike) -> dict[str, Any]:
    """What lies at the target now: read back, not assumed."""
    version = read_manifest(manifest)["lineage"]["digest"]
    files = describe(folder)["files"]
    return {"folder": name, "digest": digest(files), "files": files, "version": version, "tag": tag(version)}


def tag(version: str) -> str:
    """The short name of a version, as revisions of a hub repo are tagged."""
    return f"v-{version[:12]}"
