"""The training of a published model once more: the same settings, the published pictures, the base of this machine."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json, sha256_file
from charaloom.artifacts.manifest import write_facet
from charaloom.config.bases import PATHS, training_base
from charaloom.config.params import Checkpoints
from charaloom.config.schemas import Config
from charaloom.config.stages import STAGE_VERSION
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.errors import CharaloomError
from charaloom.publishing.content import training_content
from charaloom.publishing.layout import OUTFITS, REBUILD
from charaloom.runtime.gpus import one_gpu
from charaloom.training.checkpoints import TrainingInputs, train

FACET = "dataset.training.json"
SHARED = ("hub", "bases")  # folders below `work` that hold downloads, and what was converted
FETCHED_FROM = "models.lineage.json"  # in `work`: the hub that bases come from


def train_again(
    facts: Mapping[str, Any], dataset: Path, base: Config, steps: Sequence[int], work: Path
) -> tuple[Path, list[str]]:
    """The folder of the checkpoints of a training like the published one, and what was not like it.

    `facts`: of charaloom.json; `base`: the base model's entry on this machine; `steps`: of the published checkpoints;
    `work`: the work folder of this machine. The training's own files lie in `work`/verify until it ends. Raises
    CharaloomError where it cannot be trained.
    """
    character, lineage = facts["roster"]["character"], facts["checkpoints"]
    params = params_of(lineage["params"], base)
    place = work / "verify" / character
    place.mkdir(parents=True, exist_ok=True)
    own_work = place / "work"
    share(work, own_work)
    outfits = read_json(dataset / OUTFITS)
    content = training_content(dataset / "data", outfits)
    write_facet(place / FACET, content, pictures=len(content["rows"]))
    unlike = list(differences(lineage, place / FACET))
    with one_gpu():
        train(
            character=character,
            params=params,
            inputs=TrainingInputs(dataset, dataset / OUTFITS, place / FACET),
            folder=place / "checkpoints",
            manifest=place / "checkpoints.manifest.json",
            work=own_work,
            log=place / "checkpoints.log",
            judge=ending_with(steps, params.early_stopping) if params.early_stopping else None,
        )
    shutil.rmtree(own_work / character, ignore_errors=True)  # so that the next call trains, too
    return place / "checkpoints", unlike


def params_of(recorded: Mapping[str, Any], base: Config) -> Checkpoints:
    """The params of a training from those of its lineage, which lack the paths."""
    if recorded.get("regularisation_digest"):
        raise CharaloomError("it was trained with regularisation pictures, which are not published: nothing to verify")
    plain = {key: value for key, value in recorded.items() if key not in ("software", "base")}
    own = {key: value for key, value in recorded["base"].items() if key not in PATHS}
    here = {key: base[key] for key in PATHS if base.get(key)}
    try:
        return Checkpoints.of({**plain, "base": {**own, **here}, "regularisation": None})
    except (TypeError, AttributeError, KeyError) as problem:
        raise CharaloomError(
            f"{REBUILD}: its settings are those of another version of Charaloom ({problem}); take the version that it "
            "names under `charaloom`"
        ) from problem


def base_here(recorded: Mapping[str, Any], path: str | None, config: Config) -> Config:
    """The entry of the base model that was trained on: at `path`, or as the config has it under the same name.

    Raises CharaloomError where neither is there, and the published training names no repository of a hub.
    """
    name = str(recorded.get("name"))
    if path:
        return {"path": path}
    if name in config["bases"]:
        return training_base(config, name)
    if recorded.get("repo"):
        return {}
    raise CharaloomError(
        f"base `{name}` (SHA-256 {recorded.get('digest')}) is not among `bases`; say where it lies: `--base <file or "
        "folder>`"
    )


def share(work: Path, own: Path) -> None:
    """Let the training use what this machine has of base models."""
    own.mkdir(exist_ok=True)
    for name in SHARED:
        (work / name).mkdir(parents=True, exist_ok=True)
    for name in (*SHARED, FETCHED_FROM):
        if (work / name).exists() and not (own / name).is_symlink():
            os.symlink((work / name).absolute(), own / name)


def differences(lineage: Mapping[str, Any], facet: Path) -> Iterator[str]:
    """What is not as it was: the pictures that are trained on, the version of the stage, libraries."""
    if lineage["inputs"].get(FACET) != sha256_file(facet):
        yield "the published pictures and captions are not those that were trained on"
    then = lineage["params"].get("version")
    if then != STAGE_VERSION["checkpoints"]:
        yield f"the stage `checkpoints` was of version {then} and is {STAGE_VERSION['checkpoints']} here"
    for name, before in sorted(lineage["params"].get("software", {}).items()):
        now = version_of(name)
        if now != before:
            yield f"{name} was {before} and is {now} here"


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def ending_with(steps: Sequence[int], patience: int) -> Callable[[Checkpoint], float]:
    """A judge with whom early stopping ends behind the last of `steps`, as it did then: their scores grow, except for
    as many at the end as it waits for."""
    growing = sorted(steps)[: max(1, len(steps) - patience)]
    return lambda checkpoint: float(checkpoint.step) if checkpoint.step <= growing[-1] else -1.0
