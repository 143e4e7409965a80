"""Model: the repo folder as it will be published: LoRA, embedding, bundle, previews with their generation data, card.

The card is Markdown that other people's text flows into (tags, names, prompts): whatever a template prints is escaped
unless a filter marked it as code.
"""

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import read_json, safe_name, whole_folder, write_text
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike
from charaloom.diffusion.lora import bundle_weights, read_metadata, read_weights, write_weights
from charaloom.diffusion.pipelines import WITHOUT_LORA, embedding_word
from charaloom.errors import CharaloomError
from charaloom.evaluation.previews import without_path
from charaloom.outfits.prompts import PLAIN
from charaloom.tagging.captions import as_words

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
TILES = 12  # previews copied into the repo; the grid shows the prompts that every base was given
TILE = 192  # pixels of a grid tile's longest side
LABEL = 18  # pixels of the line above it
PROGRAMS = ("A1111 1.7+", "A1111 1.6 and older", "Forge", "ComfyUI", "diffusers", "OneTrainer")
LICENCES = {  # ids the hub knows; anything else is `other` with its name
    "apache-2.0",
    "bigscience-openrail-m",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "creativeml-openrail-m",
    "gpl-3.0",
    "mit",
    "openrail",
    "openrail++",
}


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


def repo_files(character: str, embedding: bool) -> list[dict[str, Any]]:
    """The weights of the repo, what each is, and what each of PROGRAMS does with it."""
    lora = {"file": f"{character}.safetensors", "is": "the LoRA: all you need", "reads": ["yes"] * len(PROGRAMS)}
    if not embedding:
        return [lora]
    word = {
        "file": f"{embedding_word(character)}.safetensors",
        "is": "the embedding: optional",
        "reads": ["yes"] * (len(PROGRAMS) - 1) + ["no: it asks for another key"],
    }
    both = {
        "file": f"{character}_bundle.safetensors",
        "is": "both in one file",
        "reads": ["yes", "no", "no", "its LoRA only, with a warning", "no: refused with an error", "its LoRA only"],
    }
    return [lora, word, both]


def copy_weights(character: str, lora: Path, embedding: Path, folder: Path) -> None:
    """The plain LoRA always; the embedding and the bundle of both where one was trained."""
    shutil.copyfile(lora, folder / f"{character}.safetensors")
    if embedding.exists():
        word = embedding_word(character)
        both = bundle_weights(read_weights(lora), read_weights(embedding), word)
        shutil.copyfile(embedding, folder / f"{word}.safetensors")
        write_weights(folder / f"{character}_bundle.safetensors", both, read_metadata(lora), hashed=True)


# --- previews ---------------------------------------------------------------------------------------------------------


def compared(rows: list[dict[str, Any]], selection: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures that show what the choice is worth: each base alone, and with the chosen checkpoint as published."""
    mine = [row for row in rows if row["checkpoint"] == selection["chosen"] and row["weight"] == 1]
    with_word = any(row["embedding"] for row in mine)
    none = [row for row in rows if row["checkpoint"] == WITHOUT_LORA]
    return [*none, *(row for row in mine if row["embedding"] == with_word)]


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


def label(checkpoint: str) -> str:
    """A checkpoint as a person reads it."""
    return "without LoRA" if checkpoint == WITHOUT_LORA else checkpoint


# --- card -------------------------------------------------------------------------------------------------------------


def card_facts(
    character: str,
    params: dict[str, Any],
    chosen: dict[str, Any],
    outfits: dict[str, Any],
    core: dict[str, Any],
    dataset: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Everything the card tells."""
    trained = [outfit for outfit in outfits["outfits"] if outfit["trained"]]
    prompts = {outfit["id"]: prompt_of(outfit["id"], outfits["prompts"]) for outfit in trained}
    return {
        "character": character,
        "word": embedding_word(character),
        "trigger": outfits["trigger"],
        "core": [as_words(tag) for tag in outfits["core"]],
        "base": params["base"],
        "outfits": [{**outfit, "prompt": prompts[outfit["id"]]} for outfit in trained],
        "selection": chosen,
        "dataset": dataset,
        "version": facts["digest"],
    }


def prompt_of(outfit: str | None, prompts: list[dict[str, Any]]) -> str | None:
    """The first preview prompt of an outfit: what was drawn is what is offered to copy."""
    return next((prompt["text"] for prompt in prompts if prompt.get("outfit") == outfit), None)


def front_matter(card: dict[str, Any]) -> "Markup":
    """The YAML the hub reads. A base without a hub repo is named in the text only: the hub refuses other names."""
    import yaml
    from markupsafe import Markup

    base = card["base"]
    known = base["licence"] in LICENCES
    facts: dict[str, Any] = {"license": base["licence"] if known else "other"}
    if not known:
        facts["license_name"] = re.sub(r"[^a-z0-9.+-]+", "-", base["licence"].lower()).strip("-") or "unknown"
    if base.get("repo"):
        facts |= {"base_model": base["repo"], "base_model_relation": "adapter"}
    facts |= {
        "pipeline_tag": "text-to-image",
        "tags": ["lora", "stable-diffusion", "text-to-image", "charaloom"],
        "instance_prompt": card["trigger"],
        "widget": [{"text": tile["prompt"], "output": {"url": tile["file"]}} for tile in card["tiles"][:4]],
    }
    return Markup(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=10_000))


def render_card(card: dict[str, Any]) -> str:
    """The card as Markdown; every value is escaped but those that a filter below made code of."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=escape_markdown,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"words": as_words, "code": code_span, "block": code_block}
    card = {**card, "programs": PROGRAMS, "files": repo_files(card["character"], card["embedding"])}
    return environment.get_template("model_card.md.j2").render(card, front_matter=front_matter(card))


def escape_markdown(value: Any) -> str:
    """Text that Markdown shows as it is, on one line; what is marked as markup already passes."""
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$@^=]|:(?=//))", r"\\\1", line)


def code_span(text: Any) -> "Markup":
    """Inline code that nothing inside can end; `|` is escaped because spans stand in tables too."""
    from markupsafe import Markup

    line = " ".join(str(text).split()).replace("|", "\\|")
    fence = "`" * (longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{fence}{pad}{line}{pad}{fence}")


def code_block(text: Any) -> "Markup":
    """A fenced block, to copy with one click on the hub; the fence is longer than any inside."""
    from markupsafe import Markup

    fence = "`" * max(3, longest_run(str(text)) + 1)
    return Markup(f"{fence}text\n{text}\n{fence}")


def longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
