"""The published weights beside those of the training that was done again, file by file, byte by byte.

What the training does not decide is taken over from the published file: the title, the thumbnail and the like, which
the stage `model` writes into the metadata. The rest must come out the same.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.files import sha256_file
from charaloom.config.roster import embedding_word
from charaloom.diffusion.checkpoints import Checkpoint, read_checkpoints
from charaloom.diffusion.lora import bundle_weights, read_metadata, read_weights, write_weights
from charaloom.publishing.layout import bundle_file, embedding_file, lora_file, step_files
from charaloom.publishing.repos.weights import write_hashed

if TYPE_CHECKING:
    from torch import Tensor

CARD = ("sai_model_spec", "title", "description", "usage_hint", "tags", "license", "thumbnail")  # ModelSpec's keys
TAKEN_OVER = frozenset({"ss_output_name", *(f"modelspec.{key}" for key in CARD)})
HASHES = frozenset({"sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"})
LINEAGE = "charaloom.lineage"  # with early stopping it is of files that are not published, too
MISSING = "is not published"
NOT_MADE = "no checkpoint of the new training is of this step"

Tensors = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Compared:
    """One published file: its SHA-256, that of the file made again, and where they differ; empty if they are equal."""

    file: str
    published: str | None
    rebuilt: str | None
    where: str = ""

    @property
    def equal(self) -> bool:
        return self.published is not None and self.published == self.rebuilt


def compared(model: Path, checkpoints: Path, character: str, chosen: int, judged: bool) -> list[Compared]:
    """Every weights file of a model repository, by path. `judged`: whether the training had early stopping."""
    taken = TAKEN_OVER | ({LINEAGE} if judged else set())
    made = {file: beside(model, file, own, taken) for file, own in made_files(checkpoints, character, chosen)}
    published = {str(path.relative_to(model)) for path in model.rglob("*.safetensors")}
    steps = {file for checkpoint in read_checkpoints(checkpoints) for file in step_files(character, checkpoint.step)}
    unpublished = (steps & made.keys()) - published if judged else set()  # early stopping went on further
    rows = [own for file, own in made.items() if file not in unpublished]
    rows += [Compared(file, sha256_file(model / file), None, NOT_MADE) for file in sorted(published - made.keys())]
    return sorted(rows, key=lambda row: row.file)


@dataclass(frozen=True)
class Made:
    """A file as the new training makes it; `hashed`: a LoRA, whose metadata has hashes of it."""

    tensors: Tensors
    metadata: Mapping[str, str]
    hashed: bool


def made_files(checkpoints: Path, character: str, chosen: int) -> Iterator[tuple[str, Made]]:
    """The files of the repository by path, without what the stage `model` adds to their metadata."""
    for checkpoint in read_checkpoints(checkpoints):
        lora, embedding = parts(checkpoint)
        lora_path, embedding_path = step_files(character, checkpoint.step)
        yield lora_path, lora
        if embedding:
            yield embedding_path, embedding
        if checkpoint.step == chosen:
            yield lora_file(character), lora
            if embedding:
                yield embedding_file(character), embedding
                inside = bundle_weights(lora.tensors, embedding.tensors, embedding_word(character))
                yield bundle_file(character), Made(inside, lora.metadata, hashed=True)


def parts(checkpoint: Checkpoint) -> tuple[Made, Made | None]:
    """The LoRA and the embedding of a checkpoint."""
    assert checkpoint.lora is not None
    lora = Made(read_weights(checkpoint.lora), read_metadata(checkpoint.lora), hashed=True)
    if checkpoint.embedding is None:
        return lora, None
    return lora, Made(read_weights(checkpoint.embedding), read_metadata(checkpoint.embedding), hashed=False)


def beside(model: Path, file: str, made: Made, taken: frozenset[str] | set[str]) -> Compared:
    """A file made again beside the published one."""
    path = model / file
    if not path.is_file():
        return Compared(file, None, None, MISSING)
    shown = read_metadata(path)
    metadata = {**made.metadata, **{key: value for key, value in shown.items() if key in taken}}
    with tempfile.TemporaryDirectory(prefix="charaloom-verify-") as scratch:
        again = Path(scratch) / "again.safetensors"
        (write_hashed if made.hashed else write_weights)(again, made.tensors, metadata)
        published, rebuilt = sha256_file(path), sha256_file(again)
        where = "" if published == rebuilt else difference(path, shown, again)
    return Compared(file, published, rebuilt, where)


def difference(published: Path, shown: Mapping[str, str], again: Path) -> str:
    """Where two files differ: tensors, and keys of the metadata."""
    first, second, other = read_weights(published), read_weights(again), read_metadata(again)
    told = []
    if first.keys() != second.keys():
        only = sorted(first.keys() ^ second.keys())
        told.append(f"{len(only)} tensors are in one of them alone ({only[0]})")
    unequal = [name for name in sorted(first.keys() & second.keys()) if not same(first[name], second[name])]
    if unequal:
        least = max(gap(first[name], second[name]) for name in unequal)
        told.append(f"{len(unequal)} of {len(first)} tensors differ, by {least:.1e} at most ({unequal[0]})")
    keys = [key for key in sorted(shown.keys() | other.keys()) if shown.get(key) != other.get(key)]
    keys = [key for key in keys if key not in HASHES] or keys
    if keys:
        told.append(f"metadata: {', '.join(keys)}")
    return "; ".join(told) or "the order of the bytes: another program wrote the file"


def same(first: "Tensor", second: "Tensor") -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and bool((first == second).all())


def gap(first: "Tensor", second: "Tensor") -> float:
    """The greatest difference of two tensors; infinite for those of another shape."""
    if first.shape != second.shape:
        return float("inf")
    return float((first.double() - second.double()).abs().max()) if first.numel() else 0.0
