"""Selection: which checkpoint is published, by numbers, with the reason in words.

The rule stands in the config (`selection`): a score is the weighted mean of several shares between 0 and 1, and rounds
of successive halving decide who stays: every checkpoint draws few prompts, the better ones draw more, until one is
left (Jamieson & Talwalkar 2016). Whoever stays has been compared on the same prompts and seeds. Only the training base
decides; the other bases, the weights and the text trigger alone show what the choice is worth.

`previews` asks `survivors` while it draws; the stage `selection` tells the same decisions again from the scores.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from math import ceil, sqrt
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from charaloom.artifacts.files import write_json
from charaloom.artifacts.manifest import lineage, read_manifest, write_manifest
from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.diffusion.pipelines import WITHOUT_LORA
from charaloom.errors import CharaloomError
from charaloom.outfits.prompts import CLOTHES, PLAIN

Score = dict[str, Any]  # value, low, high, n: of n things; None where there is nothing to count
SCHEMA = 2
NONE_OF_HERS = "none of hers"
MEANING = {  # what each score says, in one sentence
    "recognised": "share of previews that CCIP takes for her: median distance to held-out pictures within threshold",
    "likeness": "how near they are to her: 1 at distance 0, one half at CCIP's threshold, 0 at twice that",
    "outfit": "share of previews that show the outfit that was asked for",
    "following": "share of the asked tags that the tagger sees",
    "core": "share of her core tags that the tagger sees where her trigger was given",
    "sound": "share of previews in which no fault is seen: nobody there, several people, anatomy, text, blur",
    "fresh": "share of previews that do not repeat a training picture",
    "bleeding": "share of previews that show one of her outfits that was not asked for",
    "leaking": "share of her core tags that are seen though her trigger was not given",
    "diversity": "how far apart pictures of one prompt are: one less the cosine of their tagger embeddings",
}


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


def of(rows: Iterable[Row], **facts: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in facts.items())]


# --- the rule


def schedule(checkpoints: int, params: Row) -> list[tuple[int, float]]:
    """Rounds as (checkpoints that draw, share of the prompts that each has drawn after it); the last one is alone.

    Each round draws twice the prompts of the one before, and the share `keep` of its checkpoints stays.
    """
    found, share = [], min(params["first"], 1.0)
    while checkpoints > 1:
        found.append((checkpoints, share))
        checkpoints, share = staying(checkpoints, params), min(2 * share, 1.0)
    return [*found, (1, 1.0)]


def staying(checkpoints: int, params: Row) -> int:
    """How many of a round's checkpoints go on: at least one, at least one fewer."""
    return max(1, min(ceil(params["keep"] * checkpoints), checkpoints - 1))


def survivors(rows: list[Row], params: Row, threshold: float) -> list[str]:
    """The checkpoints that go on, the best first. `rows`: all pictures that those of this round have drawn so far."""
    names = sorted({row["checkpoint"] for row in rows})
    found = {name: numbers(of(rows, checkpoint=name), params, threshold) for name in names}
    return sorted(names, key=lambda name: rank(found[name]))[: staying(len(names), params)]


def played(standard: list[Row], params: Row, threshold: float) -> list[Row]:
    """The rounds again, from the scores: who drew how many pictures, with which score, and who stayed."""
    told, last = [], max(row["round"] for row in standard)
    alive = sorted({row["checkpoint"] for row in standard})
    for number in range(1, last + 1):
        rows = [row for row in standard if row["checkpoint"] in alive and row["round"] <= number]
        found = sorted((numbers(of(rows, checkpoint=name), params, threshold) for name in alive), key=rank)
        alive = survivors(rows, params, threshold) if len(alive) > 1 else alive
        told.append({"round": number, "checkpoints": found, "left": alive})
    return told


def rank(found: Row) -> tuple[float, float, int]:
    """Sort key, the best first: highest score, then lowest median distance, then fewest steps; as written."""
    score, distance = found["score"], found["median_distance"]
    return -(score if score is not None else -1.0), float("inf") if distance is None else distance, found["step"]


