"""Checkpoints that a training kept: what is loaded over a base, and the word of its embedding."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.config.params import Base
from charaloom.errors import CharaloomError
from charaloom.tagging.captions import with_embedding, with_manners

WITHOUT_LORA = "none"  # name of the base alone, among checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """What is loaded over a base: nothing (`none`), a LoRA at a weight, or a LoRA with its embedding."""

    name: str
    step: int = 0
    lora: Path | None = None
    embedding: Path | None = None
    weight: float = 1.0

    @property
    def folder(self) -> str:
        """Folder name; differs from that of the same checkpoint at another weight, or by text alone."""
        alone = "_text" if self.lora and not self.embedding and embedding_beside(self.lora) else ""
        return f"{self.name}{alone}" + (f"_w{self.weight:.2f}" if self.weight != 1 else "")

    def by_text_alone(self) -> "Checkpoint":
        return replace(self, embedding=None)

    def weighing(self, weight: float) -> "Checkpoint":
        return replace(self, weight=weight)


NOTHING = Checkpoint(WITHOUT_LORA, weight=0.0)


def embedding_beside(lora: Path) -> Path | None:
    path = lora.with_name(f"{lora.stem}_emb.safetensors")
    return path if path.exists() else None


def read_checkpoints(folder: PathLike) -> list[Checkpoint]:
    """The checkpoints that a training kept, by steps."""
    checkpoints = []
    for path in Path(folder).glob("step-*.safetensors"):
        match = re.fullmatch(r"step-(\d+)", path.stem)
        if match:
            checkpoints.append(Checkpoint(path.stem, int(match[1]), path, embedding_beside(path)))
    if not checkpoints:
        raise CharaloomError(f"{folder}: no step-*.safetensors here. Remove the checkpoints manifest and train again.")
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.step)


def positive(text: str, checkpoint: Checkpoint, word: str, base: Base) -> str:
    """The prompt of a checkpoint on a base: the base's prefix, the embedding's word where there is one, the text, the
    base's suffix."""
    return with_manners(with_embedding(text, word) if checkpoint.embedding else text, base.prefix, base.suffix)
