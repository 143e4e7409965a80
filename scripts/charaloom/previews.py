"""Previews: every checkpoint draws the same prompts from the same seeds; rated before they are kept, scored by CCIP.

What is drawn: on the training base (the first of `bases`) every checkpoint, the base without LoRA (`none`) and, where
an embedding was trained, the last checkpoint once more by its text trigger alone (`…_text`: what the embedding adds);
on the other bases the last checkpoint and `none`. What is measured: the median CCIP distance of the person drawn to
the held-out pictures of the dataset, which never trained.

Pictures are drawn in fixed batches. A finished batch survives a kill in `work`, and a batch is drawn whole or not at
all, so that a resumed run gives the same bytes as an undisturbed one.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from io import BytesIO
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from charaloom.bases import LocalBase, local_base
from charaloom.captions import with_embedding
from charaloom.errors import CharaloomError
from charaloom.files import digest, read_json, sha256_bytes, sha256_file, whole_folder, write_json
from charaloom.manifest import lineage, write_manifest
from charaloom.models import picture_models
from charaloom.pictures import open_picture
from charaloom.seeds import derive_seed
from charaloom.tables import SCORES, stream_table, write_table

if TYPE_CHECKING:
    import numpy as np
    from diffusers import StableDiffusionPipeline
    from PIL import Image

PathLike = str | os.PathLike[str]
WITHOUT_LORA = "none"
TEXT_ONLY = "_text"
SAMPLER = "DPM++ 2M"
SCHEDULE = "Karras"
BLANK = (128, 128, 128)
SOFTWARE = ("torch", "diffusers", "transformers", "peft", "dghs-imgutils", "onnxruntime", "pillow", "numpy")


@dataclass(frozen=True)
class Prompt:
    """One picture asked for: the same prompt and seed on every checkpoint and base."""

    id: str
    outfit: str | None
    text: str
    seed: int

    @property
    def file(self) -> str:
        return f"{self.id}-{self.seed}.png"


@dataclass(frozen=True)
class Checkpoint:
    """What is loaded over a base: nothing (`none`), a LoRA, or a LoRA with its embedding."""

    name: str
    step: int = 0
    lora: Path | None = None
    embedding: Path | None = None


@dataclass(frozen=True)
class Batch:
    """Pictures drawn in one call; `key` is what they are a function of, and names the folder they survive in."""

    base: dict[str, Any]
    checkpoint: Checkpoint
    prompts: tuple[Prompt, ...]
    key: str

    def file(self, prompt: Prompt) -> str:
        return f"{self.base['name']}/{self.checkpoint.name}/{prompt.file}"


def render(
    character: str,
    params: dict[str, Any],
    checkpoints: PathLike,
    checkpoints_manifest: PathLike,
    outfits: PathLike,
    dataset: PathLike,
    hub: PathLike,
    models_manifest: PathLike,
    folder: PathLike,
    manifest: PathLike,
    work: PathLike,
) -> None:
    """Draw, rate and score the previews of one character; write the `previews` folder with its `scores.parquet`.

    Raises CharaloomError where there are no prompts, checkpoints or held-out pictures, or a base is of no use.
    """
    upstream = {"checkpoints": os.fspath(checkpoints_manifest), "models": os.fspath(models_manifest)}
    local = {base["name"]: local_base(base, work) for base in params["bases"]}
    params = {**params, "bases": [{**base, "digest": local[base["name"]].digest} for base in params["bases"]]}
    params["software"] = {name: version(name) for name in SOFTWARE}
    facts = lineage("previews", character, without_paths(params), upstream)
    prompts = read_prompts(outfits, character, params)
    steps = read_checkpoints(checkpoints)
    held_out = held_out_files(dataset)
    batches = plan(character, params, prompts, steps, [sha256_file(path) for path in [*held_out, models_manifest]])
    store = Path(work) / character / "previews"
    with locked(store), picture_models(hub, params["threads"]):
        judge = Judge(held_out)
        draw_missing(character, params, batches, store, judge, local)
        rows = [row for batch in batches for row in read_json(store / batch.key / "rows.json")]
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
        settings=settings(params, judge.threshold),
    )


# --- what is drawn ----------------------------------------------------------------------------------------------------


def read_prompts(outfits: PathLike, character: str, params: dict[str, Any]) -> list[Prompt]:
    """Prompts of `outfits.json`, at most `scenes` per outfit in the order written there, `seeds` pictures of each."""
    chosen: list[Prompt] = []
    taken: dict[str | None, int] = {}
    for entry in read_json(outfits)["prompts"]:
        outfit = entry.get("outfit")
        taken[outfit] = taken.get(outfit, 0) + 1
        if taken[outfit] > params["scenes"]:
            continue
        for number in range(params["seeds"]):
            seed = derive_seed(params["seed"], character, f"preview/{entry['id']}/{number}")
            chosen.append(Prompt(safe_name(entry["id"]), outfit, entry["text"], seed))
    if not chosen:
        raise CharaloomError(
            f"{outfits}: no prompts to draw. Lower clustered.minimum_support, or raise previews.scenes above 0."
        )
    return chosen


def read_checkpoints(folder: PathLike) -> list[Checkpoint]:
    """The milestones of a training, by steps."""
    found = []
    for path in Path(folder).glob("step-*.safetensors"):
        match = re.fullmatch(r"step-(\d+)", path.stem)
        if match:
            embedding = path.with_name(f"{path.stem}_emb.safetensors")
            found.append(Checkpoint(path.stem, int(match[1]), path, embedding if embedding.exists() else None))
    if not found:
        raise CharaloomError(f"{folder}: no step-*.safetensors here. Remove the checkpoints manifest and train again.")
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def drawn_on(bases: list[dict[str, Any]], steps: list[Checkpoint]) -> Iterator[tuple[dict[str, Any], Checkpoint]]:
    """Pairs of base and checkpoint, base after base, so that each pipeline is loaded once."""
    last, nothing = steps[-1], Checkpoint(WITHOUT_LORA)
    for base in bases:
        everything = steps if base is bases[0] else [last]
        yield from ((base, checkpoint) for checkpoint in [nothing, *everything])
        if base is bases[0] and last.embedding:
            yield base, Checkpoint(last.name + TEXT_ONLY, last.step, last.lora)


def plan(
    character: str, params: dict[str, Any], prompts: list[Prompt], steps: list[Checkpoint], judged_by: list[str]
) -> list[Batch]:
    """Every batch of the run in a fixed order; their number and make-up depend on nothing that a restart changes."""
    drawing = {key: params[key] for key in ("version", *DRAWING)}
    batches = []
    for base, checkpoint in drawn_on(params["bases"], steps):
        loaded = [sha256_file(path) if path else None for path in (checkpoint.lora, checkpoint.embedding)]
        for start in range(0, len(prompts), params["batch"]):
            asked = tuple(prompts[start : start + params["batch"]])
            facts = [
                character,
                drawing,
                without_path(base),
                checkpoint.name,
                loaded,
                [asdict(one) for one in asked],
                judged_by,
            ]
            batches.append(Batch(base, checkpoint, asked, digest(facts)[:32]))
    return batches


DRAWING = ("batch", "guidance", "height", "negative", "rating_model", "software", "steps", "threads", "width")


def settings(params: dict[str, Any], threshold: float) -> dict[str, Any]:
    """How the previews were drawn and judged, as pages and cards tell it."""
    shown = {key: params[key] for key in ("negative", "width", "height", "steps", "guidance")}
    return {**shown, "sampler": SAMPLER, "schedule": SCHEDULE, "threshold": round(threshold, 6)}


def safe_name(prompt: str) -> str:
    """A prompt id as a file name: other characters are replaced, and a digest keeps two ids apart."""
    plain = re.sub(r"[^A-Za-z0-9_.()+-]", "_", prompt).lstrip(".")
    return plain if plain == prompt else f"{plain}-{digest(prompt)[:6]}"


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_missing(
    character: str,
    params: dict[str, Any],
    batches: list[Batch],
    store: Path,
    judge: "Judge",
    local: dict[str, LocalBase],
) -> None:
    """Draw the batches that `store` does not hold yet; a base whose pictures are all there is not even opened."""
    missing = [batch for batch in batches if not (store / batch.key / "rows.json").exists()]
    progress = Progress(
        character, sum(len(batch.prompts) for batch in batches), sum(len(batch.prompts) for batch in missing)
    )
    opened: tuple[str, StableDiffusionPipeline] | None = None
    loaded: Checkpoint | None = None
    for batch in missing:
        if opened is None or opened[0] != batch.base["name"]:
            opened, loaded = (batch.base["name"], open_pipeline(local[batch.base["name"]], params)), None
        if batch.checkpoint != loaded:
            swap(opened[1], loaded, batch.checkpoint, character)
            loaded = batch.checkpoint
        pictures = draw(opened[1], batch, params, character)
        keep(store, batch, pictures, params, judge, character)
        progress.advance(len(batch.prompts))


def open_pipeline(base: LocalBase, params: dict[str, Any]) -> "StableDiffusionPipeline":
    """The base as a pipeline with a fixed sampler, number of threads and, on a GPU, only reproducible kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    torch.set_num_threads(params["threads"])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    pipeline = StableDiffusionPipeline.from_pretrained(
        base.folder,
        torch_dtype=torch.float32,  # transformers would keep an fp16 text encoder in fp16
        safety_checker=None,
        requires_safety_checker=False,
        local_files_only=True,
    )
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def swap(pipeline: "StableDiffusionPipeline", old: Checkpoint | None, new: Checkpoint, character: str) -> None:
    """Take one checkpoint out and put the next in; the base itself stays loaded."""
    if old and old.lora:
        pipeline.unload_lora_weights()
    if old and old.embedding:
        pipeline.unload_textual_inversion()
    if new.lora:
        pipeline.load_lora_weights(new.lora.parent, weight_name=new.lora.name, local_files_only=True)
    if new.embedding:
        pipeline.load_textual_inversion(str(new.embedding), token=embedding_word(character), local_files_only=True)


