"""Stage `checkpoints`: train a LoRA, and an embedding with it, by HCP-Diffusion 2 in a process of its own.

What must survive a kill, and what more steps later go on from (prepared inputs, latents, the trainer's checkpoints and
state), lies in `work`; the output folder appears whole at the end.
"""

import io
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from charaloom.artifacts import locks
from charaloom.artifacts.files import digest, read_json, sha256_file, whole_folder, write_json, write_text
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.types import PathLike
from charaloom.config.recipes import settled
from charaloom.diffusion.bases import LocalBase, local_base
from charaloom.diffusion.lora import EMBEDDING_KEYS, kohya_weights, lora_metadata, read_weights, write_weights
from charaloom.diffusion.pipelines import read_checkpoints
from charaloom.errors import CharaloomError
from charaloom.evaluation.previews import Sources, first_scores, without_path, without_paths
from charaloom.images.files import EXTENSIONS, files_of
from charaloom.tagging.captions import SEPARATOR, as_words
from charaloom.training.process import Trainee, run_trainer
from charaloom.training.trainer_config import embedding_word, hcp_config, milestones

STAGE = "checkpoints"
SOFTWARE = ("torch", "hcpdiff", "rainbowneko", "diffusers", "transformers", "accelerate", "numpy", "pillow")
PICTURE_SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
MORE = ("steps", "save_every", "early_stopping", "previews")  # more of the same: what was trained before counts
LOCK_SECONDS = 10.0  # a trainer whose job was killed ends within moments


def train(
    character: str,
    params: dict[str, Any],
    dataset: PathLike,
    dataset_manifest: PathLike,
    outfits: PathLike,
    folder: PathLike,
    manifest: PathLike,
    work: PathLike,
    log: PathLike,
    warm_seconds: float = 0.0,
    judged_by: Sources | None = None,
) -> None:
    """Train one character and write `folder` (LoRA and embedding per milestone, config.py, loss.tsv) and its manifest.

    `params` is the config section `training` over its recipe, with seed, trigger and the `base` to train on; `work` is
    the work folder of all characters. `warm_seconds`: how long a warm process waits for the next character, 0 for none.
    `judged_by`: what the previews of early stopping are judged by, where it is on.
    Same inputs and params give the same bytes on the same kind of machine. Raises CharaloomError where the base cannot
    be used, the dataset is empty, or the trainer fails (the end of `log` is quoted).
    """
    base = local_base(params["base"], work)
    params = {**params, "precision": precision(params["precision"])}
    upstream = {"dataset": dataset_manifest, "outfits": outfits}
    upstream |= {"models": judged_by.models_manifest} if judged_by else {}
    facts = lineage(STAGE, character, known_params(params, base), upstream)
    params = settled(params, read_json(dataset_manifest)["counts"]["train"])
    room = Path(work) / character / f"{STAGE}-{room_key(character, params, base, facts)}"
    with locked(room) as lock:
        prepare(room, Path(dataset), read_json(outfits), params["regularisation"])
        regularised = (room / "inputs" / "regularisation.json").exists()
        scores: dict[str, float] = {}
        for length in lengths(params):  # one, or with early stopping one for each checkpoint
            config = hcp_config(character, length, base, regularised)
            if not trained(room, length):
                run_trainer(Trainee(room, config, base, params["threads"], Path(log), lock, warm_seconds))
            if judged_by:
                collect(character, length, base, room, config, room / "judged", facts["digest"])
                newest = read_checkpoints(room / "judged")[-1:]
                scores |= first_scores(character, params["previews"], newest, judged_by, work)
                if not improving(scores, params["early_stopping"]):
                    break
        kept = collect(character, length, base, room, config, Path(folder), facts["digest"])
        shutil.rmtree(room / "judged", ignore_errors=True)
        counts = {"pictures": len(read_json(room / "inputs" / "pictures.json")), "checkpoints": len(kept)}
        shown = {"steps": length["steps"], "rank": params["rank"], "mode": params["mode"], "recipe": params["recipe"]}
        shown |= {"early_stopping": scores} if judged_by else {}
        write_manifest(manifest, facts, {STAGE: folder}, counts, checkpoints=kept, licence=base.licence, training=shown)
    forget_others(room)


