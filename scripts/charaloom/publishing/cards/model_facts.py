"""What a model's card says, as data that every language fills in: prompts, outfits, weights, checkpoints, facts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from charaloom.artifacts.types import Row
from charaloom.config.families import family_of
from charaloom.config.params import PreviewBase
from charaloom.config.roster import embedding_word
from charaloom.diffusion.checkpoints import WITHOUT_LORA
from charaloom.evaluation.reason import overlapping
from charaloom.evaluation.weakness.advice import FEW_OF_OUTFIT
from charaloom.publishing.cards.bases import HubBase, base_label, hub_base
from charaloom.publishing.cards.snippets import HERE, Rendering
from charaloom.publishing.layout import lora_file, step_files
from charaloom.publishing.licences import Licence, licence_of
from charaloom.tagging.captions import as_words, with_manners

WIDGETS = 4  # previews in the front matter
STEPS_SHOWN = 2  # before and behind the chosen one, as steps to try
TURN = 0.2  # how far a LoRA's weight is turned where it is too weak or too strong
DATASET = "../dataset/README.md"  # the dataset's card, where no hub has it


@dataclass(frozen=True)
class ModelCard:
    """What a card is made of."""

    character: str
    base: PreviewBase
    selection: Row  # selection.json
    outfits: Row  # outfits.json
    content: str  # digest of what was trained on, which the dataset's card names too
    version: str
    examples: list[Row]  # previews in the repository: file, prompt, seed, outfit, embedding, shown
    embedding: bool  # whether one was trained
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the chosen LoRA's file
    pictures: int | None = None  # that were trained on
    repositories: Mapping[str, str] | None = None  # on a hub: `model`, `dataset`, `endpoint`; None without one
    contact: str = ""  # for requests of removal
    minor: bool = False  # whether the character is not known to be an adult

    @property
    def word(self) -> str:
        return embedding_word(self.character)

    @property
    def lora(self) -> str:
        return lora_file(self.character)

    @property
    def digest(self) -> str | None:
        """SHA-256 of the base that was trained on."""
        own = (base for base in self.selection["bases"] if base["name"] == self.base.name)
        entry: Row = next(own, {})
        return entry.get("digest") or self.metadata.get("ss_new_sd_model_hash")

    @property
    def known(self) -> HubBase | None:
        """The base that was trained on, by its name on the hub."""
        return hub_base(self.base.plain(), self.digest)

    @property
    def licence(self) -> Licence:
        own = licence_of(self.base.licence)
        known = self.known.licence if self.known else None
        return licence_of(known) if known and own.address is None else own

    @property
    def repo(self) -> str:
        return self.repositories["model"] if self.repositories else HERE

    @property
    def dataset(self) -> str:
        """Where the dataset's card is read."""
        if self.repositories is None:
            return DATASET
        return f"{self.repositories['endpoint']}/datasets/{self.repositories['dataset']}"

    @property
    def weight(self) -> float:
        """Of the LoRA, to begin with on the base that was trained on."""
        return recommended(self.selection).get(self.base.name) or 1.0

    def manners(self, text: str) -> str:
        return with_manners(text, self.base.prefix, self.base.suffix)

    def widgets(self) -> list[Row]:
        """Previews whose prompt needs the LoRA alone; where none was kept, others, without the embedding's word."""
        alone = [entry for entry in self.examples if not entry.get("embedding")]
        start = f"{self.word}, "
        return [{**entry, "prompt": entry["prompt"].replace(start, "")} for entry in alone or self.examples][:WIDGETS]

    def rendering(self) -> Rendering:
        """The first widget as the code renders it."""
        plain: Row = {"prompt": self.manners(self.outfits["trigger"]), "seed": 0}
        first = next(iter(self.widgets()), plain)
        settings = self.selection["settings"]
        size = {name: settings[name] for name in ("width", "height", "steps")}
        return Rendering(prompt=first["prompt"], seed=first["seed"], weight=self.weight, **size)