def draw(
    pipeline: "StableDiffusionPipeline", batch: Batch, params: dict[str, Any], character: str
) -> list["Image.Image"]:
    """One call of the pipeline; every picture has a generator of its own, on the CPU, seeded by its prompt."""
    import torch

    generators = [torch.Generator("cpu").manual_seed(prompt.seed) for prompt in batch.prompts]
    with torch.inference_mode():
        return pipeline(
            prompt=[positive(prompt, batch.checkpoint, character) for prompt in batch.prompts],
            negative_prompt=[params["negative"]] * len(batch.prompts),
            width=params["width"],
            height=params["height"],
            num_inference_steps=params["steps"],
            guidance_scale=params["guidance"],
            clip_skip=batch.base["clip_skip"] or None,
            generator=generators,
        ).images


def positive(prompt: Prompt, checkpoint: Checkpoint, character: str) -> str:
    """The prompt as the checkpoint wants it: the embedding's word goes in front where there is one."""
    return with_embedding(prompt.text, embedding_word(character)) if checkpoint.embedding else prompt.text


def embedding_word(character: str) -> str:
    return f"{character}_emb"


# --- keeping ----------------------------------------------------------------------------------------------------------


def keep(
    store: Path, batch: Batch, pictures: list["Image.Image"], params: dict[str, Any], judge: "Judge", character: str
) -> None:
    """Rate and score the pictures of a batch and store them; one rated above the allowed rating is never written."""
    ratings = [judge.rating(picture) for picture in pictures]
    kept = [rating["r15"] + rating["r18"] < params["rating_model"] for rating in ratings]
    distances = judge.distances([picture for picture, allowed in zip(pictures, kept, strict=True) if allowed])
    rows = []
    with whole_folder(store / batch.key) as part:
        for prompt, picture, rating, allowed in zip(batch.prompts, pictures, ratings, kept, strict=True):
            tile = picture if allowed else blank(picture.size)
            (part / prompt.file).write_bytes(png(tile, generation_text(prompt, batch, params, character)))
            distance = distances.pop(0) if allowed else None
            rows.append(score_row(batch, prompt, character, rating, allowed, distance, judge.threshold))
        write_json(part / "rows.json", rows)


