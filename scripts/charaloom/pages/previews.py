"""The page of previews: what was drawn, how each number came about, what to copy. One file, no network."""

from pathlib import Path
from typing import Any

from charaloom.artifacts.files import write_text
from charaloom.artifacts.types import PathLike, Row
from charaloom.diffusion.pipelines import WITHOUT_LORA
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Thumbnails
from charaloom.tagging.captions import as_words

CURVES = ("score", "recognised", "likeness", "outfit", "following", "core", "sound", "fresh", "bleeding", "leaking")
TABLE = ("recognised", "likeness", "outfit", "following", "core", "sound", "fresh", "bleeding", "leaking", "diversity")
CHART = (220, 92)  # width and height of a curve
GRID_PROMPTS = 80  # rows of a grid; the others are counted


def write_page(page: PathLike, rows: list[Row], told: Row, previews: Path) -> None:
    """Write `previews.html` from the scores, the content of `selection.json` and the folder of pictures."""
    thumbnails = Thumbnails()
    pictures = {row["file"]: picture_of(previews, row, thumbnails) for row in rows}
    content = {
        **told,
        "withheld": sum(not row["kept"] for row in rows),
        "memorised": sum(bool(row["memorised"]) for row in rows),
        "scores": TABLE,
        "curve": [curve(told, name) for name in CURVES],
        "columns": columns(rows, told),
        "lines": grid(rows, columns(rows, told), pictures),
        "weights": [weight_grid(rows, told, one, pictures) for one in told["sweep"]],
        "faults": fault_counts(rows, told),
        "nearest": nearest(rows, told, pictures),
    }
    write_text(page, render_page("previews.html.j2", content))


def picture_of(previews: Path, row: Row, thumbnails: Thumbnails) -> str | None:
    """The thumbnail of a picture that was kept."""
    from PIL import Image

    if not row["kept"]:
        return None
    with Image.open(previews / row["file"]) as image:
        return thumbnails.of(image)


def curve(told: Row, name: str) -> Row | None:
    """One score over the steps as SVG paths: the line, its interval, and where the chosen checkpoint stands."""
    points = []
    for found in told["curves"]:
        score = {"value": found["score"]} if name == "score" else found["scores"][name]
        if found["pictures"] and score["value"] is not None:
            points.append((found, score))
    if not points:
        return None
    last = max(found["step"] for found, _ in points) or 1
    width, height = CHART

    def at(step: int, value: float) -> str:
        return f"{round(step / last * width, 1)},{round(height * (1 - value), 1)}"

    line = " ".join(at(found["step"], score["value"]) for found, score in points)
    known = [(found["step"], score) for found, score in points if score.get("low") is not None]
    band = [*(at(step, score["high"]) for step, score in known), *(at(s, score["low"]) for s, score in reversed(known))]
    dots = [
        {
            "at": at(found["step"], score["value"]).split(","),
            "label": f"{found['checkpoint']}: {score['value']:.3f}",
            "chosen": found["checkpoint"] == told["chosen"],
        }
        for found, score in points
    ]
    return {"name": name, "line": line, "band": " ".join(band), "dots": dots, "last": last}


def columns(rows: list[Row], told: Row) -> list[Row]:
    """What stands side by side in the grid, base after base: without LoRA, every checkpoint, the trigger alone."""
    seen: dict[tuple[str, str, bool], Row] = {}
    for row in rows:
        if row["weight"] in (0.0, 1.0):
            seen.setdefault((row["base"], row["checkpoint"], row["embedding"]), row)
    with_word = any(row["embedding"] for row in rows)
    order = {base["name"]: index for index, base in enumerate(told["bases"])}
    found = []
    for (base, checkpoint, embedding), row in sorted(
        seen.items(), key=lambda entry: (order[entry[0][0]], entry[1]["step"], not entry[0][2], entry[0][1])
    ):
        alone = with_word and not embedding and checkpoint != WITHOUT_LORA
        found.append(
            {
                "key": (base, checkpoint, embedding),
                "base": base,
                "label": "without LoRA"
                if checkpoint == WITHOUT_LORA
                else "trigger alone"
                if alone
                else row["checkpoint"],
                "chosen": checkpoint == told["chosen"] and not alone,
            }
        )
    return found


