"""What the trainer wrote, as the files of the stage: LoRA in kohya keys, embeddings, config and losses."""

from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json, whole_folder, write_text
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import embedding_word
from charaloom.diffusion.lora import EMBEDDING_KEYS, kohya_weights, lora_metadata, read_weights, write_weights
from charaloom.training.inputs import clear_halves
from charaloom.training.lengths import milestones


def collect(
    character: str, params: dict[str, Any], base: LocalBase, room: Path, config: str, folder: Path, version: str
) -> list[dict[str, Any]]:
    """Convert what the trainer wrote into the output folder; returns the checkpoints, first step first."""
    tags, steps = read_json(room / "inputs" / "tags.json"), int(params["steps"])
    clear_halves(folder)
    with whole_folder(folder) as part:
        kept = []
        for step in milestones(steps, int(params["save_every"])):
            metadata = lora_metadata(
                character=character,
                trigger=params["trigger"],
                rank=int(params["rank"]),
                alpha=params["alpha"],
                base_name=base.name,
                base_digest=base.digest,
                family=base.family,
                resolution=params["resolution"],
                clip_skip=base.clip_skip,
                steps=step,
                tags=tags,
                version=version,
            )
            kept.append(convert(character, step, base.family, room / "run" / "ckpts", part, metadata))
        write_text(part / "config.py", config)
        losses = (room / "run" / "loss.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(part / "loss.tsv", "".join(losses[: steps + 1]))
    return kept



def convert(
    character: str, step: int, family: str, source: Path, target: Path, metadata: dict[str, str]
) -> dict[str, Any]:
    """One milestone: LoRA in kohya keys and, where one was trained, the embedding."""
    name = f"step-{step:06d}"
    parts = [source / f"{part}-{step}.safetensors" for part in ("lora_unet", "lora_te")]
    hcp = {key: value for path in parts if path.exists() for key, value in read_weights(path).items()}
    write_weights(target / f"{name}.safetensors", kohya_weights(hcp, family), metadata, hashed=True)
    kept: dict[str, Any] = {"name": name, "step": step, "lora": f"{name}.safetensors", "embedding": None}
    word = embedding_word(character)
    if (source / f"{word}-{step}.safetensors").exists():
        kept["embedding"] = f"{name}_emb.safetensors"
        vectors = read_weights(source / f"{word}-{step}.safetensors")
        own = {key: value for key, value in metadata.items() if not key.startswith("ss_network")}
        own["modelspec.architecture"] = metadata["modelspec.architecture"].replace("/lora", "/textual-inversion")
        own["modelspec.trigger_phrase"] = word
        write_weights(target / kept["embedding"], {key: vectors[key] for key in EMBEDDING_KEYS[family]}, own)
    return kept