def lengths(params: dict[str, Any]) -> list[dict[str, Any]]:
    """`params` for each training of another length, the shorter first: with early stopping one for each checkpoint."""
    steps = milestones(int(params["steps"]), int(params["save_every"]))
    return [{**params, "steps": step} for step in (steps if params["early_stopping"] else steps[-1:])]


def improving(scores: dict[str, float], patience: int) -> bool:
    """Whether the best checkpoint so far is one of the newest; scores in the order of training."""
    values = list(scores.values())
    return len(values) - 1 - values.index(max(values)) < patience


def precision(asked: str) -> str:
    """The number format that `auto` means on this machine: bf16 where a GPU has it, else fp16 on a GPU, else fp32."""
    if asked != "auto":
        return asked
    if not shutil.which("nvidia-smi"):
        return "fp32"
    import torch

    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def known_params(params: dict[str, Any], base: LocalBase) -> dict[str, Any]:
    """What decides the bytes: the base by its digest instead of its path, and the versions of the libraries."""
    named = without_path(params["base"])
    software = {name: version(name) for name in SOFTWARE}
    own = {key: value for key, value in params.items() if key != "regularisation"}  # its digest stands beside it
    if "previews" in own:
        own["previews"] = without_paths(own["previews"])
    return {**own, "base": {**named, "digest": base.digest}, "software": software}


def room_key(character: str, params: dict[str, Any], base: LocalBase, facts: dict[str, Any]) -> str:
    """Names what a training has in common with one of another length: all but its steps and checkpoints."""
    same = {key: value for key, value in params.items() if key not in MORE}
    source = hcp_config(character, {**params, "steps": 1, "save_every": 1}, base)
    inputs = {name: found for name, found in facts["inputs"].items() if name != "models"}
    return digest([known_params(same, base), inputs, source])[:16]


def locked(room: Path) -> AbstractContextManager[int]:
    """Hold the work folder of one training: a second run on it stops. Yields the lock's descriptor."""
    return locks.locked(room / "lock", f"{room}: another run trains here; wait for it or stop it", LOCK_SECONDS)


def forget_others(room: Path) -> None:
    """One room per character: give the disk of those back that other settings or another dataset left."""
    for other in room.parent.glob(f"{STAGE}-*"):
        if other == room or not other.is_dir():
            continue
        with suppress(CharaloomError, OSError), locked(other):
            for name in ("inputs", "judged", "latents", "run"):
                shutil.rmtree(other / name, ignore_errors=True)


def trained(room: Path, params: dict[str, Any]) -> bool:
    """Whether everything that these params ask for was trained before, by this or by a longer run."""
    losses = room / "run" / "loss.tsv"
    wanted = milestones(int(params["steps"]), int(params["save_every"]))
    there = all((room / "run" / "ckpts" / f"lora_unet-{step}.safetensors").exists() for step in wanted)
    return there and losses.exists() and losses.read_bytes().count(b"\n") > wanted[-1]


# --- what the trainer reads


def prepare(room: Path, dataset: Path, outfits: dict[str, Any], regularisation: str | None = None) -> None:
    """Pictures, captions, triggers and core tags as the trainer reads them, written once and whole; a picture that an
    epoch repeats stands there under as many names.

    Tags come from strangers, so they go into JSON files and never into the config, which is code.
    """
    if (room / "inputs").is_dir():
        return
    clear_halves(room / "inputs")
    with whole_folder(room / "inputs") as part:
        (part / "pictures").mkdir()
        captions: dict[str, str] = {}
        tags = []
        for row in training_rows(dataset):
            for _ in range(row["repeats"]):
                name = f"{len(captions):06d}.{picture_suffix(row['image'])}"
                (part / "pictures" / name).write_bytes(row["image"]["bytes"])
                captions[name] = row["caption"]
            tags.append(row["tags"])
        if not captions:
            raise CharaloomError(f"{dataset}: no training picture; loosen the filters or fetch more pictures")
        write_json(part / "pictures.json", captions)
        write_json(part / "tags.json", tags)
        write_json(part / "triggers.json", [outfits["trigger"], *(outfit["trigger"] for outfit in outfits["outfits"])])
        write_json(part / "core.json", [as_words(tag) for tag in outfits["core"]])
        if regularisation:
            prepare_regularisation(part, Path(regularisation))


