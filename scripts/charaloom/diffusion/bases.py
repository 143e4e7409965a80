"""Base models: a diffusers folder, one .safetensors checkpoint or a hub repo, used as a local diffusers folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, files_below, read_json, sha256_file, whole_folder
from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError

FAMILIES = {"sd15": "Stable Diffusion 1.x", "sdxl": "Stable Diffusion XL"}
SD15_PARTS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
PARTS: dict[str, tuple[str, ...]] = {"sd15": SD15_PARTS, "sdxl": (*SD15_PARTS, "text_encoder_2", "tokenizer_2")}
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}
HUB_CONFIG = ["model_index.json", "*/*.json", "tokenizer/*", "tokenizer_2/*"]


@dataclass(frozen=True)
class LocalBase:
    """A base model on this machine."""

    name: str
    family: str  # sd15, sdxl
    folder: Path  # diffusers layout, safetensors weights only
    digest: str  # SHA-256 of the single file (as model sites show it), or over the files of the folder
    clip_skip: int  # text-encoder layers skipped, counted as diffusers does
    licence: str


def local_base(base: dict[str, Any], work: PathLike) -> LocalBase:
    """The base model as a local diffusers folder.

    `base` is one entry of `bases` in the config: name, path, repo, revision, family, clip_skip, licence, and for a
    single file optionally `config` (a diffusers folder that gives architecture and tokenizer). What is downloaded lies
    in `work`/hub, what is converted in `work`/bases. Pickled weights are refused: reading one runs its code.
    """
    family = base["family"]
    if family not in FAMILIES:
        raise CharaloomError(f"base `{base['name']}`: family `{family}` is not one of {', '.join(FAMILIES)}")
    folder, known = locate(base, Path(work))
    check_folder(base["name"], folder, family)
    found = known or folder_digest(folder, family)
    return LocalBase(base["name"], family, folder, found, base["clip_skip"], base["licence"])


def hub_weights(family: str) -> list[str]:
    """The files of a repo that hold weights of a family."""
    return [f"{part}/{name}" for part, name in WEIGHTS.items() if part in PARTS[family]]


def locate(base: dict[str, Any], work: Path) -> tuple[Path, str | None]:
    """Folder of the base, and the digest of the single file it came from, if it came from one."""
    if not base.get("path"):
        return hub_folder(base, work, HUB_CONFIG + hub_weights(base["family"])), None
    path = Path(base["path"])
    if path.is_dir():
        return path, None
    if not path.is_file():
        raise CharaloomError(f"base `{base['name']}`: {path} does not exist; `path` is a folder or a .safetensors file")
    if path.suffix != ".safetensors":
        raise CharaloomError(
            f"base `{base['name']}`: {path.name} is no .safetensors file; .ckpt, .pt and .bin are pickles that run code"
            " when they are read and are never opened: take the .safetensors version of this model"
        )
    known = sha256_file(path)
    return converted(base, path, work, known), known


def hub_folder(base: dict[str, Any], work: Path, patterns: list[str]) -> Path:
    """Snapshot of the base's repo at its pinned revision, from the cache in `work`/hub or the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if not base.get("repo") or not re.fullmatch(r"[0-9a-f]{40}", base.get("revision") or ""):
        raise CharaloomError(f"base `{base['name']}`: needs `path`, or `repo` and `revision` (a commit, 40 hex digits)")
    where = {"revision": base["revision"], "cache_dir": work / "hub" / "hub", "allow_patterns": patterns}
    try:
        return Path(snapshot_download(base["repo"], local_files_only=True, **where))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(base["repo"], **where))
    except Exception as error:
        raise CharaloomError(
            f"base `{base['name']}`: {base['repo']} at {base['revision']} is neither cached nor to be had"
            f" ({type(error).__name__}: {error}); go online once, or download it and set `path`"
        ) from error


