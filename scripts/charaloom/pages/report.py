"""Report page: what every stage did and why, for the person who looks before publishing.

Thumbnails and styles are inlined: the page loads nothing. A picture that a rating rule dropped is counted, not shown.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from charaloom.artifacts.files import read_json, write_text
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.sealed import read_sealed
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.families import family_of
from charaloom.config.params import Report
from charaloom.config.roster import embedding_word
from charaloom.errors import CharaloomError
from charaloom.pages.charts import loss_line
from charaloom.pages.funnel import funnel, raw_counts
from charaloom.pages.previews import picture_of
from charaloom.pages.render import render_page
from charaloom.pages.sheets import Thumbnails, cut_thumbnails, tile, without_numbers
from charaloom.pages.verdicts import active_rules, doubtful, dropped_by, explain
from charaloom.publishing.cards.model_facts import recommended
from charaloom.publishing.cards.programs import PROGRAMS, repo_files
from charaloom.publishing.cards.texts import Texts
from charaloom.publishing.comparison import compared, label
from charaloom.publishing.layout import embedding_file, lora_file
from charaloom.tagging.captions import as_words, with_manners

KEPT_SHOWN = 24
DROPPED_SHOWN = 6  # per rule: the curation page shows the others
PROMPTS_SHOWN = 8  # previews.html has all
REPRESENTATIVES = 4


def write_report(
    character: str,
    params: Report,
    results_folder: PathLike,
    receipts: Sequence[PathLike],
    upstream: Sequence[PathLike],
    page: PathLike,
    manifest: PathLike,
) -> None:
    """Write `report.html` of one character from the files in their results folder.

    `upstream`: manifests and facets of what the page shows, receipts among them. Raises CharaloomError naming the first
    one that is absent.
    """
    results = Path(results_folder)
    for path in map(Path, upstream):
        if not path.exists():
            stage = path.name.partition(".")[0]
            raise CharaloomError(f"{path}: is absent. The report comes last: run the stage {stage!r} first.")
    facts = lineage("report", character, params.plain(), upstream)
    thumbnails = Thumbnails()
    selection = read_json(results / "selection.json")
    manners = next(entry for entry in selection["settings"]["bases"] if entry["base"] == selection["base"])
    content = {
        "with_manners": partial(with_manners, prefix=manners["prefix"], suffix=manners["suffix"]),
        "character": character,
        "outfits_file": read_json(results / "outfits.json"),
        "core": read_json(results / "core.json"),
        "use": use_section(character, selection, manners),
        "version": facts.version,
        **pictures_section(results, thumbnails),
        **previews_section(results, thumbnails),
        "best": best_previews(results / "previews", selection, thumbnails),
        "loss": loss_chart(results / "checkpoints" / "loss.tsv", selection),
        **files_section(character, results, receipts),
    }
    write_text(page, render_page("report.html.j2", content))
    write_manifest(manifest, facts, {"report": page}, {"thumbnails": thumbnails.made})


# --- what a person types ----------------------------------------------------------------------------------------------


def use_section(character: str, selection: Row, manners: Row) -> Row:
    """File, weight and settings on the base that was trained on; `tag` is what A1111 reads in a prompt."""
    weight = recommended(selection).get(selection["base"]) or 1.0
    settings = {name: selection["settings"][name] for name in ("width", "height", "steps")}
    tag = f" <lora:{character}:{weight:g}>"
    return {**manners, **settings, "file": lora_file(character), "weight": weight, "tag": tag}


def best_previews(previews: Path, selection: Row, thumbnails: Thumbnails) -> dict[str | None, str | None]:
    """By outfit the preview of the chosen checkpoint that shows the character best: recognised, in the outfit that was
    asked for, nearest to the held-out pictures."""
    rows = [
        row
        for row in read_table(previews / "scores.parquet")
        if row["kept"] and (row["base"], row["checkpoint"]) == (selection["base"], selection["chosen"])
    ]
    best: dict[str | None, Row] = {}
    for row in sorted(rows, key=goodness):
        best.setdefault(row["outfit"], row)
    return {outfit: picture_of(previews, row, thumbnails) for outfit, row in best.items()}


def goodness(row: Row) -> tuple[bool, bool, float, str]:
    """Sort key of a preview, the best first."""
    distance = row["identity_distance"]
    wrong = row["outfit"] is not None and row["outfit_drawn"] != row["outfit"]
    return not row["recognised"], wrong, math.inf if distance is None else distance, row["file"]


# --- pictures: what was kept, what was dropped and why ----------------------------------------------------------------


def pictures_section(results: Path, thumbnails: Thumbnails) -> Row:
    """Funnel, the first pictures of each contact sheet, outfits; every picture of `raw` is opened at most once."""
    rows = read_table(results / "filtered.parquet")
    outfits = read_json(results / "outfits.json")["outfits"]
    rules = active_rules(results / "filtered.decisions.json", rows)
    dropped = {rule: views for rule, views in dropped_by(rows, rules).items() if views}
    sheets = {rule: views[:DROPPED_SHOWN] for rule, views in dropped.items() if rule != "problem"}
    kept = doubtful(rows)
    representatives = {view for outfit in outfits for view in outfit["representatives"][:REPRESENTATIVES]}
    faces = [row for row in rows if row["view"] in representatives]
    pictures = cut_thumbnails(results / "raw.parquet", chain(kept[:KEPT_SHOWN], *sheets.values(), faces), thumbnails)
    return {
        "raw": raw_counts(results / "raw.parquet"),
        "funnel": funnel([without_numbers(row) for row in rows], rules),
        "kept_count": len(kept),
        "held_out_count": sum(row["split"] == "held_out" for row in kept),
        "kept": [tile(without_numbers(row), pictures) for row in kept[:KEPT_SHOWN]],
        "dropped": [
            {
                "rule": rule,
                "words": explain(rule),
                "count": len(dropped[rule]),
                "tiles": [tile(without_numbers(row), pictures) for row in shown],
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


def previews_section(results: Path, thumbnails: Thumbnails) -> Row:
    """The chosen checkpoint and the base alone, base by base; all others are in previews.html."""
    selection = read_json(results / "selection.json")
    previews = results / "previews"
    rows = compared(read_table(previews / "scores.parquet"), selection)
    scores = [selection["without_lora"], *selection["checkpoints"]]
    return {
        "selection": selection,
        "numbers": [{**entry, "label": label(entry["checkpoint"])} for entry in scores if entry["pictures"]],
        "grids": [preview_grid(previews, rows, base["name"], selection, thumbnails) for base in selection["bases"]],
        "per_base": selection["per_base"],
        "recommended": recommended(selection),
        "chosen_score": next(row["score"] for row in scores if row["checkpoint"] == selection["chosen"]) or 0.0,
    }


def preview_grid(previews: Path, rows: list[Row], base: str, selection: Row, thumbnails: Thumbnails) -> Row:
    """Prompts downwards, checkpoints across; every tile with its distance and whether the character is recognised."""
    on_base = [row for row in rows if row["base"] == base]
    step_of = {row["checkpoint"]: row["step"] for row in on_base}
    names = sorted(step_of, key=lambda name: (step_of[name], name))
    cells = {(row["prompt_id"], row["seed"], row["checkpoint"]): row for row in on_base}
    prompts = list(dict.fromkeys((row["prompt_id"], row["seed"]) for row in on_base))
    lines = []
    for prompt, seed in prompts[:PROMPTS_SHOWN]:
        rendered = [cells.get((prompt, seed, name)) for name in names]
        lines.append(
            {
                "prompt": prompt,
                "seed": seed,
                "text": max((row["prompt"] for row in rendered if row), key=len),
                "tiles": [preview_tile(previews, row, thumbnails) for row in rendered],
            }
        )
    columns = [{"name": name, "label": label(name), "chosen": name == selection["chosen"]} for name in names]
    return {"base": base, "training": base == selection["base"], "columns": columns, "lines": lines}


def preview_tile(previews: Path, row: Row | None, thumbnails: Thumbnails) -> Row | None:
    if row is None:
        return None
    picture = picture_of(previews, row, thumbnails)
    return {"picture": picture, "distance": row["identity_distance"], "recognised": row["recognised"]}


def loss_chart(table: Path, selection: Row) -> Row | None:
    """The chart of `loss.tsv` with a mark at each checkpoint; None where less than two steps were recorded."""
    rows = [line.split("\t")[:2] for line in table.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    if len(rows) < 2:
        return None
    checkpoints = [
        {
            "step": entry["step"],
            "label": entry["checkpoint"],
            "chosen": entry["checkpoint"] == selection["chosen"],
        }
        for entry in selection["checkpoints"]
    ]
    return loss_line([int(step) for step, _ in rows], [float(loss) for _, loss in rows], checkpoints)


# --- files ------------------------------------------------------------------------------------------------------------


def files_section(character: str, results: Path, receipts: Sequence[PathLike]) -> Row:
    """What the model repo holds, which program reads which file, and where it was published."""
    files = read_manifest(results / "model.manifest.json")["outputs"]["model"]["files"]
    family = family_of(read_json(results / "selection.json")["bases"][0]["family"])
    english = Texts("en")
    weights = [
        {**entry, "is": english(f"model.files.{entry['is']}"), **size_of(files[entry["file"]])}
        for entry in repo_files(character, family, embedding=embedding_file(character) in files)
    ]
    contents = list(map(read_sealed, receipts))
    published = [{"name": receipt["target"]["name"], "tag": receipt["tag"]} for receipt in contents if "tag" in receipt]
    withheld = [receipt["target"]["name"] for receipt in contents if "withheld" in receipt]
    answers = english.section("programs")
    shown = {"programs": PROGRAMS, "answers": answers, "weights": weights, "word": embedding_word(character)}
    return {**shown, "published": published, "withheld": withheld}


def size_of(file: Row) -> Row:
    """Size and SHA-256 of a file of a manifest, as the page shows them."""
    return {"size": f"{file['size'] / 2**20:.1f} MiB", "sha256": file["sha256"]}
