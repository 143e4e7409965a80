"""Previews: checkpoints draw the same prompts from the same seeds, in rounds that the weaker ones do not survive.

What is drawn: on the training base (the first of `bases`) every checkpoint draws the first prompts, those that stay
draw more (`selection`), the last one all of them. Then to show what it is worth: the chosen checkpoint on every other
base; the bases without LoRA (`none`), the chosen checkpoint at other LoRA weights and by its text trigger alone, all
on the first prompts (`sweep`).

Pictures are drawn in fixed batches, rated before they are kept, and judged at once (`judging`). A finished batch
survives a kill in `work`, and a batch is drawn whole or not at all, so that a resumed run gives the same bytes as an
undisturbed one.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts import locks
from charaloom.artifacts.files import digest, read_json, safe_name, sha256_file, whole_folder, write_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.seeds import derive_seed
from charaloom.artifacts.tables import SCORES, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.diffusion.bases import LocalBase, local_base
from charaloom.diffusion.generation import generation_texts, png
from charaloom.diffusion.pipelines import (
    NOTHING,
    SAMPLER,
    SCHEDULE,
    Checkpoint,
    Easel,
    embedding_word,
    positive,
    read_checkpoints,
)
from charaloom.errors import CharaloomError
from charaloom.evaluation.judging import Asked, Judge, held_out_files
from charaloom.evaluation.selection import numbers, schedule, survivors
from charaloom.outfits.prompts import OUTFIT

if TYPE_CHECKING:
    from PIL import Image

BLANK = (128, 128, 128)
SOFTWARE = ("torch", "diffusers", "transformers", "peft", "dghs-imgutils", "onnxruntime", "pillow", "numpy")
DRAWING = ("guidance", "height", "memorised", "negative", "rating_model", "software", "steps", "threads", "width")


@dataclass(frozen=True)
class Prompt:
    """One picture asked for: the same prompt and seed on every checkpoint and base."""

    id: str
    kind: str
    outfit: str | None
    text: str
    seed: int
    asked: tuple[str, ...]

    @property
    def file(self) -> str:
        return f"{self.id}-{self.seed}.png"


@dataclass(frozen=True)
class Batch:
    """Pictures drawn in one call; `key` is what they are a function of, and names the folder they survive in."""

    base: Row
    checkpoint: Checkpoint
    prompts: tuple[Prompt, ...]
    round: int | None
    key: str

    def file(self, prompt: Prompt) -> str:
        return f"{self.base['name']}/{self.checkpoint.folder}/{prompt.file}"


def render(
    character: str,
    params: Row,
    checkpoints: PathLike,
    checkpoints_manifest: PathLike,
    outfits: PathLike,
    dataset: PathLike,
    measured: PathLike,
    clustered: PathLike,
    hub: PathLike,
    models_manifest: PathLike,
    folder: PathLike,
    manifest: PathLike,
    work: PathLike,
) -> None:
    """Draw, rate and judge the previews of one character; write the `previews` folder with its `scores.parquet`.

    Raises CharaloomError where there are no prompts, checkpoints or held-out pictures, or a base is of no use.
    """
    upstream = {"checkpoints": os.fspath(checkpoints_manifest), "models": os.fspath(models_manifest)}
    local = {base["name"]: local_base(base, work) for base in params["bases"]}
    params = known(params, local)
    facts = lineage("previews", character, without_paths(params), upstream)
    prompts = read_prompts(outfits, character, params)
    steps = read_checkpoints(checkpoints)
    judged_by = Sources(outfits, dataset, measured, clustered, hub, models_manifest)
    with studio_of(character, params, judged_by, local, work) as studio:
        store = studio.store
        batches = list(rounds(studio, prompts, steps))
        rows = [row for batch in batches for row in studio.rows(batch)]
        with whole_folder(folder) as part:
            copy_pictures(batches, store, part)
            write_table(part / "scores.parquet", rows, SCORES, "file", facts)
        forget_others(store, {batch.key for batch in batches})
    counts = {"pictures": len(rows), "withheld": sum(not row["kept"] for row in rows), "prompts": len(prompts)}
    write_manifest(
        manifest,
        facts,
        {"previews": folder},
        counts,
        bases=without_paths(params)["bases"],
        checkpoints=[step.name for step in steps],
        settings=settings(params, studio.judge.threshold),
    )


@dataclass(frozen=True)
class Sources:
    """Files that tell what to draw, and what it is judged by."""

    outfits: PathLike
    dataset: PathLike
    measured: PathLike
    clustered: PathLike
    hub: PathLike
    models_manifest: PathLike


def first_scores(
    character: str, params: Row, steps: list[Checkpoint], sources: Sources, work: PathLike
) -> dict[str, float]:
    """Score of each checkpoint by the first round alone; its pictures are kept for when the rounds are drawn."""
    local = {base["name"]: local_base(base, work) for base in params["bases"][:1]}
    prompts = read_prompts(sources.outfits, character, params)
    first = prompts[: part_of(prompts, params["selection"]["first"])]
    with studio_of(character, known(params, local), sources, local, work) as studio:
        base = studio.params["bases"][0]
        batches = {step.name: studio.batches(base, step, first, 1) for step in steps}
        studio.draw([batch for drawn in batches.values() for batch in drawn])
        rows = {name: [row for batch in drawn for row in studio.rows(batch)] for name, drawn in batches.items()}
        scores = {name: numbers(found, params["selection"], studio.judge.threshold) for name, found in rows.items()}
    return {name: found["score"] or 0.0 for name, found in scores.items()}


# --- what is drawn ----------------------------------------------------------------------------------------------------


def read_prompts(outfits: PathLike, character: str, params: Row) -> list[Prompt]:
    """Prompts of `outfits.json` in the order they are drawn: `scenes` of each outfit once, all others `seeds` times.

    Outfits take turns, each beginning with another scene, so that the first round sees all outfits and many scenes.
    """
    turns: list[tuple[int, int, int, Prompt]] = []
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for entry in read_json(outfits)["prompts"]:
        groups.setdefault((entry["kind"], entry.get("outfit")), []).append(entry)
    for place, ((kind, _), entries) in enumerate(groups.items()):
        drawn = entries[: params["scenes"]] if kind == OUTFIT else entries
        for index, entry in enumerate(drawn):
            for number in range(1 if kind == OUTFIT else params["seeds"]):
                turn = (index - place) % len(drawn)
                turns.append((number, turn, place, prompt_of(entry, character, params, number)))
    if not turns:
        raise CharaloomError(
            f"{outfits}: no prompts to draw. Lower clustered.minimum_support, or raise previews.scenes above 0."
        )
    return [prompt for *_, prompt in sorted(turns, key=lambda entry: entry[:3])]


def prompt_of(entry: Row, character: str, params: Row, number: int) -> Prompt:
    seed = derive_seed(params["seed"], character, f"preview/{entry['id']}/{number}")
    name = safe_name(entry["id"])
    return Prompt(name, entry["kind"], entry.get("outfit"), entry["text"], seed, tuple(entry["asked"]))


def rounds(studio: "Studio", prompts: list[Prompt], steps: list[Checkpoint]) -> Iterator[Batch]:
    """Draw the rounds of the selection on the training base, then what shows the choice; every batch in its order."""
    params, rule = studio.params, studio.params["selection"]
    plan = schedule(len(steps), rule)
    parts = segments(len(prompts), [share for _, share in plan])
    base, *others = params["bases"]
    alive = steps
    drawn: list[Batch] = []
    for number, part in enumerate(parts, 1):
        fresh = [batch for step in alive for batch in studio.batches(base, step, prompts[part], number)]
        studio.draw(fresh)
        yield from fresh
        drawn += fresh
        names = {step.name for step in alive}
        rows = [row for batch in drawn if batch.checkpoint.name in names for row in studio.rows(batch)]
        if len(alive) > 1:
            by_name = {step.name: step for step in alive}
            alive = [by_name[name] for name in survivors(rows, rule, studio.judge.threshold)]
    shown = [batch for other in others for part in parts for batch in studio.batches(other, alive[0], prompts[part])]
    shown += extras(studio, prompts[: part_of(prompts, params["sweep"])], alive[0])
    studio.draw(sorted(shown, key=lambda batch: studio.place[batch.base["name"]]))
    yield from shown


def extras(studio: "Studio", prompts: list[Prompt], chosen: Checkpoint) -> Iterator[Batch]:
    """On the first prompts: each base alone, the chosen checkpoint at other weights, and by text alone."""
    for base in studio.params["bases"]:
        yield from studio.batches(base, NOTHING, prompts)
        for weight in studio.params["weights"]:
            if weight != 1:
                yield from studio.batches(base, chosen.weighing(weight), prompts)
    if chosen.embedding:
        yield from studio.batches(studio.params["bases"][0], chosen.by_text_alone(), prompts)


def segments(prompts: int, shares: Iterable[float]) -> list[slice]:
    """What each round adds to the prompts, as slices; rounds that add nothing are left out, the first never is."""
    found, start = [], 0
    for share in shares:
        end = part_of(range(prompts), share)
        if end > start:
            found.append(slice(start, end))
            start = end
    return found


def part_of(prompts: Sized, share: float) -> int:
    """How many prompts a share of them is, at least one."""
    return min(max(ceil(share * len(prompts)), 1), len(prompts))


def parcels(prompts: list[Prompt], most: int) -> list[tuple[Prompt, ...]]:
    """Prompts in as few parcels of at most so many as there can be, all about as large."""
    size = ceil(len(prompts) / ceil(len(prompts) / most)) if prompts else 1
    return [tuple(prompts[start : start + size]) for start in range(0, len(prompts), size)]


def settings(params: Row, threshold: float) -> Row:
    """How the previews were drawn and judged, as pages and cards tell it."""
    shown = {key: params[key] for key in ("negative", "width", "height", "steps", "guidance", "memorised", "weights")}
    return {**shown, "sampler": SAMPLER, "schedule": SCHEDULE, "threshold": round(threshold, 6)}


# --- drawing and keeping ----------------------------------------------------------------------------------------------


def known(params: Row, local: dict[str, LocalBase]) -> Row:
    """`params` with what else decides the bytes: the digests of bases that are here, the versions of the libraries."""
    bases = [
        {**base, "digest": local[base["name"]].digest} if base["name"] in local else base for base in params["bases"]
    ]
    return {**params, "bases": bases, "software": {name: version(name) for name in SOFTWARE}}


@contextmanager
def studio_of(
    character: str, params: Row, sources: Sources, local: dict[str, LocalBase], work: PathLike
) -> Iterator["Studio"]:
    """The studio of one character, for one run at a time. Raises CharaloomError where another one draws."""
    core = read_json(sources.outfits)["core"]
    judge = Judge(sources.hub, held_out_files(sources.dataset), core, sources.measured, sources.clustered, params)
    judged_by = (*judge.held_out, sources.measured, sources.clustered, sources.models_manifest)
    store = Path(work) / character / "previews"
    with locked(store):
        yield Studio(character, params, store, judge, local, [sha256_file(path) for path in judged_by])


class Studio:
    """Draws, judges and keeps batches; one base is open at a time, and one whose pictures are there is never opened."""

    def __init__(
        self,
        character: str,
        params: Row,
        store: Path,
        judge: Judge,
        local: dict[str, LocalBase],
        judged_by: list[str],
    ):
        self.character, self.params, self.store, self.judge = character, params, store, judge
        self.local, self.judged_by = local, judged_by
        self.place = {base["name"]: index for index, base in enumerate(params["bases"])}
        self.opened: tuple[str, Easel] | None = None
        self.progress = Progress(character)

    def batches(
        self, base: Row, checkpoint: Checkpoint, prompts: list[Prompt], number: int | None = None
    ) -> list[Batch]:
        """The batches of one checkpoint on one base; their make-up depends on nothing that a restart changes."""
        drawing = {key: self.params[key] for key in ("version", *DRAWING)}
        loaded = [sha256_file(path) if path else None for path in (checkpoint.lora, checkpoint.embedding)]
        name = [checkpoint.name, checkpoint.folder, checkpoint.weight, number]
        found = []
        for asked in parcels(prompts, self.params["batch"]):
            told = [self.character, drawing, without_path(base), name, loaded, [asdict(one) for one in asked]]
            key = digest([*told, self.judged_by])[:32]
            found.append(Batch(base, checkpoint, asked, number, key))
        return found

    def draw(self, batches: list[Batch]) -> None:
        """Draw the batches that the store does not hold yet."""
        missing = [batch for batch in batches if not (self.store / batch.key / "rows.json").exists()]
        self.progress.expect(batches, missing)
        for batch in missing:
            pictures = self.easel(batch.base).draw(
                batch.checkpoint,
                [prompt.text for prompt in batch.prompts],
                [prompt.seed for prompt in batch.prompts],
                self.params,
            )
            self.keep(batch, pictures)
            self.progress.advance(len(batch.prompts))

    def easel(self, base: Row) -> Easel:
        if self.opened is None or self.opened[0] != base["name"]:
            self.opened = None  # so that two bases never lie in memory together
            folder = self.local[base["name"]].folder
            self.opened = base["name"], Easel(folder, base["family"], base["clip_skip"], self.params["threads"])
        return self.opened[1]

    def keep(self, batch: Batch, pictures: list["Image.Image"]) -> None:
        """Judge and store the pictures of a batch; one rated above the allowed rating is never written."""
        judged = self.judge.judged(pictures, [Asked(prompt.outfit, prompt.asked) for prompt in batch.prompts])
        rows = []
        with whole_folder(self.store / batch.key) as part:
            for prompt, picture, measures in zip(batch.prompts, pictures, judged, strict=True):
                tile = picture if measures["kept"] else blank(picture.size)
                texts = generation_texts(
                    self.character, prompt.text, prompt.seed, batch.checkpoint, batch.base, self.params
                )
                (part / prompt.file).write_bytes(png(tile, texts))
                rows.append({**self.facts(batch, prompt), **measures})
            write_json(part / "rows.json", rows)

    def facts(self, batch: Batch, prompt: Prompt) -> Row:
        """What is known of a picture before it is looked at."""
        checkpoint = batch.checkpoint
        return {
            "base": batch.base["name"],
            "checkpoint": checkpoint.name,
            "step": checkpoint.step,
            "weight": checkpoint.weight,
            "embedding": checkpoint.embedding is not None,
            "round": batch.round,
            "prompt_id": prompt.id,
            "kind": prompt.kind,
            "outfit": prompt.outfit,
            "prompt": positive(prompt.text, checkpoint, embedding_word(self.character)),
            "seed": prompt.seed,
            "file": batch.file(prompt),
        }

    def rows(self, batch: Batch) -> list[Row]:
        return read_json(self.store / batch.key / "rows.json")


def blank(size: tuple[int, int]) -> "Image.Image":
    """The tile that stands for a picture that was not kept."""
    from PIL import Image

    return Image.new("RGB", size, BLANK)


def copy_pictures(batches: list[Batch], store: Path, folder: Path) -> None:
    for batch in batches:
        for prompt in batch.prompts:
            target = folder / batch.file(prompt)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store / batch.key / prompt.file, target)


def forget_others(store: Path, wanted: set[str]) -> None:
    """Remove batches that the finished folder does not use, so that `work` does not grow with every config."""
    for path in store.iterdir():
        if path.is_dir() and path.name not in wanted:
            shutil.rmtree(path)


# --- around it --------------------------------------------------------------------------------------------------------


class Progress:
    """Lines for the log: pictures done, pictures a second, time left in this round."""

    def __init__(self, character: str) -> None:
        self.character, self.total, self.missing, self.done = character, 0, 0, 0
        self.began = time.monotonic()

    def expect(self, batches: list[Batch], missing: list[Batch]) -> None:
        asked, absent = (sum(len(batch.prompts) for batch in some) for some in (batches, missing))
        self.total += asked
        self.missing += absent
        if absent < asked:
            print(f"previews {self.character}: {asked - absent} of {asked} pictures are there from an earlier run")

    def advance(self, pictures: int) -> None:
        self.done += pictures
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        left = (self.missing - self.done) / rate
        done = self.total - self.missing + self.done
        print(f"previews {self.character}: {done}/{self.total} pictures, {rate:.2f}/s, {left:.0f} s left", flush=True)


def locked(store: Path) -> AbstractContextManager[int]:
    """Hold the store of one character's previews: a second run on it stops at once."""
    return locks.locked(store / "lock", f"{store}: another run draws here; wait for it or stop it", 0.0)


def without_path(base: Row) -> Row:
    """A base as lineage knows it, by its digest: a path of this machine is none of its properties."""
    return {key: value for key, value in base.items() if key not in {"path", "config"}}


def without_paths(params: Row) -> Row:
    return {**params, "bases": [without_path(base) for base in params["bases"]]}
