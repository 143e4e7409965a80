"""Batches: the pictures of one call of a pipeline, and the digest of all that they are a function of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from math import ceil

from charaloom.artifacts.files import digest, sha256_file
from charaloom.config.params import Base, Previews
from charaloom.diffusion.bases import LocalBase, without_path
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.evaluation.prompts import Prompt
from charaloom.runtime.precision import resolved_precision

SOFTWARE = ("torch", "diffusers", "transformers", "peft", "dghs-imgutils", "onnxruntime", "pillow", "numpy")
DECIDING = (  # params that decide a picture and its scores, besides base, checkpoint and prompt
    "version",
    "height",
    "memorised",
    "precision",
    "rating_model",
    "software",
    "steps",
    "threads",
    "width",
)
KEY_DIGITS = 32  # of a batch's digest: the name of its folder


@dataclass(frozen=True, kw_only=True)
class ResolvedPreviews(Previews):
    """The params with what else decides the bytes: digests of the local bases, the number format of this machine,
    versions of the libraries."""

    software: Mapping[str, str]


@dataclass(frozen=True)
class Batch:
    """Pictures that are rendered in one call; `key` names their folder in the store."""

    base: Base
    checkpoint: Checkpoint
    prompts: tuple[Prompt, ...]
    round: int | None
    key: str

    def file(self, prompt: Prompt) -> str:
        return f"{self.base.name}/{self.checkpoint.folder}/{prompt.file}"


def resolved(params: Previews, local: Mapping[str, LocalBase]) -> ResolvedPreviews:
    """`params` with the digest of each base in `local`, by its name, and what `auto` and the libraries are here."""
    values = {entry.name: getattr(params, entry.name) for entry in fields(params)}
    values["bases"] = tuple(
        replace(base, digest=local[base.name].digest) if base.name in local else base for base in params.bases
    )
    values["precision"] = resolved_precision(params.precision)
    return ResolvedPreviews(**values, software={name: version(name) for name in SOFTWARE})


def batches_of(
    character: str,
    params: ResolvedPreviews,
    base: Base,
    checkpoint: Checkpoint,
    prompts: Sequence[Prompt],
    number: int | None,
    judged_by: Sequence[str],
) -> list[Batch]:
    """The batches of one checkpoint on one base; a restart makes the same ones.

    `number`: the round, None outside the rounds. `judged_by`: digests of the files that the pictures are judged by.
    """
    values = params.plain()
    settings = {name: values[name] for name in DECIDING}
    weights = [sha256_file(path) if path else None for path in (checkpoint.lora, checkpoint.embedding)]
    place = [checkpoint.name, checkpoint.folder, checkpoint.weight, number]
    batches = []
    for part in even_parts(prompts, params.batch):
        entries = [asdict(prompt) for prompt in part]
        key = digest([character, settings, without_path(base.plain()), place, weights, entries, list(judged_by)])
        batches.append(Batch(base, checkpoint, part, number, key[:KEY_DIGITS]))
    return batches


def even_parts(prompts: Sequence[Prompt], most: int) -> list[tuple[Prompt, ...]]:
    """Prompts in as few batches of at most `most` as possible, all about as large."""
    size = ceil(len(prompts) / ceil(len(prompts) / most)) if prompts else 1
    return [tuple(prompts[start : start + size]) for start in range(0, len(prompts), size)]
