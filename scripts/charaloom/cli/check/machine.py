"""What this machine computes with, whether the config's number formats suit it, and how long trainings take on it."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any

from charaloom.artifacts.files import canonical_json, read_json
from charaloom.cli.check.findings import Findings
from charaloom.cli.text import about, counted
from charaloom.config.base_files import open_model
from charaloom.config.families import family_of
from charaloom.config.params import Checkpoints, Training
from charaloom.config.project import Project
from charaloom.config.roster import FOLDER
from charaloom.config.schemas import origin
from charaloom.config.stage_params import stage_params
from charaloom.errors import CharaloomError
from charaloom.images.files import read_folder
from charaloom.runtime.gpus import BF16_SINCE, Gpu
from charaloom.training.memory import too_large

# 10^12 operations of one core in a second in fp32: 0.295 pictures a second of SD 1.5 at 256 px on two cores of an AMD
# EPYC, `make bench-train`, docs/training.md.
TFLOPS_OF_A_CORE = 0.065
SMALL = (
    0.73  # power of the share of parameters that time goes with: between the demo's bases and SD 1.5, measured there
)
TYPICAL_PICTURES = 200  # that train, where it is not known yet
PREVIEWS = 128  # prompts of a character on each base, as in the demo (docs/judging.md)
SLOW_SECONDS = 3600.0  # of a character, from which a GPU is recommended
MOST_LINES = 3  # trainings that are shown


@dataclass(frozen=True)
class Work:
    """What a family takes, in 10^12 operations for a picture at its native resolution. Counted with torch's
    FlopCounterMode: forward and backward of a LoRA of rank 32, and the forward of the UNet."""

    step: float
    checkpointed: float  # with gradient checkpointing
    forward: float


WORK = {
    "sd15": Work(1.77, 2.34, 0.83),
    "sdxl": Work(14.3, 19.5, 6.84),
}


def is_cpu_build() -> bool:
    """Whether torch of this environment knows no GPU; it is not imported."""
    try:
        return "+cpu" in metadata.version("torch")
    except metadata.PackageNotFoundError:
        return False


def used_gpus(seen: Sequence[Gpu], findings: Findings) -> Sequence[Gpu]:
    """The GPUs that torch can use of those that the machine has."""
    if seen and is_cpu_build():
        findings.warning(
            f"{seen[0].name}: torch of this environment is the build for processors and cannot use it; run "
            "`CHARALOOM_TORCH=cuda make setup`"
        )
        return []
    return seen


def check_precision(project: Project, files: Sequence[Path], gpus: Sequence[Gpu], findings: Findings) -> None:
    """The number format of trainings and previews must be one that the device computes in."""
    for config in (project.config, *project.special.values()):
        for section in ("training", "previews"):
            wanted, key = config[section]["precision"], f"{section}.precision"
            where = f"{origin(files, (section, 'precision'), project.config)}: {key}"
            if wanted == "fp16" and not gpus:
                findings.error(
                    f"{where}: fp16 needs an NVIDIA GPU, and nvidia-smi shows none that is used here; write `auto`,"
                    " which is fp32 on a processor"
                )
            if wanted == "bf16" and gpus and min(gpu.capability for gpu in gpus) < BF16_SINCE:
                findings.warning(f"{where}: {gpus[0].name} has no bf16 and would emulate it slowly; write `auto`")


def check_memory(project: Project, gpus: Sequence[Gpu], findings: Findings) -> None:
    """Each training must fit into the GPU with the least room; what other processes have of it may become free."""
    gpu = min(gpus, key=lambda gpu: gpu.free, default=None)
    for need, line in too_large(project, gpu) if gpu else ():
        add = findings.error if gpu and need.total > gpu.total else findings.warning
        add(line)


# --- how long


@dataclass(frozen=True)
class Reckoning:
    """What computes, in lines; of a processor, the mean seconds of a training and of a character's previews."""

    lines: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage


