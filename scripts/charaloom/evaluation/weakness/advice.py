"""What to try where a model is weak, by the causes that its scores show. Every limit here is set by hand."""

from collections.abc import Iterator, Mapping

from charaloom.artifacts.types import Row
from charaloom.evaluation.scores import matching, share

FEW_PICTURES = 40  # that were trained on
FEW_OF_OUTFIT = 12  # training pictures of an outfit
OFTEN = 0.5  # share of previews from which something happens often
KNOWN = 0.7  # share of previews without the LoRA from which the base knows the character
SAME = 0.05  # difference of two mean likenesses that cannot be seen
CLEAR = 0.1  # difference of two scores of checkpoints that is more than noise
LOOK = "look into curation.html whether the pictures that were kept show the character, and into previews.html"


def advice(choice: Row, rows: list[Row], outfits: Mapping[str, Row], pictures: int) -> list[str]:
    """What to try, the likeliest cause first; each names the cause and the setting or file to change."""
    entry = choice["per_base"][0]
    with_lora, alone = entry["with_lora"], entry["without_lora"]
    findings = [
        *of_pictures(pictures),
        *of_outfits(choice, rows, outfits),
        *of_training(choice, with_lora, alone),
        *of_base(choice, with_lora, alone),
        *of_previews(with_lora),
    ]
    return [*findings, LOOK]


def of_pictures(pictures: int) -> Iterator[str]:
    if pictures < FEW_PICTURES:
        yield (
            f"{pictures} training pictures are few: add some (100 are good), or relax the rule that dropped most of"
            " them (curation.html)"
        )


def of_outfits(choice: Row, rows: list[Row], outfits: Mapping[str, Row]) -> Iterator[str]:
    """Outfits of few pictures that mostly fail."""
    own = matching(rows, base=choice["base"], checkpoint=choice["chosen"], weight=1.0)
    for name, outfit in outfits.items():
        shown = share(bool(row["recognised"]) and row["outfit_drawn"] == name for row in matching(own, outfit=name))
        if shown["n"] and shown["value"] < OFTEN and outfit["pictures"] < FEW_OF_OUTFIT:
            yield (
                f"the outfit {name} has {outfit['pictures']} training pictures: add some, or raise"
                f" clustered.minimum_support above {outfit['support']}, so that it trains as plain captions"
            )


def of_training(choice: Row, with_lora: Row, alone: Row | None) -> Iterator[str]:
    """Steps and rates: too little, or too much."""
    if alone and abs(likeness(with_lora) - likeness(alone)) <= SAME:
        yield "the LoRA changes almost nothing: raise training.rate_unet (twice to four times), or training.steps"
        return
    curve = [entry["score"] for entry in choice["curves"] if entry["pictures"] and entry["score"] is not None]
    sweep = choice["sweep"][0]
    weights = [entry["weight"] for entry in sweep["weights"]]
    strongest = len(weights) > 1 and sweep["recommended"] == max(weights) > 1
    if (len(curve) > 1 and curve[-1] == max(curve) >= curve[0] + CLEAR) or strongest:
        seen = f"weight {sweep['recommended']:g} is better than 1" if strongest else "each checkpoint is better"
        yield f"the training ended too early ({seen}): raise training.steps, or training.rate_unet"
    elif len(curve) > 1 and curve[-1] <= max(curve) - CLEAR:
        yield "the later checkpoints are worse: lower training.rate_unet and rate_text, or training.steps"
    if alone and sound(with_lora) < sound(alone) - (1 - OFTEN) / 2:
        yield "the LoRA breaks pictures that the base renders well: lower training.rate_unet and rate_text"


def of_base(choice: Row, with_lora: Row, alone: Row | None) -> Iterator[str]:
    """A base that does not fit."""
    if alone and sound(alone) < OFTEN:
        yield (
            f"the base {choice['base']} alone renders mostly faulty pictures: compare its entry in `bases` (prediction,"
            " clip_skip, prefix, guidance) with its model card, or take another base"
        )
    if alone and recognised(alone) >= KNOWN:
        yield "the base alone renders what CCIP takes for the character: a prompt of their traits may be enough"
    for entry in choice["per_base"][1:]:
        other = entry["with_lora"]
        if other and recognised(other) >= recognised(with_lora) + (1 - OFTEN) / 2:
            yield f"on {entry['base']} it is recognised more often: train on that base (training.base)"


def of_previews(with_lora: Row) -> Iterator[str]:
    fresh = with_lora["scores"]["fresh"]
    if fresh["n"] and fresh["value"] < OFTEN:
        yield "the previews repeat training pictures: add different pictures, or lower training.steps"
    if with_lora["withheld"] >= OFTEN * with_lora["pictures"]:
        yield (
            f"{with_lora['withheld']} of {with_lora['pictures']} previews were withheld for their rating: add `nsfw` to"
            " the base's `negative`, or train on another base"
        )


def likeness(counted: Row) -> float:
    return counted["scores"]["likeness"]["value"] or 0.0


def recognised(counted: Row) -> float:
    return counted["scores"]["recognised"]["value"] or 0.0


def sound(counted: Row) -> float:
    """The share of previews without a fault; that of nothing is 1."""
    score = counted["scores"]["sound"]
    return score["value"] if score["n"] else 1.0
