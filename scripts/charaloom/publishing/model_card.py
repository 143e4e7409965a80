"""The card of a model repo."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.diffusion.pipelines import embedding_word
from charaloom.publishing.markdown import code_block, code_span, escape_markdown
from charaloom.publishing.programs import PROGRAMS, repo_files
from charaloom.tagging.captions import as_words

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
LICENCES = {  # ids the hub knows; anything else is `other` with its name
    "apache-2.0",
    "bigscience-openrail-m",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "creativeml-openrail-m",
    "gpl-3.0",
    "mit",
    "openrail",
    "openrail++",
}


def card_facts(
    character: str,
    params: dict[str, Any],
    chosen: dict[str, Any],
    outfits: dict[str, Any],
    core: dict[str, Any],
    dataset: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Everything the card tells."""
    trained = [outfit for outfit in outfits["outfits"] if outfit["trained"]]
    prompts = {outfit["id"]: prompt_of(outfit["id"], outfits["prompts"]) for outfit in trained}
    return {
        "character": character,
        "word": embedding_word(character),
        "trigger": outfits["trigger"],
        "core": [as_words(tag) for tag in outfits["core"]],
        "base": params["base"],
        "outfits": [{**outfit, "prompt": prompts[outfit["id"]]} for outfit in trained],
        "selection": chosen,
        "dataset": dataset,
        "version": facts["digest"],
    }


def prompt_of(outfit: str | None, prompts: list[dict[str, Any]]) -> str | None:
    """The first preview prompt of an outfit: what was drawn is what is offered to copy."""
    return next((prompt["text"] for prompt in prompts if prompt.get("outfit") == outfit), None)


def front_matter(card: dict[str, Any]) -> "Markup":
    """The YAML the hub reads. A base without a hub repo is named in the text only: the hub refuses other names."""
    import yaml
    from markupsafe import Markup

    base = card["base"]
    known = base["licence"] in LICENCES
    facts: dict[str, Any] = {"license": base["licence"] if known else "other"}
    if not known:
        facts["license_name"] = re.sub(r"[^a-z0-9.+-]+", "-", base["licence"].lower()).strip("-") or "unknown"
    if base.get("repo"):
        facts |= {"base_model": base["repo"], "base_model_relation": "adapter"}
    facts |= {
        "pipeline_tag": "text-to-image",
        "tags": ["lora", "stable-diffusion", "text-to-image", "charaloom"],
        "instance_prompt": card["trigger"],
        "widget": [{"text": tile["prompt"], "output": {"url": tile["file"]}} for tile in card["tiles"][:4]],
    }
    return Markup(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=10_000))


def render_card(card: dict[str, Any]) -> str:
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
    environment.filters |= {"words": as_words, "code": code_span, "block": code_block}
    card = {**card, "programs": PROGRAMS, "files": repo_files(card["character"], card["embedding"])}
    return environment.get_template("model_card.md.j2").render(card, front_matter=front_matter(card))
