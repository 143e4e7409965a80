"""Selection: which checkpoint is published, by numbers, with the reason in words.

The rule stands in the config (`selection`): a score is the weighted mean of several shares between 0 and 1, and rounds
of successive halving decide who stays: every checkpoint draws few prompts, the better ones draw more, until one is
left (Jamieson & Talwalkar 2016). Whoever stays has been compared on the same prompts and seeds. Only the training base
decides; the other bases, the weights and the text trigger alone show what the choice is worth.

`previews` asks `survivors` while it draws; the stage `selection` tells the same decisions again from the scores.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import write_json
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.diffusion.pipelines import WITHOUT_LORA
from charaloom.errors import CharaloomError
from charaloom.evaluation.prompts import CLOTHES
from charaloom.evaluation.reason import reason, rule_words
from charaloom.evaluation.rounds import played
from charaloom.evaluation.scores import MEANING, numbers, of, rounded

SCHEMA = 2
NONE_OF_HERS = "none of hers"


def select(
    character: str,
    params: dict[str, Any],
    previews: PathLike,
    previews_manifest: PathLike,
    selection: PathLike,
    page: PathLike,
    manifest: PathLike,
) -> None:
    """Tell the choice by the scores of the previews: `selection.json`, and the page that shows it.

    Raises CharaloomError where the previews hold no checkpoint on the training base.
    """
    from charaloom.pages.previews import write_page

    facts = lineage("selection", character, params, {"previews": os.fspath(previews_manifest)})
    made = read_manifest(previews_manifest)
    rows = read_table(Path(previews) / "scores.parquet")
    bases = [base["name"] for base in made["bases"]]
    chosen = choose(rows, bases, made["checkpoints"], params, made["settings"]["threshold"], previews)
    told = {
        "schema": SCHEMA,
        "character": character,
        "bases": made["bases"],
        "settings": made["settings"],
        "rule": rule_words(params),
        "meaning": MEANING,
        **chosen,
    }
    write_json(selection, told)
    write_page(page, rows, told, Path(previews))
    counts = {"checkpoints": len(made["checkpoints"]), "pictures": len(rows), "chosen_step": chosen["step"]}
    write_manifest(manifest, facts, {"selection": selection, "page": page}, counts)


def choose(
    rows: list[Row], bases: list[str], checkpoints: list[str], params: Row, threshold: float, source: PathLike
) -> Row:
    """The decision as `selection.json` holds it. `bases` begins with the training base; errors point at `source`."""
    base = bases[0]
    standard = [row for row in rows if row["base"] == base and row["round"]]
    if not standard:
        raise CharaloomError(
            f"{source}: no preview of any checkpoint on the training base {base!r}. "
            "Rebuild the previews: remove their manifest and run the workflow again."
        )
    rounds = played(standard, params, threshold)
    chosen = rounds[-1]["left"][0]
    everything = {name: numbers(of(standard, checkpoint=name), params, threshold) for name in checkpoints}
    first = [row for row in standard if row["round"] == 1]
    shown = [row for row in rows if row["checkpoint"] == chosen and row["weight"] == 1 and row["embedding"]]
    shown = shown or [row for row in rows if row["checkpoint"] == chosen and row["weight"] == 1]
    without = numbers(of(rows, base=base, checkpoint=WITHOUT_LORA), params, threshold)
    told = {
        "chosen": chosen,
        "step": everything[chosen]["step"],
        "base": base,
        "rounds": rounds,
        "checkpoints": [everything[name] for name in checkpoints if everything[name]["pictures"]],
        "curves": [numbers(of(first, checkpoint=name), params, threshold) for name in checkpoints],
        "without_lora": without,
        "without_embedding": without_embedding(rows, base, chosen, params, threshold),
        "per_base": [compare(rows, shown, name, params, threshold) for name in bases],
        "sweep": [swept(rows, name, chosen, params, threshold) for name in bases],
        "outfits": [{"base": name, **confusion(of(shown, base=name))} for name in bases],
        "cost": cost(rows, chosen, checkpoints),
    }
    return {**told, "reason": reason(told)}


def compare(rows: list[Row], shown: list[Row], base: str, params: Row, threshold: float) -> Row:
    """The chosen checkpoint on one base, against that base without LoRA."""
    with_lora, without = of(shown, base=base), of(rows, base=base, checkpoint=WITHOUT_LORA)
    return {
        "base": base,
        "with_lora": numbers(with_lora, params, threshold) if with_lora else None,
        "without_lora": numbers(without, params, threshold) if without else None,
    }


def swept(rows: list[Row], base: str, chosen: str, params: Row, threshold: float) -> Row:
    """The chosen checkpoint at several LoRA weights on the same prompts, and the weight to recommend on this base.

    Recommended is the best by score; of equals the one nearest to 1.
    """
    mine = [row for row in of(rows, base=base, checkpoint=chosen) if row["embedding"] or not has_embedding(rows)]
    asked = {(row["prompt_id"], row["seed"]) for row in mine if row["weight"] != 1}
    same = [row for row in mine if (row["prompt_id"], row["seed"]) in asked]
    weights = sorted({row["weight"] for row in same})
    found = [numbers(of(same, weight=weight), params, threshold) for weight in weights]
    best = min(found, key=lambda one: (-(one["score"] or 0.0), abs(one["weight"] - 1), one["weight"]), default=None)
    return {"base": base, "weights": found, "recommended": best["weight"] if best else None}


def has_embedding(rows: list[Row]) -> bool:
    return any(row["embedding"] for row in rows)


def without_embedding(rows: list[Row], base: str, chosen: str, params: Row, threshold: float) -> Row | None:
    """What the text trigger alone reaches, beside the same prompts with the embedding; None where there is none."""
    mine = of(rows, base=base, checkpoint=chosen, weight=1.0)
    alone = of(mine, embedding=False)
    if not alone or not has_embedding(mine):
        return None
    asked = {(row["prompt_id"], row["seed"]) for row in alone}
    beside = [row for row in of(mine, embedding=True) if (row["prompt_id"], row["seed"]) in asked]
    return {"text_only": numbers(alone, params, threshold), "with_embedding": numbers(beside, params, threshold)}


def confusion(rows: list[Row]) -> Row:
    """What was drawn where each outfit was asked for: rows asked, columns drawn; other clothes in the last row."""
    asked = [row for row in rows if row["kept"] and (row["outfit"] or row["kind"] == CLOTHES)]
    names = sorted({row["outfit"] for row in asked if row["outfit"]})
    counts = Counter((row["outfit"], row["outfit_drawn"]) for row in asked)
    lines: list[str | None] = [*names, *([None] if any(row["outfit"] is None for row in asked) else [])]
    table = [
        {"asked": name or "other clothes", "drawn": [counts[name, drawn] for drawn in (*names, None)]} for name in lines
    ]
    return {"columns": [*names, NONE_OF_HERS], "lines": table}


def cost(rows: list[Row], chosen: str, checkpoints: list[str]) -> Row:
    """Pictures drawn, against what it would have cost to show every checkpoint as the chosen one is shown."""
    mine = len(of(rows, checkpoint=chosen))
    nothing = len(of(rows, checkpoint=WITHOUT_LORA))
    full = mine * len(checkpoints) + nothing
    return {"drawn": len(rows), "full": full, "share": rounded(len(rows) / full)}
