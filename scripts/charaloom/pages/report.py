"""Report: one self-contained page that shows what every stage did and why, for the person who looks before publishing.

Thumbnails are inlined, styles too, and the page asks nothing of any network. A picture that a rating rule dropped is
counted but not shown.
"""

import math
from itertools import chain
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json, write_text
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.stages import STAGES
from charaloom.diffusion.pipelines import embedding_word
from charaloom.errors import CharaloomError
from charaloom.pages.funnel import funnel, raw_counts
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Thumbnails, cut_thumbnails, tile
from charaloom.pages.verdicts import active_rules, borderline, doubtful, dropped_by, explain
from charaloom.publishing.model import PROGRAMS, compared, label, repo_files
from charaloom.tagging.captions import as_words

KEPT_SHOWN = 24
DROPPED_SHOWN = 6  # per rule: the curation page shows the others
PROMPTS_SHOWN = 8  # previews.html has all
REPRESENTATIVES = 4
CHART = (640, 200)  # width and height of the loss curve
CHART_POINTS = 320


def write_report(
    character: str, params: dict[str, Any], results_folder: PathLike, page: PathLike, manifest: PathLike
) -> None:
    """Write `report.html` of one character from what lies in her results folder.

    Raises CharaloomError naming the first stage whose manifest is not there yet.
    """
    results = Path(results_folder)
    facts = lineage("report", character, params, upstream(results))
    thumbnails = Thumbnails()
    content = {
        "character": character,
        "outfits_file": read_json(results / "outfits.json"),
        "core": read_json(results / "core.json"),
        "version": facts["digest"],
        **pictures_section(results, thumbnails),
        **previews_section(results, thumbnails),
        "loss": loss_chart(results / "checkpoints" / "loss.tsv", read_json(results / "selection.json")),
        **files_section(character, results),
    }
    write_text(page, render_page("report.html.j2", content))
    write_manifest(manifest, facts, {"report": page}, {"thumbnails": thumbnails.made})


def upstream(results: Path) -> dict[str, str]:
    """Every manifest and receipt the page tells about."""
    found = {stage: results / f"{stage}.manifest.json" for stage in STAGES if stage not in ("published", "report")}
    for stage, path in found.items():
        if not path.exists():
            raise CharaloomError(f"{path}: not there. The report comes last: run the stage {stage!r} first.")
    receipts = sorted((results / "published").glob("*.json"))
    paths = {**found, **{f"published/{receipt.stem}": receipt for receipt in receipts}}
    return {name: str(path) for name, path in paths.items()}


# --- pictures: what was kept, what was dropped and why ----------------------------------------------------------------


def pictures_section(results: Path, thumbnails: Thumbnails) -> Row:
    """Funnel, the first pictures of each contact sheet, outfits; every picture of `raw` is opened at most once."""
    rows = read_table(results / "filtered.parquet")
    outfits = read_json(results / "outfits.json")["outfits"]
    rules = active_rules(results / "filtered.manifest.json", rows)
    dropped = {rule: found for rule, found in dropped_by(rows, rules).items() if found}
    sheets = {rule: borderline(found)[:DROPPED_SHOWN] for rule, found in dropped.items() if rule != "problem"}
    kept = doubtful(rows)
    representatives = {view for outfit in outfits for view in outfit["representatives"][:REPRESENTATIVES]}
    faces = [row for row in rows if row["view"] in representatives]
    pictures = cut_thumbnails(results / "raw.parquet", chain(kept[:KEPT_SHOWN], *sheets.values(), faces), thumbnails)
    return {
        "raw": raw_counts(results / "raw.parquet"),
        "funnel": funnel(rows, rules),
        "kept_count": len(kept),
        "held_out_count": sum(row["split"] == "held_out" for row in kept),
        "kept": [tile(row, pictures) for row in kept[:KEPT_SHOWN]],
        "dropped": [
            {
                "rule": rule,
                "words": explain(rule),
                "count": len(dropped[rule]),
                "tiles": [tile(row, pictures) for row in shown],
            }
            for rule, shown in sheets.items()
        ],
        "outfits": [
            {
                **outfit,
                "signature": [as_words(entry["tag"]) for entry in outfit["signature"]],
                "pictures": [pictures[view] for view in outfit["representatives"] if view in pictures],
            }
            for outfit in outfits
        ],
    }


# --- previews and the choice ------------------------------------------------------------------------------------------


