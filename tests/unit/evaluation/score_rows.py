"""Rows of scores.parquet, made by hand."""

THRESHOLD = 0.178  # CCIP's


def picture(checkpoint: str, number: int, distance: float | None, base: str = "one", **more) -> dict:
    """One row; a distance of None is a picture withheld for its rating."""
    none = checkpoint == "none"
    row = {
        "base": base,
        "checkpoint": checkpoint,
        "step": 0 if none else int(checkpoint[-6:]),
        "weight": 0.0 if none else 1.0,
        "embedding": False,
        "round": 1 if base == "one" and not none else None,
        "prompt_id": f"p{number}",
        "kind": "outfit",
        "outfit": None,
        "prompt": "hana",
        "seed": number,
        "kept": distance is not None,
        "rating": [],
        "identity_distance": distance,
        "recognised": distance is not None and distance <= THRESHOLD,
        "outfit_drawn": None,
        "asked": [],
        "seen": [],
        "core_seen": None,
        "faults": [],
        "training_likeness": None,
        "training_view": None,
        "memorised": False,
        "embedding_vector": None,
    }
    row |= more
    return {**row, "file": f"{row['base']}/{checkpoint}/{row['weight']}-{row['embedding']}-{number}.png"}


def drawn(checkpoint: str, distances: list[float | None], **more) -> list[dict]:
    return [picture(checkpoint, number, distance, **more) for number, distance in enumerate(distances)]
