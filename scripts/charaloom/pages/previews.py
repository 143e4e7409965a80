"""Previews page: what was rendered, how each score came about, prompts to copy. One file, no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from charaloom.artifacts.files import write_text
from charaloom.artifacts.types import PathLike, Row
from charaloom.diffusion.checkpoints import WITHOUT_LORA
from charaloom.evaluation.scores import matching
from charaloom.pages.charts import Point, curve
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Thumbnails
from charaloom.tagging.captions import as_words

CURVES = ("score", "recognised", "likeness", "outfit", "following", "core", "sound", "fresh", "bleeding", "leaking")
TABLE = ("recognised", "likeness", "outfit", "following", "core", "sound", "fresh", "bleeding", "leaking", "diversity")
GRID_PROMPTS = 80  # rows of the grid at most
SWEEP_PROMPTS = 3  # rows of a grid of LoRA weights
NEAREST = 4  # previews most like a training picture
FULL_WEIGHTS = (0.0, 1.0)  # of the LoRA: those in the grid of checkpoints

Pictures = Mapping[str, str | None]  # thumbnail by file; None where the preview was withheld


def write_page(page: PathLike, rows: list[Row], selection: Row, previews: Path) -> None:
    """Write `previews.html` from the scores, the content of `selection.json` and the folder of pictures."""
    thumbnails = Thumbnails()
    pictures = {row["file"]: picture_of(previews, row, thumbnails) for row in rows}
    shown = columns(rows, selection)
    content = {
        **selection,
        "withheld": sum(not row["kept"] for row in rows),
        "memorised": sum(bool(row["memorised"]) for row in rows),
        "scores": TABLE,
        "charts": {name: score_curve(selection, name) for name in CURVES},
        "columns": shown,
        "lines": grid(rows, shown, pictures, selection["base"]),
        "weights": [weight_grid(rows, selection, sweep, pictures) for sweep in selection["sweep"]],
        "faults": fault_counts(rows, selection["chosen"]),
        "nearest": nearest(rows, selection["chosen"], pictures),
    }
    write_text(page, render_page("previews.html.j2", content))


def picture_of(previews: Path, row: Row, thumbnails: Thumbnails) -> str | None:
    """The thumbnail of a preview that was kept."""
    from PIL import Image

    if not row["kept"]:
        return None
    with Image.open(previews / row["file"]) as image:
        return thumbnails.of(image)


def score_curve(selection: Row, name: str) -> Row | None:
    """The chart of one score over the steps; None where no checkpoint has it."""
    points = []
    for checkpoint in selection["curves"]:
        score = {"value": checkpoint["score"]} if name == "score" else checkpoint["scores"][name]
        if not checkpoint["pictures"] or score["value"] is None:
            continue
        point = Point(
            step=checkpoint["step"],
            value=score["value"],
            low=score.get("low"),
            high=score.get("high"),
            label=f"{checkpoint['checkpoint']}: {score['value']:.3f}",
            chosen=checkpoint["checkpoint"] == selection["chosen"],
        )
        points.append(point)
    return curve(points)


# --- the grid of prompts and checkpoints


def columns(rows: list[Row], selection: Row) -> list[Row]:
    """Columns of the grid, base after base: without LoRA, every checkpoint, the trigger alone."""
    first: dict[tuple[str, str, bool], Row] = {}
    for row in rows:
        if row["weight"] in FULL_WEIGHTS:
            first.setdefault((row["base"], row["checkpoint"], row["embedding"]), row)
    with_embedding = any(row["embedding"] for row in rows)
    order = {base["name"]: index for index, base in enumerate(selection["bases"])}

    def place(key: tuple[str, str, bool]) -> tuple[int, int, bool, str]:
        base, checkpoint, embedding = key
        return order[base], first[key]["step"], not embedding, checkpoint

    return [column(key, with_embedding, selection["chosen"]) for key in sorted(first, key=place)]


def column(key: tuple[str, str, bool], with_embedding: bool, chosen: str) -> Row:
    base, checkpoint, embedding = key
    trigger_alone = with_embedding and not embedding and checkpoint != WITHOUT_LORA
    label = "trigger alone" if trigger_alone else "without LoRA" if checkpoint == WITHOUT_LORA else checkpoint
    return {"key": key, "base": base, "label": label, "chosen": checkpoint == chosen and not trigger_alone}


def grid(rows: list[Row], shown: Sequence[Row], pictures: Pictures, base: str) -> list[Row]:
    """Prompts downwards, in the words that they have on `base`; a tile is None where a checkpoint did not render it."""
    cells = {
        (row["prompt_id"], row["seed"], row["base"], row["checkpoint"], row["embedding"]): row
        for row in rows
        if row["weight"] in FULL_WEIGHTS
    }
    longest: dict[tuple[str, int], str] = {}
    for row in matching(rows, base=base):
        key = (row["prompt_id"], row["seed"])
        longest[key] = max(longest.get(key, ""), row["prompt"], key=len)
    return [
        {
            "prompt": prompt,
            "seed": seed,
            "text": text,
            "tiles": [tile(cells.get((prompt, seed, *column["key"])), pictures) for column in shown],
        }
        for (prompt, seed), text in list(longest.items())[:GRID_PROMPTS]
    ]


def tile(row: Row | None, pictures: Pictures) -> Row | None:
    """A picture with its distance and remarks."""
    if row is None:
        return None
    missing = [as_words(tag) for tag in row["asked"] if tag not in row["seen"]]
    notes = []
    if row["outfit"] and row["kept"] and row["outfit_drawn"] != row["outfit"]:
        worn = as_words(row["outfit_drawn"]) if row["outfit_drawn"] else "none of the outfits"
        notes.append(f"shows: {worn}")
    notes += row["faults"]
    if row["memorised"]:
        notes.append("repeats a training picture")
    title = [row["file"], row["prompt"]]
    if missing:
        title.append(f"not seen: {', '.join(missing)}")
    return {
        "picture": pictures[row["file"]],
        "distance": row["identity_distance"],
        "recognised": row["recognised"],
        "notes": notes,
        "title": "\n".join([*title, *notes]),
    }


# --- the chosen checkpoint


def weight_grid(rows: list[Row], selection: Row, sweep: Row, pictures: Pictures) -> Row:
    """The chosen checkpoint at each weight on one base: scores, and its first few prompts."""
    weights = [entry["weight"] for entry in sweep["weights"]]
    with_embedding = any(row["embedding"] for row in rows)
    swept = [
        row
        for row in rows
        if row["base"] == sweep["base"]
        and row["checkpoint"] == selection["chosen"]
        and row["embedding"] == with_embedding
    ]
    cells = {(row["prompt_id"], row["seed"], row["weight"]): row for row in swept}
    prompts = list(dict.fromkeys((row["prompt_id"], row["seed"]) for row in swept if row["weight"] != 1))
    lines = [
        {"prompt": prompt, "tiles": [tile(cells.get((prompt, seed, weight)), pictures) for weight in weights]}
        for prompt, seed in prompts[:SWEEP_PROMPTS]
    ]
    return {**sweep, "lines": lines}


def fault_counts(rows: list[Row], chosen: str) -> list[tuple[str, int, int]]:
    """(fault, previews of the chosen checkpoint with it, previews without LoRA with it), the commonest first."""
    with_lora = [row["faults"] for row in rows if row["checkpoint"] == chosen]
    without = [row["faults"] for row in rows if row["checkpoint"] == WITHOUT_LORA]
    names = sorted({fault for faults in with_lora + without for fault in faults})
    counts = [
        (name, sum(name in faults for faults in with_lora), sum(name in faults for faults in without)) for name in names
    ]
    return sorted(counts, key=lambda entry: (-entry[1], -entry[2], entry[0]))


def nearest(rows: list[Row], chosen: str, pictures: Pictures) -> list[Row]:
    """The previews of the chosen checkpoint that are most like a training picture."""
    measured = [row for row in rows if row["checkpoint"] == chosen and row["training_likeness"] is not None]
    measured.sort(key=lambda row: (-row["training_likeness"], row["file"]))
    return [
        {"picture": pictures[row["file"]], "likeness": row["training_likeness"], "view": row["training_view"]}
        for row in measured[:NEAREST]
    ]
