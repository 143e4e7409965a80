"""A character as cards show them: two trained outfits and one that is too rare, three bases, four checkpoints, a sweep.

The pictures are drawn here; the numbers are counted by the code that counts real previews.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from charaloom.artifacts.files import write_json
from charaloom.artifacts.types import Row
from charaloom.config.params import PreviewBase, SelectionRule
from charaloom.evaluation.selection import choose
from charaloom.images.grid import write_grid
from charaloom.publishing.cards.dataset_card import DatasetCard
from charaloom.publishing.cards.model_facts import ModelCard
from charaloom.publishing.layout import bundle_file, embedding_file, lora_file, step_files

CHARACTER, TRIGGER = "hana", "hana_charaloom"
STEPS = (500, 1000, 1500, 2000)
BEST = 1500
MANNERS = {"prefix": "masterpiece, best quality", "negative": "nsfw, lowres, bad hands", "guidance": 6.5}
ANIMAGINE = "6327eca98bfb6538dd7a4edce22484a1bbc57a8cff6b11d075d40da1afb847ac"
BASES: dict[str, Row] = {
    "illustrious-xl-v0.1": {
        "repo": "OnomaAIResearch/Illustrious-xl-early-release-v0",
        "file": "Illustrious-XL-v0.1.safetensors",
        "licence": "fair-ai-public-license-1.0-sd",
    },
    "my-animagine": {"path": "/somewhere/animagine.safetensors", "digest": ANIMAGINE},
    "noobai-xl-vpred-1.0": {
        "repo": "Laxhar/noobai-XL-Vpred-1.0",
        "prediction": "v_prediction",
        "zero_snr": True,
        "sampler": "Euler",
        "schedule": "Normal",
        "rescale": 0.2,
    },
}
OUTFITS = [
    ("red_kimono", "red kimono", ["red_kimono", "obi", "wide_sleeves"], 42, True),
    ("school_uniform", "school uniform", ["serafuku", "red_neckerchief"], 9, True),
    ("swim_ring", "raincoat", ["yellow_raincoat"], 3, False),
]
SCENES = ("portrait", "full_body", "meadow")
METADATA = {
    "ss_network_dim": "32",
    "ss_network_alpha": "16.0",
    "ss_resolution": "(1024, 1024)",
    "ss_steps": str(BEST),
}


def base_of(name: str, **changes: Any) -> PreviewBase:
    return PreviewBase.of({"name": name, "family": "sdxl", "clip_skip": 0, **MANNERS, **BASES.get(name, {}), **changes})


def outfits_file() -> Row:
    """What `outfits.json` holds."""
    outfits = [
        {
            "id": identifier,
            "name": name,
            "trigger": f"hana_{identifier}",
            "signature": [{"tag": tag, "score": 0.9} for tag in tags],
            "support": pictures,
            "pictures": pictures,
            "stability": 0.9,
            "trained": trained,
            "representatives": [],
        }
        for identifier, name, tags, pictures, trained in OUTFITS
    ]
    prompts = [
        {
            "id": f"{identifier}-{scene}",
            "outfit": identifier,
            "text": f"{TRIGGER}, hana_{identifier}, 1girl, {', '.join(tags).replace('_', ' ')}, {scene}",
        }
        for identifier, _, tags, _, trained in OUTFITS
        if trained
        for scene in SCENES
    ]
    return {"trigger": TRIGGER, "core": ["blue_hair", "long_hair"], "outfits": outfits, "prompts": prompts}


def score_rows() -> Iterator[Row]:
    """Rows of `scores.parquet`: later checkpoints are recognised more often, the best one nearly always."""
    first, *others = BASES
    for step in STEPS:
        yield from rows_of(first, step, number=1)
    for base in others:
        yield from rows_of(base, BEST)
    for base in BASES:
        yield from rows_of(base, 0)
        for weight in (0.8, 1.2):
            yield from rows_of(base, BEST, weight=weight)
    yield from rows_of(first, BEST, embedding=False)


def rows_of(
    base: str, step: int, weight: float = 1.0, number: int | None = None, embedding: bool = True
) -> Iterator[Row]:
    place = 0
    for prompt in outfits_file()["prompts"]:
        for seed in (7, 8):
            place += 1
            fails = {0: 6, 500: 5, 1000: 3, 1500: 1, 2000: 2}[step] + (base == list(BASES)[1]) + (weight > 1) * 2
            recognised = place % 6 >= fails
            word = embedding and step > 0
            yield {
                "base": base,
                "checkpoint": f"step-{step:06d}" if step else "none",
                "step": step,
                "weight": weight if step else 0.0,
                "embedding": word,
                "round": number,
                "prompt_id": prompt["id"],
                "kind": "outfit",
                "outfit": prompt["outfit"],
                "prompt": f"{MANNERS['prefix']}, {'hana_emb, ' if word else ''}{prompt['text']}",
                "seed": seed,
                "file": f"{base}/{step}{'' if word else '_text'}_{weight}/{prompt['id']}-{seed}.png",
                "kept": True,
                "rating": [],
                "identity_distance": 0.1 if recognised else 0.3,
                "recognised": recognised,
                "outfit_drawn": prompt["outfit"] if place % 5 else None,
                "asked": ["red_kimono", "smile"],
                "seen": ["red_kimono"],
                "core_seen": 0.8,
                "faults": [],
                "training_likeness": 0.3,
                "training_view": None,
                "memorised": place == 3 and step == BEST,
                "embedding_vector": None,
            }


@cache
def counted(embedding: bool) -> Row:
    """What `selection.json` holds."""
    rows = [
        row if embedding else {**row, "embedding": False}
        for row in score_rows()
        if embedding or row["embedding"] or not row["step"]
    ]
    rule = SelectionRule(scores={"recognised": 3, "outfit": 2}, first=1.0, keep=0.5)
    names = [f"step-{step:06d}" for step in STEPS]
    chosen = choose(rows, list(BASES), names, rule, 0.178, "scores.parquet")
    bases = [base_of(name) for name in BASES]
    shown = ("prefix", "suffix", "negative", "sampler", "schedule", "guidance", "rescale", "prediction", "zero_snr")
    manners = [{"base": base.name, **{key: getattr(base, key) for key in shown}} for base in bases]
    settings = {"threshold": 0.178, "bases": manners, "width": 832, "height": 1216, "steps": 25}
    recorded = [
        {"name": base.name, "repo": base.repo, "file": base.file, "digest": base.digest or "ab" * 32} for base in bases
    ]
    return {**chosen, "bases": recorded, "settings": settings, "rule": "the score", "weak": None}


def selection(embedding: bool = True) -> Row:
    """The same, to be changed."""
    return deepcopy(counted(embedding))


def model_card(**changes: Any) -> ModelCard:
    """A card of a model with an embedding, published nowhere."""
    embedding = changes.get("embedding", True)
    examples = [
        {
            "file": f"previews/{start}{outfit}-{scene}-7.png",
            "prompt": f"{MANNERS['prefix']}, {word}{TRIGGER}, hana_{outfit}, 1girl, {scene}",
            "seed": 7,
            "outfit": outfit,
            "embedding": bool(word),
            "shown": scene == "full_body",
        }
        for start, word in ((("", "hana_emb, "), ("text-", "")) if embedding else (("", ""),))
        for scene in SCENES[:2]
        for outfit in ("red_kimono", "school_uniform")
    ]
    values: Row = {
        "character": CHARACTER,
        "base": base_of("illustrious-xl-v0.1"),
        "selection": selection(embedding),
        "outfits": outfits_file(),
        "content": "cd" * 32,
        "version": "ef" * 32,
        "examples": examples,
        "embedding": embedding,
        "metadata": METADATA,
        "pictures": 120,
    }
    return ModelCard(**{**values, **changes})


def write_repository(card: ModelCard, folder: Path) -> Path:
    """The files of the repository that the card names; weights are empty."""
    files = [lora_file(CHARACTER), *(file for step in STEPS for file in step_files(CHARACTER, step))]
    for name in [*files, embedding_file(CHARACTER), bundle_file(CHARACTER), "training/lineage.json"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    write_json(folder / "selection.json", card.selection)
    (folder / "previews").mkdir(exist_ok=True)
    for number, entry in enumerate(card.examples):
        drawn(number).save(folder / entry["file"])
    tiles = [folder / entry["file"] for entry in card.examples]
    titles = [f"{base}: {side}" for base in BASES for side in ("without LoRA", f"step-{BEST:06d}")]
    lines = [[tiles[(line + place) % len(tiles)] for place in range(len(titles))] for line in range(4)]
    write_grid(titles, lines, folder / "previews" / "grid.webp")
    dataset = folder.parent / "dataset"
    dataset.mkdir(exist_ok=True)
    (dataset / "README.md").touch()
    return folder


def drawn(number: int) -> Image.Image:
    """A person of a few shapes, in clothes of the picture's own colour."""
    image = Image.new("RGB", (208, 304), (235, 240, 250))
    pen = ImageDraw.Draw(image)
    pen.ellipse((54, 30, 154, 150), fill=(60, 90, 200))
    pen.ellipse((72, 52, 136, 132), fill=(250, 220, 200))
    pen.polygon([(104, 130), (40, 290), (168, 290)], fill=((90 * number) % 256, 60, 120))
    return image


def dataset_card(**changes: Any) -> DatasetCard:
    """The card of the dataset that the model was trained on."""
    views = [
        {"view": f"{number:064x}/picture/0", "split": "held_out" if number % 10 == 0 else "train", "outfit": outfit}
        for outfit, _, _, pictures, _ in OUTFITS
        for number in range(pictures)
    ]
    values: Row = {
        "character": CHARACTER,
        "content": "cd" * 32,
        "outfits": outfits_file(),
        "core": [{"tag": "blue_hair", "share": 0.97}, {"tag": "long_hair", "share": 0.91}],
        "views": views,
        "counts": {"train": 48, "held_out": 6},
        "funnel": {"pictures": 90, "views": 110, "kept": 54, "dropped": [("identity", 30), ("duplicate", 26)]},
        "sources": {"sites": [("danbooru", 60)], "artists": [("aoi", 30), ("maker_(b)", 3)], "pictures": 54},
        "resolution": 1280,
        "samples": {"red_kimono": "samples/red_kimono.webp"},
    }
    return DatasetCard(**{**values, **changes})