def prepare_regularisation(part: Path, folder: Path) -> None:
    """The user's regularisation pictures with the captions beside them (.txt), in the order of their contents."""
    found = {}
    for name in files_of(folder):
        path = folder / name
        if path.suffix.lower() in EXTENSIONS:
            side = path.with_suffix(".txt")
            text = " ".join(side.read_text(encoding="utf-8-sig").split()) if side.exists() else ""
            found[sha256_file(path)] = (path, SEPARATOR.join(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise CharaloomError(f"{folder}: no pictures to regularise with; training.regularisation names their folder")
    (part / "regularisation").mkdir()
    captions = {}
    for number, (_, (path, caption)) in enumerate(sorted(found.items())):
        content = path.read_bytes()
        title = f"{number:06d}.{picture_suffix({'bytes': content, 'path': str(path)})}"
        (part / "regularisation" / title).write_bytes(content)
        captions[title] = caption
    write_json(part / "regularisation.json", captions)


def clear_halves(folder: Path) -> None:
    """Remove what a killed run left of `folder` beside it; only under the lock, where nobody else writes it."""
    for part in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(part, ignore_errors=True)


def training_rows(dataset: Path) -> Iterator[dict[str, Any]]:
    """Rows of the training split, a few at a time."""
    for shard in sorted((dataset / "data").glob("train-*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=16, columns=["image", "caption", "tags", "repeats"]):
            yield from batch.to_pylist()


def picture_suffix(image: dict[str, Any]) -> str:
    """File ending by content: the trainer opens whatever the ending says."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image["bytes"]), formats=list(PICTURE_SUFFIX)) as picture:
            return PICTURE_SUFFIX[picture.format]
    except OSError as error:
        raise CharaloomError(f"picture {image['path']}: not readable ({error}); mend or remove it") from error


# --- what is left of a training


def collect(
    character: str, params: dict[str, Any], base: LocalBase, room: Path, config: str, folder: Path, version: str
) -> list[dict[str, Any]]:
    """Convert what the trainer wrote into the output folder; returns the checkpoints, first step first."""
    tags, steps = read_json(room / "inputs" / "tags.json"), int(params["steps"])
    clear_halves(folder)
    with whole_folder(folder) as part:
        kept = []
        for step in milestones(steps, int(params["save_every"])):
            metadata = lora_metadata(
                character=character,
                trigger=params["trigger"],
                rank=int(params["rank"]),
                alpha=params["alpha"],
                base_name=base.name,
                base_digest=base.digest,
                family=base.family,
                resolution=params["resolution"],
                clip_skip=base.clip_skip,
                steps=step,
                tags=tags,
                version=version,
            )
            kept.append(convert(character, step, base.family, room / "run" / "ckpts", part, metadata))
        write_text(part / "config.py", config)
        losses = (room / "run" / "loss.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(part / "loss.tsv", "".join(losses[: steps + 1]))
    return kept


def convert(
    character: str, step: int, family: str, source: Path, target: Path, metadata: dict[str, str]
) -> dict[str, Any]:
    """One milestone: LoRA in kohya keys and, where one was trained, the embedding."""
    name = f"step-{step:06d}"
    parts = [source / f"{part}-{step}.safetensors" for part in ("lora_unet", "lora_te")]
    hcp = {key: value for path in parts if path.exists() for key, value in read_weights(path).items()}
    write_weights(target / f"{name}.safetensors", kohya_weights(hcp, family), metadata, hashed=True)
    kept: dict[str, Any] = {"name": name, "step": step, "lora": f"{name}.safetensors", "embedding": None}
    word = embedding_word(character)
    if (source / f"{word}-{step}.safetensors").exists():
        kept["embedding"] = f"{name}_emb.safetensors"
        vectors = read_weights(source / f"{word}-{step}.safetensors")
        own = {key: value for key, value in metadata.items() if not key.startswith("ss_network")}
        own["modelspec.architecture"] = metadata["modelspec.architecture"].replace("/lora", "/textual-inversion")
        own["modelspec.trigger_phrase"] = word
        write_weights(target / kept["embedding"], {key: vectors[key] for key in EMBEDDING_KEYS[family]}, own)
    return kept