def recommended(selection: Row) -> dict[str, float]:
    """The weight to begin with, by the name of the base."""
    return {entry["base"]: entry["recommended"] for entry in selection["sweep"] if entry["recommended"] is not None}


# --- outfits


def outfit_rows(card: ModelCard) -> list[Row]:
    """The outfits that have a trigger: words, prompt to copy, a preview, how often previews showed them as asked."""
    prompts: dict[str | None, str] = {}
    for prompt in card.outfits["prompts"]:
        prompts.setdefault(prompt.get("outfit"), card.manners(prompt["text"]))
    shown = shown_as_asked(card.selection, card.base.name)
    return [
        {
            "name": outfit["name"],
            "trigger": outfit["trigger"],
            "tags": ", ".join(as_words(entry["tag"]) for entry in outfit["signature"]),
            "pictures": outfit["pictures"],
            "few": FEW_OF_OUTFIT if outfit["pictures"] < FEW_OF_OUTFIT else None,
            "prompt": prompts.get(outfit["id"]),
            "shown": shown.get(outfit["id"]),
            "picture": representative(card.examples, outfit["id"]),
        }
        for outfit in card.outfits["outfits"]
        if outfit["trained"]
    ]


def representative(examples: list[Row], outfit: str) -> str | None:
    """The first preview of an outfit that shows it; where none does, the first one of it."""
    own = sorted((entry for entry in examples if entry["outfit"] == outfit), key=lambda entry: not entry.get("shown"))
    return own[0]["file"] if own else None


def shown_as_asked(selection: Row, base: str) -> dict[str, tuple[int, int]]:
    """By outfit: how many previews on a base showed it, of how many that asked for it."""
    table: Row = next((entry for entry in selection["outfits"] if entry["base"] == base), {"columns": [], "lines": []})
    places = {name: place for place, name in enumerate(table["columns"])}
    return {
        line["asked"]: (line["drawn"][places[line["asked"]]], sum(line["drawn"]))
        for line in table["lines"]
        if line["asked"] in places
    }


def untrained(outfits: Row) -> list[str]:
    return [outfit["name"] for outfit in outfits["outfits"] if not outfit["trained"]]


# --- weights


def weight_rows(card: ModelCard) -> list[Row]:
    """By base: the weight to begin with and what its previews show. Bases are matched by name."""
    weights = recommended(card.selection)
    return [
        {
            "base": label_of(card, entry["base"]),
            "weight": weights.get(entry["base"]),
            "recognised": counted(entry["with_lora"]),
            "without": counted(entry["without_lora"]),
            "copies": copies(entry["with_lora"]),
        }
        for entry in card.selection["per_base"]
        if entry["with_lora"]
    ]


def sweep_rows(card: ModelCard) -> tuple[list[float], list[Row]]:
    """(weights, lines): the score of each weight on each base, in the order of `weight_rows`."""
    by_base = {entry["base"]: entry for entry in card.selection["sweep"]}
    names = [entry["base"] for entry in card.selection["per_base"] if entry["base"] in by_base]
    swept = {name: {cell["weight"]: cell["score"] for cell in by_base[name]["weights"]} for name in names}
    weights = sorted({weight for scores in swept.values() for weight in scores})
    lines = [
        {
            "base": label_of(card, name),
            "cells": [
                {"score": swept[name].get(weight), "best": weight == by_base[name]["recommended"]} for weight in weights
            ],
        }
        for name in names
        if swept[name]
    ]
    return weights, lines


def counted(numbers: Row | None) -> tuple[int, int] | None:
    return (numbers["recognised"], numbers["asked"]) if numbers else None


def copies(numbers: Row) -> tuple[int, int] | None:
    """How many previews repeat a training picture, of how many."""
    fresh = numbers["scores"]["fresh"]
    return (round((1 - fresh["value"]) * fresh["n"]), fresh["n"]) if fresh["n"] else None


def label_of(card: ModelCard, name: str) -> Any:
    """A base of the previews, as a card names it."""
    entry = next((base for base in card.selection["bases"] if base["name"] == name), {"name": name})
    return (
        base_label(card.base.plain(), card.digest) if name == card.base.name else base_label(entry, entry.get("digest"))
    )


