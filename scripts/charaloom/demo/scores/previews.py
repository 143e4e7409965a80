"""How good previews are, by an independent classifier and the truth of demo worlds: `make score PREVIEWS=…`.

The classifier (`demo.models.classifier`) was trained apart from every model of the workflow. It sees the previews of
the chosen checkpoint, and those of all other checkpoints, rendered in full for this only.

who, who on …
    Share of the previews (the character's trigger given, LoRA weight 1) that the classifier takes for the character, of
    a hundred people; on the base that was trained on, and on every other one.
without LoRA
    The same of the base that was trained on, alone.
outfit, outfit on …
    Share of the previews of an outfit in which the classifier sees that one, of all of the character's and 24 others.
chosen / best
    The classifier's mean of both for the chosen checkpoint, by that of the best checkpoint; both rendered all prompts
    on the base that was trained on. Over the characters of a line its mean.
drawn
    Previews that were rendered, by those that all checkpoints in full would have taken.
"""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from charaloom.artifacts.files import digest, read_json, sha256_file, write_json
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import Row
from charaloom.config.params import Previews
from charaloom.demo.models.classifier import MODEL, Classifier
from charaloom.demo.scores.stages import Counts, Summed, count_outfits, kept_views, pictures_seen, share
from charaloom.demo.world.building import cast_of
from charaloom.demo.world.cast import Character, Outfit
from charaloom.diffusion.bases import LocalBase, local_base, without_path
from charaloom.diffusion.checkpoints import WITHOUT_LORA, Checkpoint, read_checkpoints
from charaloom.diffusion.pipelines import BasePipeline
from charaloom.evaluation.prompts import Prompt, read_prompts
from charaloom.outfits.prompts import PLAIN
from charaloom.runtime.precision import resolved_precision

if TYPE_CHECKING:
    from PIL import Image

RENDERING = ("batch", "width", "height", "steps", "threads", "precision")  # params that decide the pixels


@dataclass
class PreviewCounts(Summed):
    """What the figures are made of; characters and worlds add up."""

    named: Counter[str] = field(default_factory=Counter)  # previews that name the character, by base
    recognised: Counter[str] = field(default_factory=Counter)  # of those: taken for the character
    dressed: Counter[str] = field(default_factory=Counter)  # previews of an outfit, by base
    worn: Counter[str] = field(default_factory=Counter)  # of those: in that outfit
    against_best: list[float] = field(default_factory=list)
    drawn: int = 0
    full: int = 0


@dataclass
class Truth:
    """What is true of one character: who they are, and the true outfit behind the id of each one found."""

    character: Character
    outfits: dict[str, Outfit]

    def judged(self, classifier: Classifier, picture: "Image.Image", outfit: str | None) -> tuple[bool, bool | None]:
        return classifier.judged(picture, self.character, self.outfits.get(outfit or ""))


@dataclass(frozen=True)
class Judging:
    """One finished character and how its previews are judged."""

    folder: Path  # results of the character
    character: str
    params: Previews
    checkpoints: Path
    work: Path
    classifier: Classifier
    truth: Truth


def counted(folder: Path, character: str, truth: Row, params: Previews, checkpoints: Path, work: Path) -> PreviewCounts:
    """Everything that is counted of one finished character."""
    classifier, facts = Classifier(), truth_of(folder, character, truth)
    selection = read_json(folder / "selection.json")
    rows = read_table(folder / "previews" / "scores.parquet")
    counts = PreviewCounts(drawn=selection["cost"]["drawn"], full=selection["cost"]["full"])
    chosen = [row for row in rows if row["checkpoint"] == selection["chosen"] and row["weight"] == 1]
    with_embedding = any(row["embedding"] for row in chosen)
    for row in chosen:
        if row["kind"] != PLAIN and row["embedding"] == with_embedding:
            count(counts, row["base"], facts.judged(classifier, opened(folder, row), row["outfit"]))
    for row in rows:
        if row["checkpoint"] == WITHOUT_LORA and row["base"] == selection["base"] and row["kind"] != PLAIN:
            count(counts, WITHOUT_LORA, facts.judged(classifier, opened(folder, row), row["outfit"]))
    values = values_of_all(Judging(folder, character, params, checkpoints, work, classifier, facts))
    best = max(values.values())
    counts.against_best.append(values[selection["chosen"]] / best if best else 1.0)
    return counts


def count(counts: PreviewCounts, base: str, judged: tuple[bool, bool | None]) -> None:
    recognised, worn = judged
    counts.named[base] += 1
    counts.recognised[base] += recognised
    if worn is not None:
        counts.dressed[base] += 1
        counts.worn[base] += worn


