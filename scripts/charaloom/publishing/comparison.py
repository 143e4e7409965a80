"""Which previews show what the choice is worth: each base alone, and with the chosen checkpoint as it is published."""

from charaloom.artifacts.types import Row
from charaloom.diffusion.checkpoints import WITHOUT_LORA


def compared(rows: list[Row], selection: Row) -> list[Row]:
    """The rows of `scores.parquet` of each base alone, and of the chosen checkpoint at weight 1, with its embedding."""
    chosen = [row for row in rows if row["checkpoint"] == selection["chosen"] and row["weight"] == 1]
    with_word = any(row["embedding"] for row in chosen)
    without_lora = [row for row in rows if row["checkpoint"] == WITHOUT_LORA]
    return [*without_lora, *(row for row in chosen if row["embedding"] == with_word)]


def compared_columns(selection: Row) -> list[tuple[str, str]]:
    """(base, checkpoint) of what `selection.json` compares, base after base, the base alone first."""
    columns = []
    for entry in selection["per_base"]:
        for side in ("without_lora", "with_lora"):
            if entry[side]:
                columns.append((entry["base"], entry[side]["checkpoint"]))
    return columns


def label(checkpoint: str) -> str:
    """A checkpoint as a person reads it."""
    return "without LoRA" if checkpoint == WITHOUT_LORA else checkpoint
