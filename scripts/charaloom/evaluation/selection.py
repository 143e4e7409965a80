"""Stage `selection`: which checkpoint is published, by the scores of its previews, with the reason in words.

The rule stands in the config (`selection`): a score is the weighted mean of several shares between 0 and 1, and rounds
of successive halving decide who stays (`rounds`). Whoever stays was compared on the same prompts and seeds. Only the
training base decides; the other bases, the weights and the text trigger alone show what the choice is worth.

`previews` asks `survivors` while it renders; this stage replays the same decisions from the scores.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Selection, SelectionRule
from charaloom.diffusion.checkpoints import WITHOUT_LORA
from charaloom.errors import CharaloomError
from charaloom.evaluation.reason import reason, rule_words
from charaloom.evaluation.rounds import replayed
from charaloom.evaluation.scores import MEANING, matching, numbers
from charaloom.evaluation.weakness.rule import weakness
from charaloom.outfits.prompts import CLOTHES

SCHEMA = 4  # of selection.json
OTHER_CLOTHES = "other clothes"  # row of the confusion table: prompts for clothes that the character never wore
NO_OUTFIT = "none of these"  # column of the confusion table: pictures that show no outfit of the character

WritePage = Callable[[PathLike, list[Row], Row, Path], None]


def select(
    character: str,
    params: Selection,
    previews: PathLike,
    previews_manifest: PathLike,
    checkpoints_manifest: PathLike,
    outfits: PathLike,
    selection: PathLike,
    page: PathLike,
    manifest: PathLike,
    write_page: WritePage,
) -> None:
    """Choose a checkpoint by the scores of the previews; write `selection.json`, the page and the manifest.

    Where the chosen checkpoint is of little use, `selection.json` says why and what to try (`weakness`).
    `write_page` gets the page's path, the rows of `scores.parquet`, the content of `selection.json` and the folder of
    previews. Raises CharaloomError where the previews hold no checkpoint on the training base.
    """
    facts = lineage("selection", character, params.plain(), [previews_manifest, checkpoints_manifest])
    rendered = read_manifest(previews_manifest)
    rows = read_table(Path(previews) / "scores.parquet")
    bases = [base["name"] for base in rendered["bases"]]
    choice = choose(rows, bases, rendered["checkpoints"], params, rendered["settings"]["threshold"], previews)
    trained = {outfit["id"]: outfit for outfit in read_json(outfits)["outfits"] if outfit["trained"]}
    pictures = read_manifest(checkpoints_manifest)["counts"]["pictures"]
    worth = weakness(choice, params.minimum, rows, trained, pictures)
    content = {
        "schema": SCHEMA,
        "character": character,
        "bases": rendered["bases"],
        "settings": rendered["settings"],
        "rule": rule_words(params),
        "meaning": MEANING,
        **choice,
        **worth,
    }
    write_json(selection, content)
    write_page(page, rows, content, Path(previews))
    counts = {"checkpoints": len(rendered["checkpoints"]), "pictures": len(rows), "chosen_step": choice["step"]}
    counts["weak"] = worth["weak"] is not None
    write_manifest(manifest, facts, {"selection": selection, "page": page}, counts)


def choose(
    rows: list[Row],
    bases: list[str],
    checkpoints: list[str],
    rule: SelectionRule,
    threshold: float,
    source: PathLike,
) -> Row:
    """The decision as `selection.json` holds it. `bases` begins with the training base; errors point at `source`."""
    base = bases[0]
    standard = [row for row in rows if row["base"] == base and row["round"]]
    if not standard:
        raise CharaloomError(
            f"{source}: no preview of any checkpoint on the training base {base!r}. "
            "Rebuild the previews: remove their manifest and run the workflow again."
        )
    rounds = replayed(standard, rule, threshold)
    chosen = rounds[-1]["left"][0]
    counted = {name: numbers(matching(standard, checkpoint=name), rule, threshold) for name in checkpoints}
    first = [row for row in standard if row["round"] == 1]
    full_weight = matching(rows, checkpoint=chosen, weight=1)
    shown = [row for row in full_weight if row["embedding"]] or full_weight
    without = numbers(matching(rows, base=base, checkpoint=WITHOUT_LORA), rule, threshold)
    choice = {
        "chosen": chosen,
        "step": counted[chosen]["step"],
        "base": base,
        "rounds": rounds,
        "checkpoints": [counted[name] for name in checkpoints if counted[name]["pictures"]],
        "curves": [numbers(matching(first, checkpoint=name), rule, threshold) for name in checkpoints],
        "without_lora": without,
        "without_embedding": without_embedding(rows, base, chosen, rule, threshold),
        "per_base": [compare(rows, shown, name, rule, threshold) for name in bases],
        "sweep": [swept(rows, name, chosen, rule, threshold) for name in bases],
        "outfits": [{"base": name, **confusion(matching(shown, base=name))} for name in bases],
        "cost": cost(rows, chosen, checkpoints),
    }
    return {**choice, "reason": reason(choice)}


# --- what the choice is worth


def compare(rows: list[Row], shown: list[Row], base: str, rule: SelectionRule, threshold: float) -> Row:
    """The chosen checkpoint on one base, against that base without LoRA; `shown`: its pictures as it is published."""
    with_lora, without = matching(shown, base=base), matching(rows, base=base, checkpoint=WITHOUT_LORA)
    return {
        "base": base,
        "with_lora": numbers(with_lora, rule, threshold) if with_lora else None,
        "without_lora": numbers(without, rule, threshold) if without else None,
    }


def swept(rows: list[Row], base: str, chosen: str, rule: SelectionRule, threshold: float) -> Row:
    """The chosen checkpoint at several LoRA weights on the same prompts, and the weight to recommend on this base.

    Recommended is the best by score; of equals the one nearest to 1.
    """
    own = [row for row in matching(rows, base=base, checkpoint=chosen) if row["embedding"] or not has_embedding(rows)]
    swept_prompts = {(row["prompt_id"], row["seed"]) for row in own if row["weight"] != 1}
    same = [row for row in own if (row["prompt_id"], row["seed"]) in swept_prompts]
    weights = sorted({row["weight"] for row in same})
    counted = [numbers(matching(same, weight=weight), rule, threshold) for weight in weights]
    best = min(
        counted, key=lambda entry: (-(entry["score"] or 0.0), abs(entry["weight"] - 1), entry["weight"]), default=None
    )
    return {"base": base, "weights": counted, "recommended": best["weight"] if best else None}


def has_embedding(rows: list[Row]) -> bool:
    return any(row["embedding"] for row in rows)


def without_embedding(rows: list[Row], base: str, chosen: str, rule: SelectionRule, threshold: float) -> Row | None:
    """What the text trigger alone reaches, beside the same prompts with the embedding; None where there is none."""
    own = matching(rows, base=base, checkpoint=chosen, weight=1.0)
    alone = matching(own, embedding=False)
    if not alone or not has_embedding(own):
        return None
    prompts = {(row["prompt_id"], row["seed"]) for row in alone}
    beside = [row for row in matching(own, embedding=True) if (row["prompt_id"], row["seed"]) in prompts]
    return {"text_only": numbers(alone, rule, threshold), "with_embedding": numbers(beside, rule, threshold)}


def confusion(rows: list[Row]) -> Row:
    """Pictures by the outfit of their prompt (rows, other clothes last) and the outfit that they show (columns)."""
    dressed = [row for row in rows if row["kept"] and (row["outfit"] or row["kind"] == CLOTHES)]
    names: list[str | None] = sorted({row["outfit"] for row in dressed if row["outfit"]})
    counts = Counter((row["outfit"], row["outfit_drawn"]) for row in dressed)
    lines = list(names)
    if any(row["outfit"] is None for row in dressed):
        lines.append(None)
    table = [
        {"asked": name or OTHER_CLOTHES, "drawn": [counts[name, shown] for shown in (*names, None)]} for name in lines
    ]
    return {"columns": [*names, NO_OUTFIT], "lines": table}


def cost(rows: list[Row], chosen: str, checkpoints: list[str]) -> Row:
    """Pictures rendered, against those of a run that shows every checkpoint as it shows the chosen one."""
    own = len(matching(rows, checkpoint=chosen))
    without = len(matching(rows, checkpoint=WITHOUT_LORA))
    full = own * len(checkpoints) + without
    return {"drawn": len(rows), "full": full, "share": rounded(len(rows) / full)}
