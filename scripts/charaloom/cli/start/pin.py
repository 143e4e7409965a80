"""`charaloom models pin`: the picture models that were fetched, as a lock that trusts nothing."""

from pathlib import Path
from typing import Any

import yaml

from charaloom.artifacts.files import write_text
from charaloom.artifacts.manifest import read_manifest
from charaloom.config.named_files import read_lock
from charaloom.config.project import Project
from charaloom.errors import CharaloomError
from charaloom.vision.models import MODELS, damaged_models

TARGET = Path("my/models.yaml")
HEADER = "# The picture models by commit and SHA-256, as `charaloom models pin` found them in the cache.\n"


def pin(project: Project) -> list[str]:
    """Write TARGET and say how to use it. Raises CharaloomError where the models were not fetched, or are damaged."""
    work = Path(project.config["paths"]["work"])
    manifest = work / MODELS
    if not manifest.is_file():
        raise CharaloomError(f"{manifest}: is not there yet; `charaloom run --until models` fetches the picture models")
    for file in damaged_models(manifest, work / "hub"):
        raise CharaloomError(f"{file}: not the file that was fetched; `charaloom run --until models` fetches it again")
    wanted = {entry["repo"]: entry for entry in read_lock(project.config["models"]["lock"])}
    entries = [pinned(model, wanted.get(model["repo"], {})) for model in read_manifest(manifest)["models"]]
    write_text(TARGET, HEADER + yaml.safe_dump(entries, sort_keys=False, width=120))
    files = sum(len(entry["files"]) for entry in entries)
    return [
        f"{TARGET}: {files} files of {len(entries)} repositories, by commit and SHA-256.",
        f"To use it, write into my/config.yaml:  models: {{lock: {TARGET}}}",
    ]


def pinned(model: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """An entry of the lock for a repository as it lies in the cache; optional files that it lacks stay optional."""
    files = {path: file["sha256"] for path, file in model["files"].items()}
    missing = [path for path in wanted.get("optional", []) if path not in files]
    entry = {"repo": model["repo"], "repo_type": model["repo_type"], "revision": model["revision"], "files": files}
    return {**entry, "optional": missing} if missing else entry
