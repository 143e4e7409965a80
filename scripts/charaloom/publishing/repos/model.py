"""Stage `model`: the model repository as it will be published: weights of every step, previews, training, card."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import read_json, safe_name, whole_folder, write_json
from charaloom.artifacts.manifest import facet_digest, lineage, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Model
from charaloom.config.roster import ADULT
from charaloom.diffusion.bases import without_path
from charaloom.diffusion.checkpoints import WITHOUT_LORA, Checkpoint, read_checkpoints
from charaloom.diffusion.lora import read_metadata
from charaloom.errors import CharaloomError
from charaloom.images.grid import write_grid
from charaloom.outfits.prompts import PLAIN
from charaloom.publishing.cards.model_card import write_model_cards
from charaloom.publishing.cards.model_facts import WIDGETS, ModelCard
from charaloom.publishing.comparison import compared, compared_columns, label
from charaloom.publishing.gate import refuse_model
from charaloom.publishing.layout import GRID, LINEAGE, PREVIEWS, TRAINING, lora_file
from charaloom.publishing.repos.weights import WeightsFacts, write_all_weights

PREVIEWS_COPIED = 12  # into the repository; the grid shows the prompts that every base was given


@dataclass(frozen=True)
class ModelInputs:
    """Files that a model repository is made of."""

    checkpoints: PathLike
    previews: PathLike
    selection: PathLike
    outfits: PathLike
    content: PathLike  # facet of the dataset: what was trained on
    trained: PathLike  # lineage of the checkpoints
    upstream: Sequence[PathLike]


def build_model(character: str, params: Model, inputs: ModelInputs, folder: PathLike, manifest: PathLike) -> None:
    """Write the model repository of the chosen checkpoint.

    Raises CharaloomError where the chosen checkpoint's file is missing.
    """
    recorded = {**params.plain(), "base": without_path(params.base.plain())}
    facts = lineage("model", character, params.plain(), inputs.upstream, recorded)
    selection, outfits, previews = read_json(inputs.selection), read_json(inputs.outfits), Path(inputs.previews)
    checkpoints = read_checkpoints(inputs.checkpoints)
    chosen = chosen_checkpoint(selection, checkpoints, inputs)
    shown = [row for row in read_table(previews / "scores.parquet") if row["kept"]]
    rows = compared(shown, selection)
    first = first_previews(shown, selection, outfits["prompts"])
    small = [listed(row, within=f"thumbnail of {checkpoint}") for checkpoint, row in first.items()]
    with whole_folder(folder) as part:
        about = WeightsFacts(
            character=character,
            base=params.base,
            outfits=outfits,
            weight=recommended_weight(selection),
            previews={checkpoint: previews / row["file"] for checkpoint, row in first.items()},
        )
        write_all_weights(about, checkpoints, chosen, part)
        shutil.copyfile(inputs.selection, part / "selection.json")
        copy_training(inputs, part / TRAINING)
        (part / "previews").mkdir()
        examples = copy_previews(rows, previews, selection, outfits["prompts"], part)
        alone = text_alone(shown, selection)
        examples += copy_previews(alone, previews, selection, outfits["prompts"], part, "text-", WIDGETS)
        write_comparison(rows, previews, selection, part / GRID)
        write_json(part / PREVIEWS, {"previews": [*examples, *(listed(row, within=GRID) for row in rows), *small]})
        if params.policy:
            refuse_model(character, part, params.policy)
        card = ModelCard(
            character=character,
            base=params.base,
            selection=selection,
            outfits=outfits,
            content=facet_digest(inputs.content),
            version=facts.version,
            examples=examples,
            embedding=chosen.embedding is not None,
            metadata=read_metadata(part / lora_file(character)),
            pictures=read_json(inputs.content)["pictures"],
            repositories=params.repositories,
            contact=params.contact,
            minor=params.policy is not None and params.policy.age != ADULT,
        )
        write_model_cards(card, part)
    counts = {"step": selection["step"], "previews": len(examples), "embedding": chosen.embedding is not None}
    counts |= {"checkpoints": len(checkpoints), "weak": bool(selection["weak"])}
    counts |= {name: selection["per_base"][0]["with_lora"][name] for name in ("score", "recognised", "asked")}
    write_manifest(manifest, facts, {"model": folder}, counts)


def chosen_checkpoint(selection: Row, checkpoints: list[Checkpoint], inputs: ModelInputs) -> Checkpoint:
    """The chosen one of the checkpoints. Raises CharaloomError where it is gone."""
    for checkpoint in checkpoints:
        if checkpoint.name == selection["chosen"]:
            return checkpoint
    raise CharaloomError(
        f"{Path(inputs.checkpoints) / selection['chosen']}.safetensors: chosen by {inputs.selection}, but not there. "
        "Remove the checkpoints manifest and train again."
    )


def recommended_weight(selection: Row) -> float | None:
    """The weight of the LoRA to begin with on the base of the training; None where no sweep was rendered."""
    return next((entry["recommended"] for entry in selection["sweep"] if entry["base"] == selection["base"]), None)


def first_previews(rows: list[Row], selection: Row, prompts: list[Row]) -> dict[str, Row]:
    """The first preview of each checkpoint on the base of the training, where one was kept."""
    first: dict[str, Row] = {}
    for row in by_prompt(rows, selection, prompts):
        first.setdefault(row["checkpoint"], row)
    return first


def listed(row: Row, file: str | None = None, within: str | None = None) -> Row:
    """A preview as the repository lists it: as a `file`, or in the picture that it is a part of."""
    known = {key: row[key] for key in ("base", "checkpoint", "embedding", "outfit", "prompt", "seed", "asked")}
    rating = {entry["name"]: entry["score"] for entry in row["rating"] or []}
    return {**known, "name": row["file"], "file": file, "in": within, "rating": rating}


def by_prompt(rows: list[Row], selection: Row, prompts: list[Row]) -> list[Row]:
    """The previews on the base of the training that name the trigger, in the order of `prompts`."""
    place = {safe_name(prompt["id"]): index for index, prompt in enumerate(prompts)}
    own = [row for row in rows if row["base"] == selection["base"] and row["kind"] != PLAIN]
    return sorted(own, key=lambda row: (place.get(row["prompt_id"], len(place)), row["file"]))


def copy_training(inputs: ModelInputs, folder: Path) -> None:
    """The trainer's config, the loss of each step, and what the checkpoints were made of, without a path."""
    folder.mkdir()
    for name in ("config.py", "loss.tsv"):
        shutil.copyfile(Path(inputs.checkpoints) / name, folder / name)
    lineage = read_json(inputs.trained)
    del lineage["params_digest"]  # of params with paths of this machine: no other could compare it
    write_json(folder / Path(LINEAGE).name, lineage)


