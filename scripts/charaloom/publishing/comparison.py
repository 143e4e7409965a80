"""Which previews show what the choice is worth."""

from typing import Any

from charaloom.diffusion.pipelines import WITHOUT_LORA


def compared(rows: list[dict[str, Any]], selection: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures that show what the choice is worth: each base alone, and with the chosen checkpoint as published."""
    mine = [row for row in rows if row["checkpoint"] == selection["chosen"] and row["weight"] == 1]
    with_word = any(row["embedding"] for row in mine)
    none = [row for row in rows if row["checkpoint"] == WITHOUT_LORA]
    return [*none, *(row for row in mine if row["embedding"] == with_word)]


def label(checkpoint: str) -> str:
    """A checkpoint as a person reads it."""
    return "without LoRA" if checkpoint == WITHOUT_LORA else checkpoint
