"""The choice in words."""

from charaloom.artifacts.types import Row


def rule_words(params: Row) -> str:
    """The rule as a person reads it."""
    weights = sorted(params["scores"].items(), key=lambda entry: (-entry[1], entry[0]))
    return (
        "the score is the mean of "
        + ", ".join(f"{name} (counts {weight:g})" for name, weight in weights if weight)
        + f"; each checkpoint draws {params['first']:.0%} of the prompts, the better {params['keep']:.0%} go on and"
        " draw twice as many, until one is left; of equals the nearer to the held-out pictures, then the fewer steps"
    )


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
