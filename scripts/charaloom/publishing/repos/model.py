"""Stage `model`: the model repository as it will be published: LoRA, embedding, bundle, previews, card."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import read_json, safe_name, whole_folder, write_text
from charaloom.artifacts.manifest import facet_digest, lineage, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Model
from charaloom.config.roster import embedding_word
from charaloom.diffusion.bases import without_path
from charaloom.diffusion.checkpoints import WITHOUT_LORA
from charaloom.diffusion.lora import alias, bundle_weights, read_metadata, read_weights, write_weights
from charaloom.errors import CharaloomError
from charaloom.images.grid import write_grid
from charaloom.outfits.prompts import PLAIN
from charaloom.publishing.cards.model_card import ModelCard, card_text
from charaloom.publishing.comparison import compared, compared_columns, label

PREVIEWS_COPIED = 12  # into the repository; the grid shows the prompts that every base was given


@dataclass(frozen=True)
class ModelInputs:
    """Files that a model repository is made of."""

    checkpoints: PathLike
    previews: PathLike
    selection: PathLike
    outfits: PathLike
    content: PathLike  # facet of the dataset: what was trained on
    upstream: Sequence[PathLike]


def build_model(character: str, params: Model, inputs: ModelInputs, folder: PathLike, manifest: PathLike) -> None:
    """Write the model repository of the chosen checkpoint.

    Raises CharaloomError where the chosen checkpoint's file is missing.
    """
    recorded = {**params.plain(), "base": without_path(params.base.plain())}
    facts = lineage("model", character, params.plain(), inputs.upstream, recorded)
    selection, outfits, previews = read_json(inputs.selection), read_json(inputs.outfits), Path(inputs.previews)
    lora = chosen_lora(selection, inputs)
    embedding = lora.with_name(f"{lora.stem}_emb.safetensors")
    kept = [row for row in read_table(previews / "scores.parquet") if row["kept"]]
    rows = compared(kept, selection)
    with whole_folder(folder) as part:
        copy_weights(character, lora, embedding, part)
        shutil.copyfile(inputs.selection, part / "selection.json")
        examples = copy_previews(rows, previews, selection, outfits["prompts"], part)
        write_comparison(rows, previews, selection, part / "previews" / "grid.webp")
        card = ModelCard(
            character=character,
            base=params.base,
            selection=selection,
            outfits=outfits,
            content=facet_digest(inputs.content),
            version=facts.version,
            examples=examples,
            embedding=embedding.exists(),
        )
        write_text(part / "README.md", card_text(card))
    counts = {"step": selection["step"], "previews": len(examples), "embedding": embedding.exists()}
    counts["weak"] = bool(selection["weak"])
    write_manifest(manifest, facts, {"model": folder}, counts)


def chosen_lora(selection: Row, inputs: ModelInputs) -> Path:
    """The LoRA of the chosen checkpoint. Raises CharaloomError where it is gone."""
    lora = Path(inputs.checkpoints) / f"{selection['chosen']}.safetensors"
    if not lora.exists():
        raise CharaloomError(
            f"{lora}: chosen by {inputs.selection}, but not there. Remove the checkpoints manifest and train again."
        )
    return lora


def copy_weights(character: str, lora: Path, embedding: Path, folder: Path) -> None:
    """The plain LoRA always; the embedding and the bundle of both where one was trained."""
    plain, bundled = folder / f"{character}.safetensors", folder / f"{character}_bundle.safetensors"
    metadata = read_metadata(lora)
    write_weights(plain, read_weights(lora), {**metadata, **alias(plain.stem)}, hashed=True)
    if embedding.exists():
        word = embedding_word(character)
        bundle = bundle_weights(read_weights(lora), read_weights(embedding), word)
        shutil.copyfile(embedding, folder / f"{word}.safetensors")
        write_weights(bundled, bundle, {**metadata, **alias(bundled.stem)}, hashed=True)


def copy_previews(rows: list[Row], previews: Path, selection: Row, prompts: list[Row], folder: Path) -> list[Row]:
    """Copy previews of the chosen checkpoint on the training base; returns {file, prompt, seed, outfit} of each.

    Outfits take turns. Within an outfit previews go by the order of `prompts`, in which a portrait comes first.
    """
    place = {safe_name(prompt["id"]): index for index, prompt in enumerate(prompts)}
    own = [
        row
        for row in rows
        if row["base"] == selection["base"] and row["checkpoint"] == selection["chosen"] and row["kind"] != PLAIN
    ]
    own.sort(key=lambda row: (place.get(row["prompt_id"], len(place)), row["file"]))
    of_outfit: Counter[str | None] = Counter()
    turns: list[tuple[int, int, Row]] = []
    for row in own:
        turns.append((of_outfit[row["outfit"]], len(turns), row))
        of_outfit[row["outfit"]] += 1
    (folder / "previews").mkdir()
    copied = []
    for _, _, row in sorted(turns, key=lambda entry: entry[:2])[:PREVIEWS_COPIED]:
        name = f"previews/{Path(row['file']).name}"
        shutil.copyfile(previews / row["file"], folder / name)
        copied.append({"file": name, "prompt": row["prompt"], "seed": row["seed"], "outfit": row["outfit"]})
    return copied


def write_comparison(rows: list[Row], previews: Path, selection: Row, target: Path) -> None:
    """A grid with prompts downwards; per base the model without LoRA and with it. A withheld picture leaves a gap."""
    columns = compared_columns(selection)
    pictures = {(row["base"], row["checkpoint"], row["prompt_id"], row["seed"]): previews / row["file"] for row in rows}
    prompts = sorted({key[2:] for key in pictures if key[1] == WITHOUT_LORA} or {key[2:] for key in pictures})
    titles = [f"{base}: {label(checkpoint)}" for base, checkpoint in columns]
    lines = [[pictures.get((base, checkpoint, *prompt)) for base, checkpoint in columns] for prompt in prompts]
    write_grid(titles, lines, target)