def text_alone(rows: list[Row], selection: Row) -> list[Row]:
    """The previews of the chosen checkpoint by its LoRA alone, where `compared` shows it with an embedding."""
    own = [row for row in rows if row["checkpoint"] == selection["chosen"] and row["weight"] == 1]
    return [row for row in own if not row["embedding"]] if any(row["embedding"] for row in own) else []


def copy_previews(
    rows: list[Row],
    previews: Path,
    selection: Row,
    prompts: list[Row],
    folder: Path,
    start: str = "",
    most: int = PREVIEWS_COPIED,
) -> list[Row]:
    """Copy previews of the chosen checkpoint on the training base, `most` or one of each outfit; returns how each is
    `listed`, and as `shown` whether it shows the character in its outfit.

    Outfits take turns. Within an outfit previews go by the order of `prompts`, in which a portrait comes first. The
    names of the copies begin with `start`.
    """
    own = [row for row in by_prompt(rows, selection, prompts) if row["checkpoint"] == selection["chosen"]]
    of_outfit: Counter[str | None] = Counter()
    turns: list[tuple[int, int, Row]] = []
    for row in own:
        turns.append((of_outfit[row["outfit"]], len(turns), row))
        of_outfit[row["outfit"]] += 1
    copied = []
    for _, _, row in sorted(turns, key=lambda entry: entry[:2])[: max(most, len(of_outfit))]:
        name = f"previews/{start}{Path(row['file']).name}"
        shutil.copyfile(previews / row["file"], folder / name)
        shown = bool(row["recognised"]) and row["outfit_drawn"] == row["outfit"]
        copied.append({**listed(row, name), "shown": shown})
    return copied


def write_comparison(rows: list[Row], previews: Path, selection: Row, target: Path) -> None:
    """A grid with prompts downwards; per base the model without LoRA and with it. A withheld picture leaves a gap."""
    columns = compared_columns(selection)
    pictures = {(row["base"], row["checkpoint"], row["prompt_id"], row["seed"]): previews / row["file"] for row in rows}
    prompts = sorted({key[2:] for key in pictures if key[1] == WITHOUT_LORA} or {key[2:] for key in pictures})
    titles = [f"{base}: {label(checkpoint)}" for base, checkpoint in columns]
    lines = [[pictures.get((base, checkpoint, *prompt)) for base, checkpoint in columns] for prompt in prompts]
    write_grid(titles, lines, target)
