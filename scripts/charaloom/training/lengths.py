"""How long a training is: its milestones, and with early stopping one length for each of them."""

from collections.abc import Mapping
from dataclasses import replace

from charaloom.config.params import Training


def milestones(params: Training) -> list[int]:
    """The steps whose checkpoint is kept: each multiple of `save_every`, and the last one."""
    steps, every = int(params.steps), int(params.save_every)
    return [*range(every, steps, every), steps]


def lengths(params: Training) -> list[Training]:
    """`params` for each training of another length, the shorter first: with early stopping one for each checkpoint."""
    steps = milestones(params)
    return [replace(params, steps=step) for step in (steps if params.early_stopping else steps[-1:])]


def improving(scores: Mapping[str, float], patience: int) -> bool:
    """Whether the best checkpoint so far is among the newest `patience`; scores in the order of training."""
    values = list(scores.values())
    return len(values) - 1 - values.index(max(values)) < patience
