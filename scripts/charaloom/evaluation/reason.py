"""The choice in words: the rule, and the reason in sentences that a person can check against the numbers."""

from charaloom.artifacts.types import Row
from charaloom.config.params import SelectionRule


def rule_words(rule: SelectionRule) -> str:
    """The rule as a person reads it."""
    weights = sorted(rule.scores.items(), key=lambda entry: (-entry[1], entry[0]))
    return (
        "the score is the mean of "
        + ", ".join(f"{name} (counts {weight:g})" for name, weight in weights if weight)
        + f"; each checkpoint renders {rule.first:.0%} of the prompts, the better {rule.keep:.0%} go on and"
        " render twice as many, until one is left; of equals the one nearer to the held-out pictures, then the one"
        " with fewer steps"
    )


def reason(choice: Row) -> str:
    """Why this checkpoint; `choice`: what `selection.choose` decided and counted."""
    chosen, base = choice["chosen"], choice["base"]
    counted = next(entry for entry in choice["checkpoints"] if entry["checkpoint"] == chosen)
    rendered, share = choice["cost"]["drawn"], choice["cost"]["share"]
    return " ".join(
        [
            f"{chosen} on {base}: score {score_words(counted)}; {counted_words(counted)}.",
            *contest_words(choice["rounds"]),
            *base_words(choice["without_lora"], counted),
            *weight_words(choice["sweep"]),
            f"{rendered} previews were rendered, {share:.0%} of what all checkpoints in full would take.",
        ]
    )


def contest_words(rounds: list[Row]) -> list[str]:
    """How many checkpoints were compared, and what decided the last comparison."""
    contests = [entry["checkpoints"] for entry in rounds if len(entry["checkpoints"]) > 1]
    if not contests:
        return []
    sizes = ", then ".join(str(len(checkpoints)) for checkpoints in contests)
    best, second = contests[-1][:2]
    sentences = [
        f"Compared on the same prompts and seeds: {sizes} checkpoints.",
        f"In the last comparison, on {best['pictures']} pictures each, it has {score_words(best)} and "
        f"{second['checkpoint']} {score_words(second)}{tie_words(best, second)}.",
    ]
    if overlapping(best, second):
        sentences.append("The intervals of recognition overlap: the difference may be chance.")
    return sentences


def base_words(without: Row, counted: Row) -> list[str]:
    """What the base recognises without LoRA, and whether the training taught anything."""
    if not without["asked"]:
        return []
    sentences = [f"The same base without the LoRA: {without['recognised']} of {without['asked']} recognised."]
    if counted["scores"]["recognised"]["value"] <= without["scores"]["recognised"]["value"]:
        sentences.append("That is no fewer than with it: this training taught too little.")
    return sentences


def weight_words(sweep: list[Row]) -> list[str]:
    weights = [f"{entry['recommended']:g} on {entry['base']}" for entry in sweep if entry["recommended"] is not None]
    return [f"LoRA weight to begin with: {', '.join(weights)}."] if weights else []


def score_words(counted: Row) -> str:
    return "unknown" if counted["score"] is None else f"{counted['score']:.3f}"


def counted_words(counted: Row) -> str:
    """Recognised, outfit and distance of one checkpoint."""
    recognised = counted["scores"]["recognised"]
    words = f"{counted['recognised']} of {counted['asked']} previews are recognised as the character"
    if recognised["n"]:
        words += f" (95 % interval {recognised['low']:.2f} to {recognised['high']:.2f})"
    outfit = counted["scores"]["outfit"]
    if outfit["n"]:
        words += f", {outfit['value']:.0%} of {outfit['n']} show the outfit of their prompt"
    if counted["median_distance"] is None:
        return f"{words}, every picture was withheld for its rating"
    return f"{words}, median distance {counted['median_distance']:.4f} to held-out pictures"


def tie_words(best: Row, second: Row) -> str:
    """What decided between equal scores."""
    if best["score"] != second["score"]:
        return ""
    if best["median_distance"] != second["median_distance"]:
        return ", but is farther from the held-out pictures"
    return ", after more steps"


def overlapping(best: Row, second: Row) -> bool:
    """Whether the intervals of recognition meet."""
    above, below = best["scores"]["recognised"], second["scores"]["recognised"]
    return bool(above["n"] and below["n"]) and below["high"] >= above["low"]
