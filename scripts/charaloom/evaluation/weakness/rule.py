"""When a model counts as weak: recognised no better than its base alone, or more rarely than the config asks for."""

from collections.abc import Mapping
from math import hypot

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.types import Row
from charaloom.evaluation.weakness.advice import advice


def weakness(choice: Row, minimum: float, rows: list[Row], outfits: Mapping[str, Row], pictures: int) -> Row:
    """What `selection.json` says of the use of the choice: `gain`, and `weak` (None, or why and what to try).

    `choice`: what `selection.choose` decided; `rows`: those of scores.parquet; `outfits`: the trained ones by id;
    `pictures`: how many were trained on.
    """
    entry = choice["per_base"][0]
    with_lora, alone = entry["with_lora"], entry["without_lora"]
    gained = gain(with_lora["scores"]["recognised"], alone["scores"]["recognised"]) if alone else None
    reasons = [*too_few(with_lora, minimum), *no_better(alone, gained)]
    weak = {"why": reasons, "advice": advice(choice, rows, outfits, pictures)} if reasons else None
    return {"gain": gained, "weak": weak}


def gain(with_lora: Row, alone: Row) -> Row | None:
    """How much larger the first of two shares is, with its 95 % interval (Newcombe 1998, method 10); None where one
    has nothing to count."""
    if not (with_lora["n"] and alone["n"]):
        return None
    value = with_lora["value"] - alone["value"]
    down = hypot(with_lora["value"] - with_lora["low"], alone["high"] - alone["value"])
    up = hypot(with_lora["high"] - with_lora["value"], alone["value"] - alone["low"])
    return {"value": rounded(value), "low": rounded(value - down), "high": rounded(value + up)}


def too_few(with_lora: Row, minimum: float) -> list[str]:
    recognised = with_lora["scores"]["recognised"]
    if not recognised["n"] or recognised["value"] >= minimum:
        return []
    return [
        f"{with_lora['recognised']} of {with_lora['asked']} previews are recognised as the character, which is less"
        f" than {minimum:.0%} (selection.minimum)"
    ]


def no_better(alone: Row | None, gained: Row | None) -> list[str]:
    if alone is None or gained is None or gained["low"] > 0:
        return []
    return [
        f"{alone['recognised']} of {alone['asked']} are recognised without the LoRA: that it does better may be chance"
        f" (difference {gained['value']:.2f}, 95 % interval {gained['low']:.2f} to {gained['high']:.2f})"
    ]