def reckoned(project: Project, names: Iterable[str], gpus: Sequence[Gpu]) -> Reckoning:
    if gpus:
        return Reckoning([", ".join(f"{gpu.name}, {gpu.total / 2**30:.0f} GB, {gpu.precision}" for gpu in gpus)])
    groups = trainings_of(project, names)
    lines = [f"No GPU that nvidia-smi shows: this processor ({counted(os.cpu_count() or 1, 'core')}) computes."]
    training: list[float] = []
    rendering: list[float] = []
    for own in groups:
        training += [training_seconds(each) for each in own.values()]
        rendering += [preview_seconds(project, next(iter(own)))] * len(own)
        if len(lines) <= MOST_LINES:
            lines.append(line_of(own, max(training[-len(own) :]), rendering[-1]))
    if len(groups) > MOST_LINES:
        lines.append(f"  and {len(groups) - MOST_LINES:,} other trainings")
    if not training:
        return Reckoning(lines)
    return Reckoning(lines, {"checkpoints": fmean(training), "previews": fmean(rendering)})


def line_of(own: Mapping[str, Training], training: float, rendering: float) -> str:
    name, settings = next(iter(own.items()))
    who = name if len(own) == 1 else f"{name} and {len(own) - 1:,} more, each"
    how = f"{settings.steps:,} steps of {settings.batch} at {settings.resolution} px on {settings.base.name}"
    slow = "; a GPU needs minutes" if training + rendering > SLOW_SECONDS else ""
    return f"  {who}: training {about(training)} ({how}), previews {about(rendering)}{slow}"


def trainings_of(project: Project, names: Iterable[str]) -> list[dict[str, Training]]:
    """The trainings of characters, together where they share one config."""
    groups: defaultdict[str, dict[str, Training]] = defaultdict(dict)
    for name in names:
        group = groups[name if name in project.special else ""]
        with suppress(CharaloomError, KeyError, TypeError):  # what is wrong there is told by the checks of the config
            pictures = pictures_of(project, name)
            shared = next(iter(group.values()), None)
            settled = Checkpoints.of(stage_params(project, name, "checkpoints")) if not shared else None
            group[name] = settled.settled(pictures) if settled else shared  # type: ignore[assignment]
    return [group for group in groups.values() if group]


def pictures_of(project: Project, name: str) -> int:
    """How many pictures will train: what the dataset holds, else what lies in the folder, else a typical number."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(read_json(Path(project.config["paths"]["results"]) / name / "dataset.content.json")["pictures"])
    character = project.characters[name]
    if character.source == FOLDER:
        return len(read_folder(character.query).pictures) or TYPICAL_PICTURES
    return TYPICAL_PICTURES


def training_seconds(training: Training) -> float:
    """Seconds of a training on this processor."""
    family, work = family_of(training.base.family), WORK[training.base.family]
    each = work.checkpointed if training.gradient_checkpointing else work.step
    pictures = training.steps * (training.batch + (training.regularisation_batch if training.regularisation else 0))
    area = (training.resolution / family.resolution) ** 2
    return pictures * each * area * share_of(training.base.plain()) / rate(training.threads)


def preview_seconds(project: Project, name: str) -> float:
    """Seconds of all previews on this processor: each step computes the UNet with and without the prompt."""
    previews = stage_params(project, name, "previews")
    base = previews["bases"][0]
    family, work = family_of(base["family"]), WORK[base["family"]]
    area = previews["width"] * previews["height"] / family.resolution**2
    pictures = PREVIEWS * (len(previews["bases"]) + 1)
    return pictures * previews["steps"] * 2 * work.forward * area * share_of(base) / rate(previews["threads"])


def rate(threads: int) -> float:
    return TFLOPS_OF_A_CORE * min(threads, os.cpu_count() or 1)


def share_of(base: dict[str, Any]) -> float:
    """The base's time for a step as a share of its family's, by the UNet's parameters."""
    if not base.get("path"):
        return 1.0
    return (parameters(canonical_json(base)) / family_of(base["family"]).footprint.unet) ** SMALL


@cache
def parameters(base: str) -> int:
    """The number of the UNet's parameters, counted once for all characters that train on a base; `base` is its JSON."""
    entry = json.loads(base)
    return sum(math.prod(tensor.shape) for tensor in open_model(Path(entry["path"]), entry).parts["unet"].values())
