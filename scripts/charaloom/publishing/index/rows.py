"""One row per character, from small files alone: manifests, the model's lineage, receipts. Quick for a thousand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json
from charaloom.artifacts.types import Row
from charaloom.config.params import HUB

VERSION_DIGITS = 12
COLUMNS: tuple[tuple[str, str], ...] = (  # of a row, with the type of pyarrow
    ("character", "string"),
    ("trigger", "string"),
    ("base_model", "string"),
    ("outfits", "int32"),  # that have a trigger
    ("pictures", "int32"),  # that were trained on
    ("step", "int32"),
    ("score", "double"),  # of the chosen step, by the rule that chose it
    ("recognised", "int32"),  # previews of the chosen step on the base of the training
    ("asked", "int32"),  # of so many
    ("weak", "bool"),
    ("version", "string"),  # the one that the model's card names
    ("tag", "string"),  # of the published revision; null where nothing is published
    ("model", "string"),  # repositories on a hub; null without one
    ("dataset", "string"),
)


def index_rows(characters: Iterable[tuple[str, str]], results: Path) -> list[Row]:
    """The rows of those that have a model, best recognised first, then by name. `characters`: (name, trigger)."""
    rows = [row for name, trigger in characters if (row := index_row(results / name, name, trigger))]
    return sorted(rows, key=lambda row: (-share(row), row["character"]))


def index_row(folder: Path, name: str, trigger: str) -> Row | None:
    """What is known of a character; None where there is no model yet, or its files are broken."""
    model, origin = readable(folder / "model.manifest.json"), readable(folder / "model.lineage.json")
    if not model or not origin:
        return None
    counts, params = model["counts"], origin["params"]
    repositories = params.get("repositories") or {}
    receipts = list(filter(None, map(readable, sorted((folder / "published").glob("*.json")))))
    tags = [receipt["model"]["tag"] for receipt in receipts if "model" in receipt]
    return {
        "character": name,
        "trigger": trigger,
        "base_model": params["base"].get("repo") or params["base"]["name"],
        "outfits": count(folder, "clustered", "trained"),
        "pictures": count(folder, "dataset", "train"),
        **{key: counts.get(key) for key in ("step", "score", "recognised", "asked")},
        "weak": bool(counts["weak"]),
        "version": f"v-{origin['digest'][:VERSION_DIGITS]}",
        "tag": tags[0] if tags else None,
        **{kind: address(repositories, kind) for kind in ("model", "dataset")},
    }


def address(repositories: Row, kind: str) -> str | None:
    """Where a hub shows a repository."""
    if kind not in repositories:
        return None
    start = repositories.get("endpoint", HUB)
    return f"{start}/{'datasets/' if kind == 'dataset' else ''}{repositories[kind]}"


def share(row: Row) -> float:
    """The share of previews in which the character is recognised."""
    return (row["recognised"] or 0) / max(row["asked"] or 0, 1)


def count(folder: Path, stage: str, name: str) -> int | None:
    manifest = readable(folder / f"{stage}.manifest.json")
    return manifest["counts"].get(name) if manifest else None


def readable(path: Path) -> Any:
    """What a JSON file holds; None where it is absent or broken."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
