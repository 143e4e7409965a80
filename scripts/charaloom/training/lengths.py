"""How long a training is: its milestones, and with early stopping one length for each of them."""

from typing import Any


def lengths(params: dict[str, Any]) -> list[dict[str, Any]]:
    """`params` for each training of another length, the shorter first: with early stopping one for each checkpoint."""
    steps = milestones(int(params["steps"]), int(params["save_every"]))
    return [{**params, "steps": step} for step in (steps if params["early_stopping"] else steps[-1:])]



def improving(scores: dict[str, float], patience: int) -> bool:
    """Whether the best checkpoint so far is one of the newest; scores in the order of training."""
    values = list(scores.values())
    return len(values) - 1 - values.index(max(values)) < patience



def milestones(steps: int, every: int) -> list[int]:
    """The steps whose checkpoint is kept: each multiple of `every`, and the last one."""
    return [*range(every, steps, every), steps]