def grid(rows: list[Row], shown: list[Row], pictures: dict[str, str | None]) -> list[Row]:
    """Prompts downwards, by their names; a tile is None where a checkpoint did not draw the prompt."""
    cells = {
        (row["prompt_id"], row["seed"], row["base"], row["checkpoint"], row["embedding"]): row
        for row in rows
        if row["weight"] in (0.0, 1.0)
    }
    prompts: dict[tuple[str, int], Row] = {}
    for row in rows:
        prompts.setdefault((row["prompt_id"], row["seed"]), row)
    longest = {key: max((r["prompt"] for r in rows if key == (r["prompt_id"], r["seed"])), key=len) for key in prompts}
    return [
        {
            "prompt": prompt,
            "seed": seed,
            "text": longest[prompt, seed],
            "tiles": [tile(cells.get((prompt, seed, *column["key"])), pictures) for column in shown],
        }
        for prompt, seed in list(prompts)[:GRID_PROMPTS]
    ]


def tile(row: Row | None, pictures: dict[str, str | None]) -> Row | None:
    """A picture with what is said of it."""
    if row is None:
        return None
    missing = [as_words(tag) for tag in row["asked"] if tag not in row["seen"]]
    notes = []
    if row["outfit"] and row["kept"] and row["outfit_drawn"] != row["outfit"]:
        notes.append(f"drawn: {as_words(row['outfit_drawn'] or 'none of hers')}")
    notes += row["faults"] + (["repeats a training picture"] if row["memorised"] else [])
    return {
        "picture": pictures[row["file"]],
        "distance": row["identity_distance"],
        "recognised": row["recognised"],
        "notes": notes,
        "title": "\n".join(
            [row["file"], row["prompt"], *([f"not seen: {', '.join(missing)}"] if missing else []), *notes]
        ),
    }


def weight_grid(rows: list[Row], told: Row, sweep: Row, pictures: dict[str, str | None]) -> Row:
    """The chosen checkpoint at each weight on one base: numbers, and its first few prompts."""
    weights = [found["weight"] for found in sweep["weights"]]
    with_word = any(row["embedding"] for row in rows)
    mine = [
        row
        for row in rows
        if row["base"] == sweep["base"] and row["checkpoint"] == told["chosen"] and row["embedding"] == with_word
    ]
    cells = {(row["prompt_id"], row["seed"], row["weight"]): row for row in mine}
    prompts = list(dict.fromkeys((row["prompt_id"], row["seed"]) for row in mine if row["weight"] != 1))[:3]
    lines = [{"prompt": p, "tiles": [tile(cells.get((p, seed, w)), pictures) for w in weights]} for p, seed in prompts]
    return {**sweep, "lines": lines}


def fault_counts(rows: list[Row], told: Row) -> list[tuple[str, int, int]]:
    """(fault, previews of the chosen checkpoint with it, previews without LoRA with it), the commonest first."""
    mine = [row for row in rows if row["checkpoint"] == told["chosen"]]
    none = [row for row in rows if row["checkpoint"] == WITHOUT_LORA]
    names = sorted({fault for row in mine + none for fault in row["faults"]})
    counts = [(name, *(sum(name in row["faults"] for row in some) for some in (mine, none))) for name in names]
    return sorted(counts, key=lambda entry: (-entry[1], -entry[2], entry[0]))


def nearest(rows: list[Row], told: Row, pictures: dict[str, str | None]) -> list[dict[str, Any]]:
    """The previews of the chosen checkpoint that are most like a training picture."""
    mine = [row for row in rows if row["checkpoint"] == told["chosen"] and row["training_likeness"] is not None]
    mine.sort(key=lambda row: (-row["training_likeness"], row["file"]))
    return [
        {"picture": pictures[row["file"]], "likeness": row["training_likeness"], "view": row["training_view"]}
        for row in mine[:4]
    ]
