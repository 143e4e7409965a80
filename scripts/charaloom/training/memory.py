"""The memory of a GPU that a training takes, part by part, reckoned before it starts; and the settings that lower it.

The sizes are those of the family (`families.Footprint`); `make bench-memory` counts them, docs/memory.md has the sums.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from charaloom.config.families import family_of
from charaloom.config.params import Checkpoints, Training
from charaloom.config.project import Project
from charaloom.config.stage_params import stage_params
from charaloom.runtime.gpus import Gpu

GIB = 2**30
CARDS = (8, 12, 16, 24)  # GiB, of the cards that people have
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
# Bytes of a trained parameter besides its fp32 gradient, value and average: two moments; Prodigy has two tensors more.
MOMENTS = {"adamw": 8, "adamw8bit": 2, "prodigy": 16}
TOKENS = 75  # of a caption in one chunk
# What is in no tensor: the CUDA context, workspaces of cuBLAS and cuDNN; what is lost between allocations, as a share
# of the activations. Set by hand.
CUDA_BYTES, LOST = 0.75 * GIB, 0.1


@dataclass(frozen=True)
class Need:
    """Bytes of each part at the moment when most is taken."""

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def __str__(self) -> str:
        return f"{gib(self.total)}: {', '.join(f'{name} {size / GIB:.1f}' for name, size in self.parts.items())}"


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GB"


def need_of(params: Training, precision: str) -> Need:
    """What the steps take, or the moment when frozen text encoders stand beside the UNet, if that is more."""
    sizes, width = family_of(params.base.family).footprint, BYTES[precision]
    text_learns = params.rate_text > 0 or params.vectors > 0
    learned = params.rank * (sizes.lora_unet + (sizes.lora_text if params.rate_text > 0 else 0))
    pictures = params.batch + (params.regularisation_batch if params.regularisation else 0)
    checkpointing = params.gradient_checkpointing
    per_pixel = sizes.checkpointed if checkpointing else sizes.activations
    per_text = (sizes.text_checkpointed if checkpointing else sizes.text_activations) * text_learns
    chunks = -(-params.caption_tokens // TOKENS)
    activations = pictures * (params.resolution**2 * per_pixel + chunks * per_text) * width / 2
    always = {"UNet": sizes.unet * width, "LoRA and average": 8.0 * learned}
    always["moments"] = MOMENTS[params.optimizer] * learned
    text = {"text encoders": float(sizes.text * width)}
    steps = {**always, **(text if text_learns else {}), "gradients": 4.0 * learned}
    steps |= {"activations": activations * (1 + LOST), "CUDA": CUDA_BYTES}
    encoding = {**always, **text, "CUDA": CUDA_BYTES}
    return max(Need(steps), Need(encoding), key=lambda need: need.total)


def measures(params: Training, precision: str) -> list[tuple[str, Training, str]]:
    """(setting, the params with it and with those before it, precision) in the order in which they should be tried."""
    tried = []
    for setting, change in (
        ("precision: auto", {}),
        ("gradient_checkpointing: true", {"gradient_checkpointing": True}),
        ("optimizer: adamw8bit", {"optimizer": "adamw8bit"}),
        ("batch: 1", {"batch": 1}),
        ("rate_text: 0, vectors: 0", {"rate_text": 0.0, "vectors": 0}),
    ):
        lowered = replace(params, **change)  # type: ignore[arg-type]
        halved = "bf16" if not change and precision == "fp32" else precision
        if (lowered, halved) != (params, precision):
            params, precision = lowered, halved
            tried.append((setting, params, precision))
    return tried


def advice(params: Training, precision: str, free: float) -> str:
    """The fewest settings, in their order, with which it fits into `free` bytes."""
    settings = []
    for setting, lowered, format_then in measures(params, precision):
        settings.append(setting)
        need = need_of(lowered, format_then)
        if need.total <= free:
            return f"with `{'`, `'.join(settings)}` it takes {gib(need.total)}"
    return f"it fits with no setting of {params.base.family} at {params.resolution} px; take a lower `resolution`"


def largest(params: Checkpoints, precision: str) -> Training:
    """The training of the number of pictures with which it takes most: how many there will be is not known yet."""
    numbers = {0, *(int(line["from"]) for line in params.by_pictures)}
    trainings = [params.settled(number) for number in sorted(numbers)]
    return max(trainings, key=lambda training: need_of(training, precision).total)


def memory_report(project: Project, gpus: Sequence[Gpu]) -> tuple[bool, list[str]]:
    """Whether every training fits into the smallest GPU of this machine, and lines that show it."""
    gpu = min(gpus, key=lambda gpu: gpu.free, default=None)
    lines = [f"{gpu.name}: {gib(gpu.total)}, {gib(gpu.free)} free" if gpu else NO_GPU]
    fits = True
    for params, names in trainings_of(project):
        precision = params.precision if params.precision != "auto" else gpu.precision if gpu else "bf16"
        training = largest(params, precision)
        need = need_of(training, precision)
        lines += ["", title(training, precision, names), f"  takes {need}"]
        if gpu and need.total > gpu.free:
            fits = False
            lines.append(f"  does not fit: {advice(training, precision, gpu.free)}")
        elif not gpu:
            lines.append(f"  {smallest_card(training, precision, need)}")
    return fits, lines


def too_large(project: Project, gpu: Gpu) -> Iterator[tuple[Need, str]]:
    """What each training takes that does not fit into what is free of a GPU, and one line with what would help."""
    for params, names in trainings_of(project):
        precision = params.precision if params.precision != "auto" else gpu.precision
        training = largest(params, precision)
        need = need_of(training, precision)
        if need.total > gpu.free:
            room = f"{gpu.name} has {gib(gpu.total)}, {gib(gpu.free)} free"
            help_ = advice(training, precision, gpu.free)
            yield need, f"{title(training, precision, names)}: takes {gib(need.total)}, {room}; {help_}"


NO_GPU = "This machine has no NVIDIA GPU that nvidia-smi shows: trainings run on its processor. On a GPU they take:"


def trainings_of(project: Project) -> list[tuple[Checkpoints, list[str]]]:
    """The trainings of a project, one for each config, with its characters."""
    names: defaultdict[str, list[str]] = defaultdict(list)  # by the character whose config is their own, or shared
    for name in project.characters:
        names[name if name in project.special else ""].append(name)
    return [(Checkpoints.of(stage_params(project, each[0], "checkpoints")), each) for each in names.values()]


def title(params: Training, precision: str, names: Sequence[str]) -> str:
    who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"
    what = (
        f"{params.base.name} ({params.base.family}), {params.resolution} px, batch {params.batch}, rank {params.rank}"
    )
    ways = [precision, params.optimizer, *(["gradient checkpointing"] if params.gradient_checkpointing else [])]
    return f"{who}: {what}, {', '.join(ways)}"


def smallest_card(params: Training, precision: str, need: Need) -> str:
    """The smallest of the usual cards that it fits into, and what would make it fit into smaller ones."""
    fitting = [card for card in CARDS if need.total <= card * GIB]
    first = f"fits into {fitting[0]} GB" if fitting else f"needs more than {CARDS[-1]} GB"
    smaller = [card for card in CARDS if card * GIB < need.total]
    return "; ".join([first, *(f"for {card} GB: {advice(params, precision, card * GIB)}" for card in smaller[-1:])])
