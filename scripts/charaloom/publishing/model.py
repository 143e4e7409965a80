"""Model: the repo folder as it will be published: LoRA, embedding, bundle, previews with their generation data, card.

The card is Markdown that other people's text flows into (tags, names, prompts): whatever a template prints is escaped
unless a filter marked it as code.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json, whole_folder, write_text
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike
from charaloom.diffusion.lora import bundle_weights, read_metadata, read_weights, write_weights
from charaloom.diffusion.pipelines import WITHOUT_LORA, embedding_word
from charaloom.errors import CharaloomError
from charaloom.evaluation.batches import without_path
from charaloom.evaluation.prompts import PLAIN, safe_name
from charaloom.publishing.comparison import compared, label
from charaloom.publishing.model_card import card_facts, render_card

TILES = 12  # previews copied into the repo; the grid shows the prompts that every base was given
TILE = 192  # pixels of a grid tile's longest side
LABEL = 18  # pixels of the line above it


def build_model(
    character: str,
    params: dict[str, Any],
    checkpoints: PathLike,
    previews: PathLike,
    selection: PathLike,
    selection_manifest: PathLike,
    outfits: PathLike,
    core: PathLike,
    dataset_manifest: PathLike,
    folder: PathLike,
    manifest: PathLike,
) -> None:
    """Write the model repo of the chosen checkpoint.

    Raises CharaloomError where the chosen checkpoint's file is missing.
    """
    params = {**params, "base": without_path(params["base"])}
    upstream = {"selection": os.fspath(selection_manifest), "dataset": os.fspath(dataset_manifest)}
    facts = lineage("model", character, params, upstream)
    chosen = read_json(selection)
    lora = Path(checkpoints) / f"{chosen['chosen']}.safetensors"
    embedding = lora.with_name(f"{lora.stem}_emb.safetensors")
    if not lora.exists():
        raise CharaloomError(
            f"{lora}: chosen by {selection}, but not there. Remove the checkpoints manifest and train again."
        )
    kept = [row for row in read_table(Path(previews) / "scores.parquet") if row["kept"]]
    rows = compared(kept, chosen)
    with whole_folder(folder) as part:
        copy_weights(character, lora, embedding, part)
        shutil.copyfile(selection, part / "selection.json")
        told = read_json(outfits)
        tiles = copy_tiles(rows, Path(previews), chosen, told["prompts"], part)
        draw_grid(rows, Path(previews), chosen, part / "previews" / "grid.webp")
        card = card_facts(character, params, chosen, told, read_json(core), read_manifest(dataset_manifest), facts)
        write_text(part / "README.md", render_card({**card, "tiles": tiles, "embedding": embedding.exists()}))
    counts = {"step": chosen["step"], "previews": len(tiles), "embedding": embedding.exists()}
    write_manifest(manifest, facts, {"model": folder}, counts)


def copy_weights(character: str, lora: Path, embedding: Path, folder: Path) -> None:
    """The plain LoRA always; the embedding and the bundle of both where one was trained."""
    shutil.copyfile(lora, folder / f"{character}.safetensors")
    if embedding.exists():
        word = embedding_word(character)
        both = bundle_weights(read_weights(lora), read_weights(embedding), word)
        shutil.copyfile(embedding, folder / f"{word}.safetensors")
        write_weights(folder / f"{character}_bundle.safetensors", both, read_metadata(lora), hashed=True)


def copy_tiles(
    rows: list[dict[str, Any]], previews: Path, chosen: dict[str, Any], prompts: list[dict[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """Previews of the chosen checkpoint on the training base, as drawn, one per outfit first; what was copied.

    Within an outfit they go by the order of `prompts`, in which a portrait comes first.
    """
    place = {safe_name(prompt["id"]): index for index, prompt in enumerate(prompts)}
    mine = [
        row
        for row in rows
        if row["base"] == chosen["base"] and row["checkpoint"] == chosen["chosen"] and row["kind"] != PLAIN
    ]
    mine.sort(key=lambda row: (place.get(row["prompt_id"], len(place)), row["file"]))
    seen: dict[str | None, int] = {}
    ranked: list[tuple[int, int, dict[str, Any]]] = []
    for row in mine:
        ranked.append((seen.setdefault(row["outfit"], 0), len(ranked), row))
        seen[row["outfit"]] += 1
    (folder / "previews").mkdir()
    tiles = []
    for _, _, row in sorted(ranked, key=lambda entry: entry[:2])[:TILES]:
        name = f"previews/{Path(row['file']).name}"
        shutil.copyfile(previews / row["file"], folder / name)
        tiles.append({"file": name, "prompt": row["prompt"], "seed": row["seed"], "outfit": row["outfit"]})
    return tiles


def draw_grid(rows: list[dict[str, Any]], previews: Path, chosen: dict[str, Any], target: Path) -> None:
    """Prompts downwards; per base the model without LoRA and with it. Withheld pictures leave their place empty."""
    from PIL import Image, ImageDraw

    columns = grid_columns(chosen)
    pictures = {(row["base"], row["checkpoint"], row["prompt_id"], row["seed"]): previews / row["file"] for row in rows}
    prompts = sorted({key[2:] for key in pictures if key[1] == WITHOUT_LORA} or {key[2:] for key in pictures})
    sheet = Image.new("RGB", (max(1, len(columns)) * TILE, LABEL + max(1, len(prompts)) * TILE), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (base, checkpoint) in enumerate(columns):
        pen.text((column * TILE + 3, 2), f"{base}: {label(checkpoint)}"[:32], fill="black")
        for line, prompt in enumerate(prompts):
            if path := pictures.get((base, checkpoint, *prompt)):
                with Image.open(path) as picture:
                    picture.thumbnail((TILE, TILE))
                    sheet.paste(picture, (column * TILE, LABEL + line * TILE))
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, "WEBP", quality=85)


def grid_columns(chosen: dict[str, Any]) -> list[tuple[str, str]]:
    """(base, checkpoint) of the pictures that `selection.json` compares."""
    columns = []
    for entry in chosen["per_base"]:
        drawn = [entry[side]["checkpoint"] for side in ("without_lora", "with_lora") if entry[side]]
        columns += [(entry["base"], checkpoint) for checkpoint in drawn]
    return columns