def rule_words(params: Row) -> str:
    """The rule as a person reads it."""
    weights = sorted(params["scores"].items(), key=lambda entry: (-entry[1], entry[0]))
    return (
        "the score is the mean of "
        + ", ".join(f"{name} (counts {weight:g})" for name, weight in weights if weight)
        + f"; each checkpoint draws {params['first']:.0%} of the prompts, the better {params['keep']:.0%} go on and"
        " draw twice as many, until one is left; of equals the nearer to the held-out pictures, then the fewer steps"
    )


# --- numbers


def numbers(rows: list[Row], params: Row, threshold: float) -> Row:
    """Everything that is counted of some pictures of one checkpoint on one base.

    A picture withheld for its rating counts as not recognised, not the outfit and not following, so that no checkpoint
    gains by drawing what is not kept.
    """
    hers = [row for row in rows if row["kind"] != PLAIN]
    distances = [row["identity_distance"] for row in hers if row["identity_distance"] is not None]
    scores = scores_of(rows, threshold)
    weights = {name: weight for name, weight in params["scores"].items() if weight and scores[name]["n"]}
    total = sum(weight * scores[name]["value"] for name, weight in weights.items())
    return {
        "checkpoint": rows[0]["checkpoint"] if rows else None,
        "step": max((row["step"] for row in rows), default=0),
        "weight": rows[0]["weight"] if rows else None,
        "pictures": len(rows),
        "withheld": sum(not row["kept"] for row in rows),
        "asked": len(hers),
        "recognised": sum(bool(row["recognised"]) for row in hers),
        "median_distance": rounded(median(distances)) if distances else None,
        "score": rounded(total / sum(weights.values())) if weights else None,
        "scores": scores,
    }


def scores_of(rows: list[Row], threshold: float) -> dict[str, Score]:
    """Every score of MEANING with its 95 % interval."""
    hers = [row for row in rows if row["kind"] != PLAIN]
    dressed = [row for row in hers if row["outfit"]]
    told = [row for row in hers if row["asked"]]
    plain = [row for row in rows if row["kind"] == PLAIN and row["core_seen"] is not None]
    seen = [row["core_seen"] for row in hers if row["core_seen"] is not None]
    return {
        "recognised": share(bool(row["recognised"]) for row in hers),
        "likeness": average([closeness(row["identity_distance"], threshold) for row in hers]),
        "outfit": share(row["outfit_drawn"] == row["outfit"] for row in dressed),
        "following": average([len(row["seen"]) / len(row["asked"]) for row in told]),
        "core": average(seen),
        "sound": share(row["kept"] and not row["faults"] for row in rows),
        "fresh": share(not row["memorised"] for row in rows),
        "bleeding": share(bled(row) for row in hers if row["outfit"] or row["kind"] == CLOTHES),
        "leaking": average([row["core_seen"] for row in plain]),
        "diversity": average(spreads(rows)),
    }


def closeness(distance: float | None, threshold: float) -> float:
    """1 at distance 0, one half at the threshold, 0 at twice that and for what was withheld."""
    return 0.0 if distance is None else max(0.0, 1 - distance / (2 * threshold))


def bled(row: Row) -> bool:
    """Whether one of her outfits is drawn that was not asked for."""
    return row["outfit_drawn"] is not None and row["outfit_drawn"] != row["outfit"]


def spreads(rows: list[Row]) -> list[float]:
    """For each prompt with several pictures the mean of one less the cosine of their tagger embeddings."""
    together: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        if row["embedding_vector"] is not None:
            together[row["prompt_id"]].append(row["embedding_vector"])
    return [
        mean(1 - cosine(one, other) for one, other in combinations(vectors, 2))
        for _, vectors in sorted(together.items())
        if len(vectors) > 1
    ]