def converted(base: dict[str, Any], path: Path, work: Path, known: str) -> Path:
    """Diffusers folder made once from a single .safetensors checkpoint."""
    target = work / "bases" / known[:16]
    if not target.is_dir():
        config = config_folder(base, path, work)
        with whole_folder(target) as part:
            convert(base, path, config, part)
    return target


def config_folder(base: dict[str, Any], path: Path, work: Path) -> Path:
    """Where architecture and tokenizer of a single file come from: it holds neither."""
    beside = path.with_suffix("")
    for folder in filter(None, [base.get("config"), beside]):
        if Path(folder).is_dir():
            return Path(folder)
    if base.get("repo"):
        return hub_folder(base, work, HUB_CONFIG)
    raise CharaloomError(
        f"base `{base['name']}`: {path.name} holds weights only; put the configs and the tokenizer of its architecture"
        f" (a diffusers folder, weights not needed) into {beside.name}/ beside it, or set `repo` and `revision`"
    )


def convert(base: dict[str, Any], path: Path, config: Path, target: Path) -> None:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    pipelines: dict[str, Any] = {"sd15": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}
    unchecked = {"safety_checker": None} if base["family"] == "sd15" else {}
    try:
        pipe = pipelines[base["family"]].from_single_file(
            str(path), config=str(config), local_files_only=True, **unchecked
        )
    except Exception as error:
        raise CharaloomError(
            f"base `{base['name']}`: {path.name} does not fit the architecture in {config.name}/"
            f" ({type(error).__name__}: {error}); is it a {FAMILIES[base['family']]} checkpoint?"
        ) from error
    pipe.save_pretrained(target, safe_serialization=True)


def check_folder(name: str, folder: Path, family: str) -> None:
    """Refuse folders that would train another model than the one named, or run code."""
    from safetensors import SafetensorError, safe_open

    for part in PARTS[family]:
        if not (folder / part).is_dir():
            raise CharaloomError(
                f"base `{name}`: {folder} has no {part}/; a diffusers folder of {FAMILIES[family]} has {PARTS[family]}"
            )
    for part in (part for part in WEIGHTS if part in PARTS[family]):
        weights = WEIGHTS[part]
        file = folder / part / weights
        if not file.is_file():
            raise CharaloomError(
                f"base `{name}`: {part}/{weights} is missing; pickled weights (.bin) are never opened: take a repo or"
                " folder with plain safetensors weights"
            )
        try:
            with safe_open(file, framework="numpy") as tensors:
                keys = list(tensors.keys())
        except (SafetensorError, OSError) as error:
            raise CharaloomError(f"base `{name}`: {part}/{weights} is broken ({error}); fetch it again") from error
        if part.startswith("text_encoder") and not any(key.startswith("text_model.") for key in keys):
            raise CharaloomError(
                f"base `{name}`: the text encoder was saved by transformers >= 5.6, whose keys lack `text_model.`;"
                " older versions would load it as random numbers without a word: save it again with the pinned version"
            )
    if prediction(folder) != "epsilon":
        raise CharaloomError(f"base `{name}`: predicts `{prediction(folder)}`; only epsilon bases can be trained yet")


def prediction(folder: Path) -> str:
    """What the UNet predicts, from the scheduler's config."""
    return read_json(folder / "scheduler" / "scheduler_config.json").get("prediction_type", "epsilon")


def folder_digest(folder: Path, family: str) -> str:
    """SHA-256 over what is used of a diffusers folder: configs, tokenizer and the plain safetensors weights."""
    used = [
        path
        for part in PARTS[family]
        for path in (Path(part) / name for name in files_below(folder / part))
        if path.suffix in {".json", ".txt"} or str(path) in hub_weights(family)
    ]
    return digest({str(path): sha256_file(folder / path) for path in used})


def without_path(base: Row) -> Row:
    """A base as lineage knows it, by its digest: a path of this machine is none of its properties."""
    return {key: value for key, value in base.items() if key not in {"path", "config"}}



def without_paths(params: Row) -> Row:
    return {**params, "bases": [without_path(base) for base in params["bases"]]}
