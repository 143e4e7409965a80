"""The card of a model repository.

Text from strangers flows into it (tags, names, prompts): whatever the template prints is escaped, unless a filter
marked it as code.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.types import Row
from charaloom.config.params import PreviewBase
from charaloom.config.roster import embedding_word
from charaloom.publishing import licences
from charaloom.publishing.cards.markdown import code_block, code_span, escape_markdown
from charaloom.publishing.cards.programs import PROGRAMS, repo_files
from charaloom.tagging.captions import as_words, with_manners

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
WIDGETS = 4  # previews in the front matter


@dataclass(frozen=True)
class ModelCard:
    """What a card is made of."""

    character: str
    base: PreviewBase
    selection: Row  # selection.json
    outfits: Row  # outfits.json
    content: str  # digest of what was trained on, which the dataset's card names too
    version: str
    examples: list[Row]  # previews in the repository: file, prompt
    embedding: bool  # whether one was trained


def card_text(card: ModelCard) -> str:
    """The card as Markdown; every value is escaped but those that a filter below made code of."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=escape_markdown,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"words": as_words, "code": code_span, "block": code_block, "capitalised": capitalised}
    return environment.get_template("model_card.md.j2").render(
        character=card.character,
        word=embedding_word(card.character),
        trigger=card.outfits["trigger"],
        core=[as_words(tag) for tag in card.outfits["core"]],
        base=card.base,
        terms=licences.terms(card.base.licence or ""),
        outfits=trained_outfits(card.outfits, card.base),
        manners=partial(with_manners, prefix=card.base.prefix, suffix=card.base.suffix),
        selection=card.selection,
        content=card.content,
        version=card.version,
        embedding=card.embedding,
        programs=PROGRAMS,
        files=repo_files(card.character, card.embedding),
        front_matter=front_matter(card),
    )


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def trained_outfits(outfits: Row, base: PreviewBase) -> list[Row]:
    """The outfits that have a trigger, each with its first preview prompt: what was rendered is there to copy."""
    prompts: dict[str | None, str] = {}
    for prompt in outfits["prompts"]:
        prompts.setdefault(prompt.get("outfit"), with_manners(prompt["text"], base.prefix, base.suffix))
    trained = [outfit for outfit in outfits["outfits"] if outfit["trained"]]
    return [{**outfit, "prompt": prompts.get(outfit["id"])} for outfit in trained]


def front_matter(card: ModelCard) -> "Markup":
    """The YAML that the hub reads. It refuses a base without a hub repo, which only the text names."""
    import yaml
    from markupsafe import Markup

    licence = card.base.licence or "unknown"
    values: Row = {"license": licence}
    if licence not in licences.HUB:
        name = re.sub(r"[^a-z0-9.+-]+", "-", licence.lower()).strip("-") or "unknown"
        values = {"license": "other", "license_name": name}
    if card.base.repo:
        values |= {"base_model": card.base.repo, "base_model_relation": "adapter"}
    values |= {
        "pipeline_tag": "text-to-image",
        "tags": ["lora", "stable-diffusion", "text-to-image", "charaloom"],
        "instance_prompt": card.outfits["trigger"],
        "widget": [{"text": entry["prompt"], "output": {"url": entry["file"]}} for entry in card.examples[:WIDGETS]],
    }
    return Markup(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10_000))
