"""Batches: what is rendered in one call, and what it is a function of."""

from dataclasses import dataclass
from math import ceil

from charaloom.artifacts.types import Row
from charaloom.diffusion.pipelines import (
    Checkpoint,
)
from charaloom.evaluation.prompts import Prompt

DRAWING = ("guidance", "height", "memorised", "negative", "rating_model", "software", "steps", "threads", "width")


@dataclass(frozen=True)
class Batch:
    """Pictures drawn in one call; `key` is what they are a function of, and names the folder they survive in."""

    base: Row
    checkpoint: Checkpoint
    prompts: tuple[Prompt, ...]
    round: int | None
    key: str

    def file(self, prompt: Prompt) -> str:
        return f"{self.base['name']}/{self.checkpoint.folder}/{prompt.file}"


def parcels(prompts: list[Prompt], most: int) -> list[tuple[Prompt, ...]]:
    """Prompts in as few parcels of at most so many as there can be, all about as large."""
    size = ceil(len(prompts) / ceil(len(prompts) / most)) if prompts else 1
    return [tuple(prompts[start : start + size]) for start in range(0, len(prompts), size)]


def without_path(base: Row) -> Row:
    """A base as lineage knows it, by its digest: a path of this machine is none of its properties."""
    return {key: value for key, value in base.items() if key not in {"path", "config"}}


def without_paths(params: Row) -> Row:
    return {**params, "bases": [without_path(base) for base in params["bases"]]}
