"""The cards of a model repository, one per language.

Text from strangers flows into them (tags, names, prompts): whatever the template prints is escaped, unless a filter
marked it as code.
"""

from pathlib import Path

from charaloom.artifacts.files import write_text
from charaloom.artifacts.types import Row
from charaloom.config.families import SDXL
from charaloom.publishing.cards import model_facts as facts
from charaloom.publishing.cards.bases import base_label
from charaloom.publishing.cards.markdown import front_matter
from charaloom.publishing.cards.model_facts import ModelCard
from charaloom.publishing.cards.programs import PROGRAMS, repo_files
from charaloom.publishing.cards.snippets import embedding_code, own_copy, pipeline_code
from charaloom.publishing.cards.texts import LANGUAGES, render
from charaloom.publishing.layout import CHECKPOINTS
from charaloom.tagging.captions import as_words

VERSION_DIGITS = 12
TAGS = ("text-to-image", "diffusers", "lora", "template:sd-lora", "stable-diffusion", "anime", "character", "charaloom")


def write_model_cards(card: ModelCard, folder: Path) -> None:
    """Write README.md, which a hub shows, and the card of each other language beside it."""
    for language, file in LANGUAGES.items():
        write_text(folder / file, card_text(card, language))


def card_text(card: ModelCard, language: str = "en") -> str:
    """The card in one language; the English one begins with what a hub reads."""
    head = metadata(card) if LANGUAGES[language] == "README.md" else ""
    return head + render("model_card.md.j2", language, card_facts(card))


def card_facts(card: ModelCard) -> Row:
    """What the template prints."""
    weights, sweep = facts.sweep_rows(card)
    made = card.rendering()
    more, less = facts.turned(card.weight)
    return {
        "card": card,
        "title": as_words(card.character),
        "version": f"v-{card.version[:VERSION_DIGITS]}",
        "family": facts.family_title(card),
        "base": base_label(card.base.plain(), card.digest),
        "selection": card.selection,
        "entry": card.selection["per_base"][0],
        "core": [as_words(tag) for tag in card.outfits["core"]],
        "prompt": made.prompt,
        "outfits": facts.outfit_rows(card),
        "untrained": facts.untrained(card.outfits),
        "weight_rows": facts.weight_rows(card),
        "weights": weights,
        "sweep": sweep,
        "with_embedding": facts.embedding_row(card.selection),
        "files": repo_files(card.character, facts.family_of(card.base.family), card.embedding),
        "programs": PROGRAMS,
        "checkpoints": CHECKPOINTS,
        "code": pipeline_code(card.character, card.base, card.known, card.repo, made),
        "embedding_code": embedding_code(card.character, card.base.family, card.repo),
        "own_copy": None if card.known else own_copy(card.base),
        "checkpoint_rows": facts.checkpoint_rows(card),
        "close": facts.closely_chosen(card.selection),
        "steps_to_try": facts.steps_to_try(card),
        "more": more,
        "less": less,
        "made": list(facts.made_rows(card)),
        "render_rows": facts.render_rows(card),
    }


def metadata(card: ModelCard) -> str:
    """The front matter. A hub refuses a base that it does not have, which only the text names."""
    values: Row = {
        "language": ["en"],
        **card.licence.metadata,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": [*TAGS, *(["stable-diffusion-xl"] if card.base.family == SDXL.name else [])],
    }
    if card.known:
        values |= {"base_model": card.known.repo, "base_model_relation": "adapter"}
    if card.repositories:
        values["datasets"] = [card.repositories["dataset"]]
    widgets = [{"text": entry["prompt"], "output": {"url": entry["file"]}} for entry in card.widgets()]
    return front_matter({**values, "instance_prompt": card.outfits["trigger"], "widget": widgets})