def previews_section(results: Path, thumbnails: Thumbnails) -> dict[str, Any]:
    """The chosen checkpoint and the base alone, base by base; all others are in previews.html."""
    selection = read_json(results / "selection.json")
    rows = read_table(results / "previews" / "scores.parquet")
    grids = [
        preview_grid(results / "previews", rows, base["name"], selection, thumbnails) for base in selection["bases"]
    ]
    found = [selection["without_lora"], *selection["checkpoints"]]
    return {
        "selection": selection,
        "numbers": [{**one, "label": label(one["checkpoint"])} for one in found if one["pictures"]],
        "grids": grids,
        "per_base": selection["per_base"],
    }


def preview_grid(
    folder: Path, rows: list[Row], base: str, selection: dict[str, Any], thumbnails: Thumbnails
) -> dict[str, Any]:
    """Prompts downwards, checkpoints across; every tile with its distance and whether she was recognised."""
    mine = [row for row in compared(rows, selection) if row["base"] == base]
    steps = {row["checkpoint"]: (row["step"], row["checkpoint"]) for row in mine}
    columns = sorted(steps, key=lambda name: steps[name])
    prompts = list(dict.fromkeys((row["prompt_id"], row["seed"]) for row in mine))[:PROMPTS_SHOWN]
    found = {(row["prompt_id"], row["seed"], row["checkpoint"]): row for row in mine}
    lines = []
    for prompt in prompts:
        drawn = [found.get((*prompt, column)) for column in columns]
        lines.append(
            {
                "prompt": prompt[0],
                "seed": prompt[1],
                "text": max((row["prompt"] for row in drawn if row), key=len),
                "tiles": [preview_tile(folder, row, thumbnails) for row in drawn],
            }
        )
    heads = [{"name": name, "label": label(name), "chosen": name == selection["chosen"]} for name in columns]
    return {"base": base, "training": base == selection["base"], "columns": heads, "lines": lines}


def preview_tile(folder: Path, row: Row | None, thumbnails: Thumbnails) -> dict[str, Any] | None:
    if row is None:
        return None
    from PIL import Image

    picture = None
    if row["kept"]:
        with Image.open(folder / row["file"]) as image:
            picture = thumbnails.of(image)
    return {"picture": picture, "distance": row["identity_distance"], "recognised": row["recognised"]}


def loss_chart(table: Path, selection: dict[str, Any]) -> dict[str, Any] | None:
    """The loss as an SVG path: means over equal stretches of steps; a mark at each checkpoint."""
    rows = [line.split("\t")[:2] for line in table.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    if len(rows) < 2:
        return None
    steps, losses = [int(row[0]) for row in rows], [float(row[1]) for row in rows]
    size = math.ceil(len(rows) / CHART_POINTS)
    parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    points = [(sum(steps[part]) / len(steps[part]), sum(losses[part]) / len(losses[part])) for part in parts]
    top, last = max(loss for _, loss in points) or 1.0, steps[-1]

    def across(step: float) -> float:
        return round(step / last * CHART[0], 1)

    path = " ".join(f"{across(step)},{round(CHART[1] * (1 - loss / top), 1)}" for step, loss in points)
    marks = [
        {"x": across(found["step"]), "label": found["checkpoint"], "chosen": found["checkpoint"] == selection["chosen"]}
        for found in selection["checkpoints"]
    ]
    ends = {"first": f"{points[0][1]:.4f}", "last": f"{points[-1][1]:.4f}", "top": f"{top:.3g}"}
    return {
        "path": path,
        "marks": marks,
        "width": CHART[0],
        "height": CHART[1],
        "steps": last,
        "mean_over": size,
        **ends,
    }


# --- files ------------------------------------------------------------------------------------------------------------


def files_section(character: str, results: Path) -> dict[str, Any]:
    """What the model repo holds, who reads which file, and where it was published."""
    files = read_manifest(results / "model.manifest.json")["outputs"]["model"]["files"]
    receipts = [read_json(path) for path in sorted((results / "published").glob("*.json"))]
    weights = [
        {**entry, "size": f"{files[entry['file']]['size'] / 2**20:.1f} MiB", "sha256": files[entry["file"]]["sha256"]}
        for entry in repo_files(character, embedding=f"{embedding_word(character)}.safetensors" in files)
    ]
    published = [{"name": receipt["target"]["name"], "tag": receipt["tag"]} for receipt in receipts]
    return {"programs": PROGRAMS, "weights": weights, "word": embedding_word(character), "published": published}