def score_row(
    batch: Batch,
    prompt: Prompt,
    character: str,
    rating: dict[str, float],
    kept: bool,
    distance: float | None,
    threshold: float,
) -> dict[str, Any]:
    """A row of `scores.parquet`. A withheld picture has no distance and counts as not recognised."""
    return {
        "base": batch.base["name"],
        "checkpoint": batch.checkpoint.name,
        "step": batch.checkpoint.step,
        "prompt_id": prompt.id,
        "outfit": prompt.outfit,
        "prompt": positive(prompt, batch.checkpoint, character),
        "seed": prompt.seed,
        "file": batch.file(prompt),
        "kept": kept,
        "rating": [{"name": name, "score": score} for name, score in sorted(rating.items())],
        "identity_distance": distance,
        "recognised": distance is not None and distance <= threshold,
    }


def blank(size: tuple[int, int]) -> "Image.Image":
    """The tile that stands for a picture that was not kept."""
    from PIL import Image

    return Image.new("RGB", size, BLANK)


def png(picture: "Image.Image", text: str) -> bytes:
    """PNG with its generation data under `parameters`, where A1111 and its kin look for it; no clock, no software."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", text)
    buffer = BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def generation_text(prompt: Prompt, batch: Batch, params: dict[str, Any], character: str) -> str:
    """Generation data in A1111's form, so that a preview can be drawn again by dropping it into a web UI."""
    base, checkpoint = batch.base, batch.checkpoint
    text = positive(prompt, checkpoint, character)
    facts: dict[str, Any] = {
        "Steps": params["steps"],
        "Sampler": SAMPLER,
        "Schedule type": SCHEDULE,
        "CFG scale": f"{params['guidance']:g}",
        "Seed": prompt.seed,
        "Size": f"{params['width']}x{params['height']}",
        "Model hash": base["digest"][:10],
        "Model": base["name"],
        "Clip skip": base["clip_skip"] + 1,
    }
    if checkpoint.lora:
        text += f" <lora:{character}:1>"
        facts["Lora hashes"] = f'"{character}: {tensor_hash(checkpoint.lora)[:12]}"'
    if checkpoint.embedding:
        facts["TI hashes"] = f'"{embedding_word(character)}: {sha256_file(checkpoint.embedding)[:12]}"'
    lines = [
        text,
        f"Negative prompt: {params['negative']}",
        ", ".join(f"{key}: {value}" for key, value in facts.items()),
    ]
    return "\n".join(lines)


