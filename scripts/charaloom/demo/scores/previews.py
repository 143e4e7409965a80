"""How good previews are, by a judge of its own and the truth of demo worlds: what `make score PREVIEWS=…` prints.

The judge (`demo.judge`) was trained apart from every model that the workflow asks. It sees the previews of the chosen
checkpoint, and those of all other checkpoints, drawn in full for this only.

who, who on …
    Share of the previews (her trigger given, LoRA weight 1) that the judge takes for her, of a hundred people; on the
    base that was trained on, and on every other one.
without LoRA
    The same of the base that was trained on, alone.
outfit, outfit on …
    Share of the previews that ask for an outfit in which the judge sees that one, of all of hers and 24 others.
chosen / best
    The judge's mean of both for the chosen checkpoint, by that of the best checkpoint; both drew all prompts on the
    base that was trained on. Over the characters of a line its mean.
drawn
    Previews that were drawn, by those that all checkpoints in full would have taken.
"""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from charaloom.artifacts.files import digest, read_json, sha256_file, write_json
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import Row
from charaloom.demo.models.classifier import MODEL, Judge
from charaloom.demo.scores.stages import Counts, Summed, count_outfits, kept_views, pictures_seen
from charaloom.demo.world.building import cast_of
from charaloom.demo.world.cast import Character, Outfit
from charaloom.diffusion.bases import LocalBase, local_base
from charaloom.diffusion.pipelines import WITHOUT_LORA, Checkpoint, Easel, read_checkpoints
from charaloom.evaluation.previews import Prompt, read_prompts
from charaloom.evaluation.selection import PLAIN

if TYPE_CHECKING:
    from PIL import Image


@dataclass
class PreviewCounts(Summed):
    """What the figures are made of; characters and worlds add up."""

    shown: Counter[str] = field(default_factory=Counter)  # previews that name her, by base; `none` without LoRA
    known: Counter[str] = field(default_factory=Counter)  # of those: taken for her
    dressed: Counter[str] = field(default_factory=Counter)  # previews that ask for an outfit, by base
    worn: Counter[str] = field(default_factory=Counter)  # of those: in that outfit
    against_best: list[float] = field(default_factory=list)
    drawn: int = 0
    full: int = 0


@dataclass
class Told:
    """What is true of one character: who she is, and her true outfit behind the name of each one found."""

    somebody: Character
    outfits: dict[str, Outfit]

    def judged(self, judge: Judge, picture: "Image.Image", outfit: str | None) -> tuple[bool, bool | None]:
        return judge.judged(picture, self.somebody, self.outfits.get(outfit or ""))


def counted(folder: Path, character: str, truth: Row, params: Row, checkpoints: Path, work: Path) -> PreviewCounts:
    """Everything that is counted of one finished character; `params` are those of the stage previews."""
    judge, told = Judge(), truth_of(folder, character, truth)
    selection = read_json(folder / "selection.json")
    rows = read_table(folder / "previews" / "scores.parquet")
    found = PreviewCounts(drawn=selection["cost"]["drawn"], full=selection["cost"]["full"])
    chosen = [row for row in rows if row["checkpoint"] == selection["chosen"] and row["weight"] == 1]
    with_word = any(row["embedding"] for row in chosen)
    for row in chosen:
        if row["kind"] != PLAIN and row["embedding"] == with_word:
            count(found, row["base"], told.judged(judge, opened(folder, row), row["outfit"]))
    for row in rows:
        if row["checkpoint"] == WITHOUT_LORA and row["base"] == selection["base"] and row["kind"] != PLAIN:
            count(found, WITHOUT_LORA, told.judged(judge, opened(folder, row), row["outfit"]))
    values = values_of_all(folder, character, params, checkpoints, work, judge, told)
    found.against_best.append(values[selection["chosen"]] / max(values.values()) if max(values.values()) else 1.0)
    return found


def count(found: PreviewCounts, where: str, judged: tuple[bool, bool | None]) -> None:
    who, worn = judged
    found.shown[where] += 1
    found.known[where] += who
    if worn is not None:
        found.dressed[where] += 1
        found.worn[where] += worn


def opened(folder: Path, row: Row) -> "Image.Image":
    from PIL import Image

    with Image.open(folder / "previews" / row["file"]) as picture:
        return picture.convert("RGB")