def opened(folder: Path, row: Row) -> "Image.Image":
    from PIL import Image

    with Image.open(folder / "previews" / row["file"]) as picture:
        return picture.convert("RGB")


def truth_of(folder: Path, character: str, truth: Row) -> Truth:
    """The character, drawn again from the world's seed, and the outfit that most pictures of each found one wear."""
    stars, _ = cast_of(Random(truth["seed"]), len(truth["characters"]))
    star = next(star for star in stars if star.name == character)
    counts = Counts()
    count_outfits(counts, folder, character, pictures_seen(folder, truth["posts"]), kept_views(folder))
    worn_in: dict[str, Counter[str]] = defaultdict(Counter)
    for worn, cluster in zip(counts.worn, counts.clustered, strict=True):
        worn_in[cluster.split("/", 1)[1]][worn.split("/", 1)[1]] += 1
    outfits = {outfit.name: outfit for outfit in star.outfits}
    mostly = {name: max(worn, key=lambda outfit: (worn[outfit], outfit)) for name, worn in worn_in.items()}
    return Truth(star, {name: outfits[worn] for name, worn in mostly.items()})


def values_of_all(judging: Judging) -> dict[str, float]:
    """The classifier's value of every checkpoint: the mean of who and outfit over all prompts on the training base.

    What was judged once is kept in `work`, under a key of all that it depends on.
    """
    params, character = judging.params, judging.character
    prompts = read_prompts(judging.folder / "outfits.json", character, params)
    prompts = [prompt for prompt in prompts if prompt.kind != PLAIN]
    checkpoints, base = read_checkpoints(judging.checkpoints), local_base(params.bases[0], judging.work)
    files = [MODEL, *(path for step in checkpoints for path in (step.lora, step.embedding) if path)]
    rendering = {name: getattr(params, name) for name in RENDERING}
    key = digest(
        [
            rendering,
            base.digest,
            without_path(base.manners.plain()),
            [asdict(prompt) for prompt in prompts],
            [sha256_file(path) for path in files],
        ]
    )
    kept = judging.work / character / "judged" / f"{key[:16]}.json"
    if not kept.exists():
        write_json(kept, judged_values(judging, base, prompts, checkpoints))
    values: dict[str, float] = read_json(kept)
    print(f"{character}: {', '.join(f'{name} {value:.3f}' for name, value in values.items())}", flush=True)
    return values


def judged_values(
    judging: Judging, base: LocalBase, prompts: list[Prompt], checkpoints: list[Checkpoint]
) -> dict[str, float]:
    """Render every prompt with every checkpoint, and judge it."""
    params = judging.params
    pipeline = BasePipeline(base, params.threads, resolved_precision(params.precision))
    values = {}
    for checkpoint in checkpoints:
        recognised, worn = list[bool](), list[bool]()
        for start in range(0, len(prompts), params.batch):
            batch = prompts[start : start + params.batch]
            for prompt, picture in zip(batch, rendered(pipeline, checkpoint, batch, params), strict=True):
                is_character, is_outfit = judging.truth.judged(judging.classifier, picture, prompt.outfit)
                recognised.append(is_character)
                if is_outfit is not None:
                    worn.append(is_outfit)
        shares = [sum(answers) / len(answers) for answers in (recognised, worn) if answers]
        values[checkpoint.name] = sum(shares) / len(shares)
    return values


def rendered(
    pipeline: BasePipeline, checkpoint: Checkpoint, prompts: list[Prompt], params: Previews
) -> list["Image.Image"]:
    texts, seeds = [prompt.text for prompt in prompts], [prompt.seed for prompt in prompts]
    return pipeline.render(checkpoint, texts, seeds, params)


def columns(bases: list[str]) -> tuple[str, ...]:
    """Columns of the table; the first of `bases` is the one that was trained on."""
    who = ("who", *(f"who on {short(base)}" for base in bases[1:]), "without LoRA")
    return ("", *who, "outfit", *(f"outfit on {short(base)}" for base in bases[1:]), "chosen / best", "drawn")


def short(base: str) -> str:
    return base.rsplit("-", 1)[-1]


def figures(name: str, counts: PreviewCounts, bases: list[str]) -> Row:
    """One line of the table, as numbers."""
    who = [share(counts.recognised[base], counts.named[base]) for base in (*bases, WITHOUT_LORA)]
    outfit = [share(counts.worn[base], counts.dressed[base]) for base in bases]
    best = round(sum(counts.against_best) / len(counts.against_best), 4) if counts.against_best else None
    return dict(zip(columns(bases), [name, *who, *outfit, best, share(counts.drawn, counts.full)], strict=True))