def embedding_row(selection: Row) -> Row | None:
    """What the embedding adds: recognised with it and by the LoRA alone, on the same prompts."""
    compared = selection["without_embedding"]
    if not compared:
        return None
    both, alone = compared["with_embedding"], compared["text_only"]
    return {"both": counted(both), "alone": counted(alone), "helps": (both["score"] or 0) > (alone["score"] or 0)}


# --- the choice


def checkpoint_rows(card: ModelCard) -> list[Row]:
    """The base alone and every checkpoint that rendered, with its files."""
    entries = [card.selection["without_lora"], *card.selection["checkpoints"]]
    return [
        {
            "step": None if entry["checkpoint"] == WITHOUT_LORA else entry["step"],
            "chosen": entry["checkpoint"] == card.selection["chosen"],
            "score": entry["score"],
            "recognised": counted(entry),
            "interval": interval(entry["scores"]["recognised"]),
            "outfit": percent(entry["scores"]["outfit"]),
            "following": percent(entry["scores"]["following"]),
            "files": None if entry["checkpoint"] == WITHOUT_LORA else step_links(card, entry["step"]),
        }
        for entry in entries
        if entry["pictures"]
    ]


def step_links(card: ModelCard, step: int) -> list[str]:
    lora, embedding = step_files(card.character, step)
    return [lora, embedding] if card.embedding else [lora]


def steps_to_try(card: ModelCard) -> list[tuple[int, str]]:
    """The steps before and behind the chosen one, each with its LoRA."""
    steps = sorted(kept_steps(card.selection))
    place = steps.index(card.selection["step"])
    near = steps[max(0, place - STEPS_SHOWN) : place] + steps[place + 1 : place + 1 + STEPS_SHOWN]
    return [(step, step_links(card, step)[0]) for step in near]


def kept_steps(selection: Row) -> set[int]:
    """The steps of all checkpoints that rendered."""
    return {selection["step"], *(entry["step"] for entry in selection["curves"] if entry["pictures"])}


def closely_chosen(selection: Row) -> bool:
    """Whether the intervals of the last two that were compared meet."""
    contests = [entry["checkpoints"] for entry in selection["rounds"] if len(entry["checkpoints"]) > 1]
    return bool(contests) and overlapping(*contests[-1][:2])


def interval(score: Row) -> str | None:
    return f"{score['low']:.2f} – {score['high']:.2f}" if score["n"] else None


def percent(score: Row) -> str | None:
    return f"{100 * score['value']:.0f} %" if score["n"] else None


# --- how it was made


def made_rows(card: ModelCard) -> Iterator[tuple[str, Any]]:
    """(key of the texts, value) of what is known of the training."""
    metadata, selection = card.metadata, card.selection
    kept = max(kept_steps(selection))
    yield "base", base_label(card.base.plain(), card.digest)
    if card.digest:
        yield "hash", card.digest
    if card.pictures:
        yield "pictures", card.pictures
    yield "steps", f"{selection['step']} / {kept}"
    if "ss_resolution" in metadata:
        yield "resolution", metadata["ss_resolution"].strip("()").replace(", ", " x ")
    if "ss_network_dim" in metadata:
        yield "rank", f"{metadata['ss_network_dim']} / {float(metadata.get('ss_network_alpha', 0)):g}"
    yield "dataset", card.content


def render_rows(card: ModelCard) -> list[Row]:
    """How each base was rendered on."""
    return [{**entry, "label": label_of(card, entry["base"])} for entry in card.selection["settings"]["bases"]]


def turned(weight: float) -> tuple[str, str]:
    """(more, less): weights to try where a LoRA is too weak, and where it is too strong."""
    return f"{weight + TURN:g}", f"{weight - 2 * TURN:.3g} – {weight - TURN:.3g}"


def family_title(card: ModelCard) -> str:
    return family_of(card.base.family).title
