"""Selection: which checkpoint is published, decided by pictures that never trained, with the reason in words.

The rule is a total order, so that no tie is left to chance: highest share of previews recognised as the character,
then the lowest median CCIP distance to her held-out pictures, then the fewest steps. Only the training base decides;
the other bases show whether the choice generalises.
"""

import os
from pathlib import Path
from statistics import median
from typing import Any

from charaloom.errors import CharaloomError
from charaloom.files import write_json
from charaloom.manifest import lineage, read_manifest, write_manifest
from charaloom.previews import TEXT_ONLY, WITHOUT_LORA
from charaloom.tables import read_table

PathLike = str | os.PathLike[str]
RULE = "highest share recognised, then lowest median distance, then fewest steps"
SCHEMA = 1


def select(
    character: str,
    params: dict[str, Any],
    previews: PathLike,
    previews_manifest: PathLike,
    selection: PathLike,
    manifest: PathLike,
) -> None:
    """Choose one checkpoint by the scores of its previews and write `selection.json`.

    Raises CharaloomError where the previews hold no checkpoint on the training base.
    """
    facts = lineage("selection", character, params, {"previews": os.fspath(previews_manifest)})
    made = read_manifest(previews_manifest)
    rows = read_table(Path(previews) / "scores.parquet")
    bases = [base["name"] for base in made["bases"]]
    chosen = choose(rows, bases, made["checkpoints"], Path(previews) / "scores.parquet")
    write_json(
        selection,
        {
            "schema": SCHEMA,
            "character": character,
            "bases": made["bases"],
            "settings": made["settings"],
            "rule": RULE,
            **chosen,
        },
    )
    counts = {"checkpoints": len(made["checkpoints"]), "pictures": len(rows), "chosen_step": chosen["step"]}
    write_manifest(manifest, facts, {"selection": selection}, counts)


def choose(rows: list[dict[str, Any]], bases: list[str], checkpoints: list[str], source: PathLike) -> dict[str, Any]:
    """The decision as `selection.json` holds it: `chosen`, `step`, numbers of every checkpoint and base, `reason`.

    `bases` begins with the training base, `source` is the table that errors point at.
    """
    base = bases[0]
    on_base = {name: numbers(rows, base, name) for name in checkpoints}
    scored = {name: found for name, found in on_base.items() if found["pictures"]}
    if not scored:
        raise CharaloomError(
            f"{source}: no preview of any checkpoint on the training base {base!r}. "
            "Rebuild the previews: remove their manifest and run the workflow again."
        )
    chosen = min(scored, key=lambda name: rank(scored[name]))
    last = max(scored, key=lambda name: scored[name]["step"])
    without = numbers(rows, base, WITHOUT_LORA)
    return {
        "chosen": chosen,
        "step": scored[chosen]["step"],
        "base": base,
        "checkpoints": [scored[name] for name in sorted(scored, key=lambda name: scored[name]["step"])],
        "without_lora": without,
        "without_embedding": without_embedding(rows, base),
        "per_base": [compare(rows, name, chosen, last) for name in bases],
        "reason": reason(base, scored, chosen, without),
    }


def numbers(rows: list[dict[str, Any]], base: str, checkpoint: str) -> dict[str, Any]:
    """Scores of one checkpoint on one base.

    A picture withheld for its rating counts as not recognised, so that no checkpoint gains by drawing what is not kept.
    """
    mine = [row for row in rows if row["base"] == base and row["checkpoint"] == checkpoint]
    distances = [row["identity_distance"] for row in mine if row["identity_distance"] is not None]
    recognised = sum(1 for row in mine if row["recognised"])
    low, high = wilson(recognised, len(mine))
    return {
        "checkpoint": checkpoint,
        "step": max((row["step"] for row in mine), default=0),
        "pictures": len(mine),
        "withheld": sum(1 for row in mine if not row["kept"]),
        "recognised": recognised,
        "share": rounded(recognised / len(mine)) if mine else None,
        "share_low": low,
        "share_high": high,
        "median_distance": rounded(median(distances)) if distances else None,
    }


def wilson(successes: int, trials: int) -> tuple[float | None, float | None]:
    """95 % Wilson interval of a share; nothing is known without trials."""
    if not trials:
        return None, None
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return rounded(interval.low), rounded(interval.high)


def rank(found: dict[str, Any]) -> tuple[float, float, int]:
    """Sort key of `RULE`, the smallest is chosen; compared as rounded: the last bits decide nothing."""
    distance = found["median_distance"]
    return -found["share"], float("inf") if distance is None else distance, found["step"]


def compare(rows: list[dict[str, Any]], base: str, chosen: str, last: str) -> dict[str, Any]:
    """The chosen checkpoint on one base against that base without LoRA; the last one where the chosen was not drawn."""
    drawn = {row["checkpoint"] for row in rows if row["base"] == base}
    shown = chosen if chosen in drawn else last
    return {
        "base": base,
        "with_lora": numbers(rows, base, shown) if shown in drawn else None,
        "without_lora": numbers(rows, base, WITHOUT_LORA) if WITHOUT_LORA in drawn else None,
    }


def without_embedding(rows: list[dict[str, Any]], base: str) -> dict[str, Any] | None:
    """What the text trigger alone reaches, beside the same checkpoint with its embedding; None without embedding."""
    drawn = {row["checkpoint"] for row in rows if row["base"] == base and row["checkpoint"].endswith(TEXT_ONLY)}
    if not drawn:
        return None
    name = min(drawn)
    return {"text_only": numbers(rows, base, name), "with_embedding": numbers(rows, base, name.removesuffix(TEXT_ONLY))}


def reason(base: str, scored: dict[str, dict[str, Any]], chosen: str, without: dict[str, Any]) -> str:
    """Why this checkpoint, in sentences a person can check against the numbers."""
    found = scored[chosen]
    words = [
        f"{chosen} on {base}: {found['recognised']} of {found['pictures']} previews are recognised as the character "
        f"(share {found['share']:.2f}, 95 % interval {found['share_low']:.2f} to {found['share_high']:.2f}), "
        f"{distance_words(found)}."
    ]
    others = sorted((name for name in scored if name != chosen), key=lambda name: rank(scored[name]))
    if others:
        words.append(f"Next best is {others[0]} with {against(found, scored[others[0]])}.")
    if without["pictures"]:
        words.append(f"The same prompts without the LoRA: {without['recognised']} of {without['pictures']} recognised.")
    if overlapping(found, [scored[name] for name in others]):
        words.append("The intervals overlap: the difference between these checkpoints may be chance.")
    if found["recognised"] <= without["recognised"] and without["pictures"]:
        words.append(
            "The LoRA is recognised no more often than the base model without it: this training taught too little."
        )
    return " ".join(words)


def distance_words(found: dict[str, Any]) -> str:
    if found["median_distance"] is None:
        return "every picture was withheld for its rating"
    return f"median distance {found['median_distance']:.4f} to held-out pictures"


def against(best: dict[str, Any], other: dict[str, Any]) -> str:
    """The number in which the runner-up falls behind."""
    if other["share"] != best["share"]:
        return f"{other['recognised']} of {other['pictures']} recognised"
    if other["median_distance"] != best["median_distance"]:
        return f"the same share and {distance_words(other)}"
    return f"the same share and distance after more steps ({other['step']})"


def overlapping(best: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    return any(other["share_high"] >= best["share_low"] for other in others)


def rounded(value: float) -> float:
    """Four decimals: what is written is what was compared."""
    return round(float(value), 4)