def tensor_hash(path: Path) -> str:
    """SHA-256 of a safetensors file behind its header: what A1111 and Civitai know a LoRA by."""
    data = path.read_bytes()
    return sha256_bytes(data[8 + int.from_bytes(data[:8], "little") :])


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


# --- judging ----------------------------------------------------------------------------------------------------------


class Judge:
    """Rates pictures and measures how far the person drawn is from the character, by the models lent to imgutils.

    CCIP sees the person that `detect_person` finds, in previews and held-out pictures alike, as the filters compare
    person with person; all of a picture where none is found.
    """

    def __init__(self, held_out: list[Path]) -> None:
        from imgutils.metrics import ccip_default_threshold

        self.held_out = held_out
        self.threshold = float(ccip_default_threshold())

    @cached_property
    def references(self) -> list["np.ndarray"]:
        """CCIP features of the held-out pictures; not needed where every picture is there already."""
        return self.features(person(open_picture(data)) for data in held_out_pictures(self.held_out))

    def rating(self, picture: "Image.Image") -> dict[str, float]:
        """Scores of `safe`, `r15` and `r18`; their sum is 1."""
        from imgutils.validate import anime_rating_score

        return {name: float(score) for name, score in anime_rating_score(picture).items()}

    def distances(self, pictures: list["Image.Image"]) -> list[float]:
        """Median CCIP distance of each picture to the held-out pictures, rounded to the digits that decide."""
        if not pictures:
            return []
        from imgutils.metrics import ccip_batch_differences

        drawn = self.features(person(picture) for picture in pictures)
        matrix = ccip_batch_differences([*drawn, *self.references])
        return [round(float(median(row)), 4) for row in matrix[: len(drawn), len(drawn) :].tolist()]

    def features(self, pictures: Iterator["Image.Image"]) -> list["np.ndarray"]:
        """CCIP features of any number of pictures, a few at a time in memory."""
        from imgutils.metrics import ccip_batch_extract_features

        found: list[np.ndarray] = []
        while some := list(islice(pictures, 16)):
            found.extend(ccip_batch_extract_features(some))
        return found


def person(picture: "Image.Image") -> "Image.Image":
    """The largest person found in a picture, or all of it."""
    from imgutils.detect import detect_person

    boxes = [box for box, _, _ in detect_person(picture)]
    if not boxes:
        return picture
    return picture.crop(max(boxes, key=lambda box: ((box[2] - box[0]) * (box[3] - box[1]), box)))


def held_out_files(dataset: PathLike) -> list[Path]:
    """Shards of the held-out split; it may be there and empty, and then there is nothing to judge by."""
    import pyarrow.parquet as pq

    found = sorted((Path(dataset) / "data").glob("held_out-*.parquet"))
    if not sum(pq.read_metadata(path).num_rows for path in found):
        raise CharaloomError(f"{dataset}: no held-out pictures to judge by. Raise filtered.held_out above 0.")
    return found


def held_out_pictures(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        for row in stream_table(path, ["image"]):
            yield row["image"]["bytes"]


# --- around it --------------------------------------------------------------------------------------------------------


class Progress:
    """Lines for the log: pictures done, pictures a second, time left."""

    def __init__(self, character: str, total: int, missing: int) -> None:
        self.character, self.total, self.missing, self.done = character, total, missing, 0
        self.began = time.monotonic()
        if missing < total:
            print(
                f"previews {character}: {total - missing} of {total} pictures are there from an earlier run", flush=True
            )

    def advance(self, pictures: int) -> None:
        self.done += pictures
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        left = (self.missing - self.done) / rate
        done = self.total - self.missing + self.done
        print(f"previews {self.character}: {done}/{self.total} pictures, {rate:.2f}/s, {left:.0f} s left", flush=True)


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store of one character's previews: a second run on it stops at once."""
    from filelock import FileLock, Timeout

    store.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(store / ".lock", timeout=0):
            yield
    except Timeout:
        raise CharaloomError(f"{store}: another run draws here; wait for it or stop it") from None


def without_path(base: dict[str, Any]) -> dict[str, Any]:
    """A base as lineage knows it, by its digest: a path of this machine is none of its properties."""
    return {key: value for key, value in base.items() if key not in {"path", "config"}}


def without_paths(params: dict[str, Any]) -> dict[str, Any]:
    return {**params, "bases": [without_path(base) for base in params["bases"]]}