def cosine(one: list[float], other: list[float]) -> float:
    import numpy as np

    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def share(answers: Iterable[bool]) -> Score:
    """A share with its 95 % Wilson interval."""
    found = list(answers)
    if not found:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(sum(found), len(found))
    return {"value": rounded(sum(found) / len(found)), "low": low, "high": high, "n": len(found)}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return rounded(interval.low), rounded(interval.high)


def average(values: list[float]) -> Score:
    """A mean with its 95 % interval by Student's t, cut to 0 and 1; of one value nothing is known beside it."""
    if not values:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = 0.0, 1.0
    if len(values) > 1:
        from scipy.stats import t

        reach = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
        low, high = max(mean(values) - reach, 0.0), min(mean(values) + reach, 1.0)
    return {"value": rounded(mean(values)), "low": rounded(low), "high": rounded(high), "n": len(values)}


# --- what the choice is worth


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


# --- the reason in words


def reason(told: Row) -> str:
    """Why this checkpoint, in sentences a person can check against the numbers."""
    rounds, chosen = told["rounds"], told["chosen"]
    found = next(one for one in told["checkpoints"] if one["checkpoint"] == chosen)
    words = [f"{chosen} on {told['base']}: score {score_words(found)}; {counted_words(found)}."]
    contests = [one for one in rounds if len(one["checkpoints"]) > 1]
    if contests:
        sizes = ", then ".join(str(len(one["checkpoints"])) for one in contests)
        words.append(f"Compared on the same prompts and seeds: {sizes} checkpoints.")
        best, other = contests[-1]["checkpoints"][:2]
        words.append(
            f"In the last comparison, on {best['pictures']} pictures each, it has {score_words(best)} and "
            f"{other['checkpoint']} {score_words(other)}{tie_words(best, other)}."
        )
        if overlapping(best, other):
            words.append("The intervals of recognition overlap: the difference may be chance.")
    without = told["without_lora"]
    if without["asked"]:
        words.append(f"The same base without the LoRA: {without['recognised']} of {without['asked']} recognised.")
        if found["scores"]["recognised"]["value"] <= without["scores"]["recognised"]["value"]:
            words.append("That is no fewer than with it: this training taught too little.")
    words += weight_words(told["sweep"])
    cost = told["cost"]
    words.append(
        f"{cost['drawn']} previews were drawn, {cost['share']:.0%} of what all checkpoints in full would take."
    )
    return " ".join(words)


def score_words(found: Row) -> str:
    return "unknown" if found["score"] is None else f"{found['score']:.3f}"


def counted_words(found: Row) -> str:
    """Recognised, outfit and distance of one checkpoint."""
    known = found["scores"]["recognised"]
    words = f"{found['recognised']} of {found['asked']} previews are recognised as the character"
    if known["n"]:
        words += f" (95 % interval {known['low']:.2f} to {known['high']:.2f})"
    outfit = found["scores"]["outfit"]
    if outfit["n"]:
        words += f", {outfit['value']:.0%} of {outfit['n']} show the outfit asked for"
    if found["median_distance"] is None:
        return f"{words}, every picture was withheld for its rating"
    return f"{words}, median distance {found['median_distance']:.4f} to held-out pictures"


def tie_words(best: Row, other: Row) -> str:
    """What decided between equal scores."""
    if best["score"] != other["score"]:
        return ""
    if best["median_distance"] != other["median_distance"]:
        return ", but is farther from the held-out pictures"
    return ", after more steps"


def overlapping(best: Row, other: Row) -> bool:
    one, two = best["scores"]["recognised"], other["scores"]["recognised"]
    return bool(one["n"] and two["n"]) and two["high"] >= one["low"]


def weight_words(sweep: list[Row]) -> list[str]:
    told = [f"{one['recommended']:g} on {one['base']}" for one in sweep if one["recommended"] is not None]
    return [f"LoRA weight to begin with: {', '.join(told)}."] if told else []
