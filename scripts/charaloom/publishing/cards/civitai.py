"""A folder to upload to Civitai by hand: files, previews in order, description, trigger words, settings, tags.

Civitai has no official way to upload by program, so nothing here talks to it.
"""

import shutil
from pathlib import Path

from charaloom.artifacts.files import read_json, whole_folder, write_json, write_text
from charaloom.artifacts.types import Row
from charaloom.config.families import SDXL
from charaloom.config.params import HUB, PreviewBase
from charaloom.config.roster import ADULT
from charaloom.diffusion.lora import read_metadata
from charaloom.errors import CharaloomError
from charaloom.publishing.cards import model_facts as facts
from charaloom.publishing.cards.markdown import plain
from charaloom.publishing.cards.model_facts import ModelCard
from charaloom.publishing.cards.texts import FOLDER
from charaloom.publishing.layout import PREVIEWS, embedding_file, lora_file
from charaloom.tagging.captions import SEPARATOR, as_words

BASE_MODELS = (("illustrious", "Illustrious"), ("noobai", "NoobAI"), ("pony", "Pony"))  # by a part of the base's name
TAGS = ("anime", "character")
VERSION_DIGITS = 12
HOW = """# Uploading {title} to Civitai

1. Create a model of the type LORA; take name, tags and permissions from `model.json`.
2. Upload what lies in `files/`, and write the trained words of `trained_words.txt`, one for each line.
3. Paste `description.html` into the description (its source view).
4. Upload what lies in `images/` in the order of the names. Civitai reads each picture's prompt and settings from it.
5. `model.json` says whether to mark the model as depicting a minor (`minor`). Do so where it is true.
"""


def read_card(character: str, results: Path) -> ModelCard:
    """The facts of a finished model, from a character's folder. Raises CharaloomError where it is not finished."""
    model = results / "model"
    needed = [results / "model.lineage.json", results / "outfits.json", model / PREVIEWS, model / lora_file(character)]
    missing = next((path for path in needed if not path.is_file()), None)
    if missing:
        raise CharaloomError(f"{missing}: not there; `charaloom run {character}` makes it")
    origin, trained = read_json(results / "model.lineage.json"), read_json(results / "dataset.training.json")
    return ModelCard(
        character=character,
        base=PreviewBase.of(origin["params"]["base"]),
        selection=read_json(model / "selection.json"),
        outfits=read_json(results / "outfits.json"),
        content=trained["digest"],
        version=origin["digest"],
        examples=[entry for entry in read_json(model / PREVIEWS)["previews"] if entry["file"]],
        embedding=(model / embedding_file(character)).is_file(),
        metadata=read_metadata(model / lora_file(character)),
        pictures=trained["pictures"],
        repositories=origin["params"].get("repositories"),
        contact=origin["params"].get("contact", ""),
    )


def write_civitai(card: ModelCard, age: str, model: Path, folder: Path) -> Path:
    """Write the folder from a model's folder; returns it. `age`: of the character, as the roster says."""
    with whole_folder(folder) as part:
        for name in ("files", "images"):
            (part / name).mkdir()
        files = [lora_file(card.character), *([embedding_file(card.character)] if card.embedding else [])]
        for file in files:
            shutil.copyfile(model / file, part / "files" / Path(file).name)
        images = list(in_order(card))
        for image in images:
            shutil.copyfile(model / image["source"], part / "images" / image["file"])
        words = trained_words(card)
        listed = [{key: value for key, value in image.items() if key != "source"} for image in images]
        write_json(part / "images.json", listed)
        write_json(part / "model.json", settings(card, age, [Path(file).name for file in files], words))
        write_text(part / "trained_words.txt", "".join(f"{word}\n" for word in words))
        write_text(part / "description.html", description(card, words))
        write_text(part / "README.md", HOW.format(title=plain(as_words(card.character))))
    return folder


def in_order(card: ModelCard) -> list[Row]:
    """The previews: those that show what was asked for first, by the LoRA alone before those with the embedding; each
    with its generation data, which stands in its PNG as well."""
    ranked = sorted(card.examples, key=lambda entry: (not entry["shown"], entry["embedding"]))
    rendered = card.selection["settings"]
    return [
        {
            "file": f"{number:02d}_{Path(entry['file']).name}",
            "source": entry["file"],
            "prompt": entry["prompt"],
            "negative": card.base.negative,
            "seed": entry["seed"],
            "outfit": entry["outfit"],
            "steps": rendered["steps"],
            "sampler": f"{card.base.sampler} {card.base.schedule}",
            "cfg": card.base.guidance,
            "width": rendered["width"],
            "height": rendered["height"],
            "lora_weight": 1,
        }
        for number, entry in enumerate(ranked, 1)
    ]


def trained_words(card: ModelCard) -> list[str]:
    """What to copy: the trigger, then for each outfit the trigger, its own and the head of its tags."""
    trigger = card.outfits["trigger"]
    outfits = facts.outfit_rows(card)
    return [trigger, *(SEPARATOR.join(filter(None, [trigger, row["trigger"], row["tags"]])) for row in outfits)]


def settings(card: ModelCard, age: str, files: list[str], words: list[str]) -> Row:
    """What Civitai's forms ask for. Who is not known to be an adult counts as a minor."""
    weights = sorted(set(facts.recommended(card.selection).values())) or [1.0]
    commercial = not {"noobai", "no_money"} & set(card.licence.terms)
    return {
        "name": plain(as_words(card.character)),
        "type": "LORA",
        "category": "character",
        "tags": tags(card),
        "nsfw": False,
        "minor": age != ADULT,
        "version": {
            "name": f"v-{card.version[:VERSION_DIGITS]}",
            "base_model": base_model(card),
            "trained_words": words,
            "files": files,
            "training_steps": card.selection["step"],
            "clip_skip": card.base.clip_skip + 1 if card.base.clip_skip else 2,
        },
        "settings": {"strength": card.weight, "min_strength": weights[0], "max_strength": weights[-1]},
        "permissions": {"licence": card.licence.name, "licence_link": card.licence.address, "sell_images": commercial},
    }


def tags(card: ModelCard) -> list[str]:
    """Tags one by one, as Civitai writes them: lower case, with spaces."""
    words = [*TAGS, as_words(card.character), *map(as_words, card.outfits["core"])]
    return list(dict.fromkeys(plain(word).lower() for word in words))


def base_model(card: ModelCard) -> str:
    """Civitai's name of the base."""
    name = f"{card.known.repo if card.known else ''} {card.base.name}".lower()
    found = next((title for part, title in BASE_MODELS if part in name), None)
    return found or ("SDXL 1.0" if card.base.family == SDXL.name else "SD 1.5")


def description(card: ModelCard, words: list[str]) -> str:
    """The description as HTML; every value is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made = card.rendering()
    return environment.get_template("civitai.html.j2").render(
        card=card,
        title=plain(as_words(card.character)),
        core=[as_words(tag) for tag in card.outfits["core"]],
        outfits=facts.outfit_rows(card),
        untrained=facts.untrained(card.outfits),
        weights=sorted(facts.recommended(card.selection).items()),
        words=words,
        prompt=made.prompt,
        turned=facts.turned(card.weight),
        hub=HUB,
        version=f"v-{card.version[:VERSION_DIGITS]}",
    )
