"""What the trainer wrote, as the files of the stage: LoRA in kohya keys, embeddings, config and losses."""

from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import read_json, whole_folder, write_text
from charaloom.artifacts.sealed import whole_sealed
from charaloom.artifacts.types import Row
from charaloom.config.families import Family
from charaloom.config.params import Training
from charaloom.config.roster import embedding_word
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.lora import alias, kohya_weights, lora_metadata, read_weights, write_weights
from charaloom.errors import CharaloomError
from charaloom.training.inputs import remove_parts
from charaloom.training.lengths import milestones


@dataclass(frozen=True)
class Export:
    """One training that has ended, and what its files say of it."""

    character: str
    params: Training
    base: LocalBase
    workdir: Path
    config: str  # of the trainer
    version: str  # digest of the lineage

    def write(self, folder: Path) -> list[Row]:
        """Convert what the trainer wrote into `folder`; returns the checkpoints, first step first."""
        tags, run = read_json(self.workdir / "inputs" / "tags.json"), self.workdir / "run"
        remove_parts(folder)
        with whole_folder(folder) as part:
            checkpoints = []
            for step in milestones(self.params):
                metadata = lora_metadata(self.character, self.base, self.params, step, tags, self.version)
                checkpoints.append(convert(self.character, step, self.base.family, run / "ckpts", part, metadata))
            write_text(part / "config.py", self.config)
            losses = lines_of(run / "loss.tsv")
            write_text(part / "loss.tsv", "".join(losses[: int(self.params.steps) + 1]))
        return checkpoints


def lines_of(losses: Path) -> list[str]:
    """The lines of the loss table. Raises CharaloomError where the trainer left none."""
    file = whole_sealed(losses)
    if file is None:
        raise CharaloomError(f"{losses}: the trainer left no losses; run again, and it writes them")
    return file.read_text(encoding="utf-8").splitlines(keepends=True)


def convert(character: str, step: int, family: Family, source: Path, target: Path, metadata: dict[str, str]) -> Row:
    """One milestone: LoRA in kohya keys and, where one was trained, the embedding."""
    name = f"step-{step:06d}"
    parts = [source / f"{part}-{step}.safetensors" for part in ("lora_unet", "lora_te")]
    hcp = {key: value for path in parts if path.exists() for key, value in read_weights(path).items()}
    write_weights(target / f"{name}.safetensors", kohya_weights(hcp, family), {**metadata, **alias(name)}, hashed=True)
    checkpoint: Row = {"name": name, "step": step, "lora": f"{name}.safetensors", "embedding": None}
    word = embedding_word(character)
    if (source / f"{word}-{step}.safetensors").exists():
        checkpoint["embedding"] = f"{name}_emb.safetensors"
        vectors = read_weights(source / f"{word}-{step}.safetensors")
        own = {key: value for key, value in metadata.items() if not key.startswith("ss_network")}
        own["modelspec.architecture"] = metadata["modelspec.architecture"].replace("/lora", "/textual-inversion")
        own["modelspec.trigger_phrase"] = word
        write_weights(target / checkpoint["embedding"], {key: vectors[key] for key in family.embedding_keys}, own)
    return checkpoint