def truth_of(folder: Path, character: str, truth: Row) -> Told:
    stars, _ = cast_of(Random(truth["seed"]), len(truth["characters"]))
    somebody = next(star for star in stars if star.name == character)
    counts = Counts()
    count_outfits(counts, folder, character, pictures_seen(folder, truth["posts"]), kept_views(folder))
    inside: dict[str, Counter[str]] = defaultdict(Counter)
    for worn, cluster in zip(counts.worn, counts.clustered, strict=True):
        inside[cluster.split("/", 1)[1]][worn.split("/", 1)[1]] += 1
    true = {outfit.name: outfit for outfit in somebody.outfits}
    mostly = {name: max(worn, key=lambda one: (worn[one], one)) for name, worn in inside.items()}
    return Told(somebody, {name: true[worn] for name, worn in mostly.items()})


def values_of_all(
    folder: Path, character: str, params: Row, checkpoints: Path, work: Path, judge: Judge, told: Told
) -> dict[str, float]:
    """The judge's value of every checkpoint: the mean of who and outfit over all prompts on the training base.

    What was judged once is kept in `work`, by all that it depends on.
    """
    prompts = [one for one in read_prompts(folder / "outfits.json", character, params) if one.kind != PLAIN]
    steps, local = read_checkpoints(checkpoints), local_base(params["bases"][0], work)
    files = [MODEL, *(path for step in steps for path in (step.lora, step.embedding) if path)]
    drawing = {name: params[name] for name in ("batch", "negative", "width", "height", "steps", "guidance", "threads")}
    key = digest([drawing, local.digest, [asdict(one) for one in prompts], [sha256_file(path) for path in files]])
    kept = work / character / "judged" / f"{key[:16]}.json"
    if not kept.exists():
        write_json(kept, judged_values(params, local, prompts, steps, judge, told))
    values: dict[str, float] = read_json(kept)
    print(f"{character}: {', '.join(f'{name} {value:.3f}' for name, value in values.items())}", flush=True)
    return values


def judged_values(
    params: Row, local: LocalBase, prompts: list[Prompt], steps: list[Checkpoint], judge: Judge, told: Told
) -> dict[str, float]:
    """Draw every prompt with every checkpoint, and judge it."""
    easel = Easel(local.folder, params["bases"][0]["family"], local.clip_skip, params["threads"])
    values = {}
    for checkpoint in steps:
        who, worn = Counter[bool](), Counter[bool]()
        for start in range(0, len(prompts), params["batch"]):
            some = prompts[start : start + params["batch"]]
            for prompt, picture in zip(some, drawn(easel, checkpoint, some, params), strict=True):
                known, dressed = told.judged(judge, picture, prompt.outfit)
                who[known] += 1
                if dressed is not None:
                    worn[dressed] += 1
        shares = [found[True] / found.total() for found in (who, worn) if found.total()]
        values[checkpoint.name] = sum(shares) / len(shares)
    return values


def drawn(easel: Easel, checkpoint: Checkpoint, prompts: list[Prompt], params: Row) -> list["Image.Image"]:
    texts, seeds = [prompt.text for prompt in prompts], [prompt.seed for prompt in prompts]
    return easel.draw(checkpoint, texts, seeds, params)


def columns(bases: list[str]) -> tuple[str, ...]:
    """Columns of the table; the first of `bases` is the one that was trained on."""
    others = bases[1:]
    who = ("who", *(f"who on {short(base)}" for base in others), "without LoRA")
    return ("", *who, "outfit", *(f"outfit on {short(base)}" for base in others), "chosen / best", "drawn")


def short(base: str) -> str:
    return base.rsplit("-", 1)[-1]


def figures(name: str, found: PreviewCounts, bases: list[str]) -> Row:
    """One line of the table, as numbers."""
    who = [share(found.known[base], found.shown[base]) for base in (*bases, WITHOUT_LORA)]
    outfit = [share(found.worn[base], found.dressed[base]) for base in bases]
    best = round(sum(found.against_best) / len(found.against_best), 4) if found.against_best else None
    return dict(zip(columns(bases), [name, *who, *outfit, best, share(found.drawn, found.full)], strict=True))


def share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
