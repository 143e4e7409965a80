"""The weights of a model repository: what the checkpoints hold, with the metadata that programs show to people.

ModelSpec 1.0.1 is in kohya's library/sai_model_spec.py; `modelspec.date` is left out, since no clock reaches a file.
Embeddings are copied as they are: previews name them by the SHA-256 of the file, LoRAs by that of their data alone.
"""

import base64
import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.files import sha256_bytes, whole_file
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import PreviewBase
from charaloom.config.roster import embedding_word
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.diffusion.lora import alias, bundle_weights, encoded_header, encoded_tensors, read_metadata, read_weights
from charaloom.publishing.layout import bundle_file, embedding_file, lora_file, step_files
from charaloom.tagging.captions import as_words

if TYPE_CHECKING:
    from torch import Tensor

SPEC_VERSION = "1.0.1"  # of ModelSpec
THUMBNAIL = 256  # pixels of a side: ModelSpec's recommendation
THUMBNAIL_QUALITY = 80  # of JPEG: about 10 KB
LEGACY_BYTES = slice(0x100000, 0x110000)  # of a file, which `sshs_legacy_hash` is of
LEGACY_DIGITS = 8
HASHED_METADATA = "ss_"  # start of the keys that are in that file


@dataclass(frozen=True)
class WeightsFacts:
    """What the metadata of every weights file of a repository says besides what the training wrote."""

    character: str
    base: PreviewBase
    outfits: Row  # outfits.json
    weight: float | None  # of the LoRA, recommended on the base of the training
    previews: Mapping[str, Path]  # by checkpoint, the picture that its thumbnail is made of

    def metadata(self, checkpoint: Checkpoint, stem: str, chosen: bool) -> dict[str, str]:
        """ModelSpec's keys and the alias of one file; `stem`: its name without ending."""
        title = as_words(self.character)
        spec = {
            "sai_model_spec": SPEC_VERSION,
            "title": title if chosen else f"{title}, step {checkpoint.step}",
            "description": self.description(checkpoint, chosen),
            "usage_hint": self.usage_hint(),
            "tags": ", ".join(["character", "anime", title, "charaloom"]),
        }
        if self.base.licence:
            spec["license"] = self.base.licence
        if checkpoint.name in self.previews:
            spec["thumbnail"] = thumbnail(self.previews[checkpoint.name])
        return {**{f"modelspec.{key}": value for key, value in spec.items()}, **alias(stem)}

    def description(self, checkpoint: Checkpoint, chosen: bool) -> str:
        """Two sentences, and a third on the outfits where any has a trigger."""
        step = "the step that its previews chose" if chosen else "one of its training's steps; another one was chosen"
        sentences = [
            f"Character LoRA of {as_words(self.character)}, trained on {self.base.repo or self.base.name}.",
            f"This is step {checkpoint.step}, {step}.",
        ]
        triggers = [outfit["trigger"] for outfit in self.outfits["outfits"] if outfit["trained"]]
        if triggers:
            sentences.append(f"Behind the trigger, an outfit's own: {', '.join(triggers)}.")
        return " ".join(sentences)

    def usage_hint(self) -> str:
        weight = f"; weight: {self.weight:g}" if self.weight is not None else ""
        return f"Trigger: {self.outfits['trigger']}{weight}"


def write_all_weights(facts: WeightsFacts, kept: list[Checkpoint], chosen: Checkpoint, folder: Path) -> None:
    """The chosen LoRA in the root, its embedding and bundle where one was trained, and every step, below `folder`."""
    character = facts.character
    write_lora(folder / lora_file(character), chosen, facts, chosen=True)
    if chosen.embedding:
        copy_file(chosen.embedding, folder / embedding_file(character))
        write_bundle(folder / bundle_file(character), chosen, facts)
    for checkpoint in kept:
        lora, embedding = step_files(character, checkpoint.step)
        write_lora(folder / lora, checkpoint, facts, chosen=checkpoint.name == chosen.name)
        if checkpoint.embedding:
            copy_file(checkpoint.embedding, folder / embedding)


def write_lora(path: Path, checkpoint: Checkpoint, facts: WeightsFacts, chosen: bool) -> None:
    """The plain LoRA of a checkpoint."""
    lora = lora_of(checkpoint)
    write_hashed(path, read_weights(lora), {**read_metadata(lora), **facts.metadata(checkpoint, path.stem, chosen)})


def write_bundle(path: Path, checkpoint: Checkpoint, facts: WeightsFacts) -> None:
    """The LoRA of the chosen checkpoint with its embedding inside. Raises CharaloomError for a word with a dot."""
    lora, word = lora_of(checkpoint), embedding_word(facts.character)
    assert checkpoint.embedding is not None
    tensors = bundle_weights(read_weights(lora), read_weights(checkpoint.embedding), word)
    write_hashed(path, tensors, {**read_metadata(lora), **facts.metadata(checkpoint, path.stem, chosen=True)})


def lora_of(checkpoint: Checkpoint) -> Path:
    assert checkpoint.lora is not None, "a kept checkpoint has a LoRA"
    return checkpoint.lora


def write_hashed(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> None:
    """Write safetensors with the hashes that programs know a LoRA by, which replace those in `metadata`.

    `sshs_model_hash` (A1111, Civitai) and `modelspec.hash_sha256` are of the data behind the header,
    `sshs_legacy_hash` (the extension Additional Networks) of a part of the file as it is with kohya's keys alone:
    library/train_util.py of sd-scripts says so of all three.
    """
    header, data = encoded_tensors(tensors)
    trained = {key: value for key, value in metadata.items() if key.startswith(HASHED_METADATA)}
    of_data, of_file = sha256_bytes(data), sha256_bytes((encoded_header(header, trained) + data)[LEGACY_BYTES])
    hashes = {
        "sshs_model_hash": of_data,
        "sshs_legacy_hash": of_file[:LEGACY_DIGITS],
        "modelspec.hash_sha256": f"0x{of_data}",
    }
    with whole_file(path) as part:
        part.write_bytes(encoded_header(header, {**metadata, **hashes}) + data)


def copy_file(source: PathLike, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def thumbnail(picture: Path) -> str:
    """A square JPEG of the upper part of a preview, as a data URI."""
    from PIL import Image, ImageOps

    stream = io.BytesIO()
    with Image.open(picture) as image:
        square = ImageOps.fit(image.convert("RGB"), (THUMBNAIL, THUMBNAIL), centering=(0.5, 0.0))
        square.save(stream, "JPEG", quality=THUMBNAIL_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
