"""Base models: a diffusers folder, one .safetensors checkpoint or a hub repo, used as a local diffusers folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, files_below, read_json, whole_folder
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.families import Family, family_of
from charaloom.config.params import Base, PreviewBase
from charaloom.diffusion.digests import file_digests
from charaloom.errors import CharaloomError

HUB_CONFIG = ["model_index.json", "*/*.json", "tokenizer/*", "tokenizer_2/*"]


@dataclass(frozen=True)
class LocalBase:
    """A base model on this machine."""

    name: str
    family: Family
    folder: Path  # diffusers layout, safetensors weights only
    digest: str  # SHA-256 of the single file (as model sites show it), or over the files of the folder
    entry: Base  # what the config says of it

    @property
    def prediction(self) -> str:
        """What its UNet predicts."""
        return self.entry.prediction

    @property
    def clip_skip(self) -> int:
        """Text-encoder layers skipped, counted as diffusers does."""
        return self.entry.clip_skip

    @property
    def manners(self) -> PreviewBase:
        """How previews are rendered on it. Raises TypeError for a base that was opened to train on."""
        if not isinstance(self.entry, PreviewBase):
            raise TypeError(f"base `{self.name}` was not opened for previews")
        return self.entry


def local_base(base: Base, work: PathLike) -> LocalBase:
    """The base model as a local diffusers folder.

    For a single file `base.config` may name a diffusers folder that gives architecture and tokenizer. Downloads lie in
    `work`/hub, converted bases in `work`/bases. Raises CharaloomError where the base cannot be used or is another one
    than `base.digest` says. Pickled weights are refused: reading one runs its code.
    """
    try:
        family = family_of(base.family)
    except CharaloomError as problem:
        raise CharaloomError(f"base `{base.name}`: {problem}") from None
    path = Path(base.path) if base.path else None
    if path and not path.is_dir():
        check_file(base.name, path)
        sha256 = file_digests(path.parent, [path.name], Path(work))[path.name]
        check_digest(base, sha256)
        folder = converted(base, family, path, Path(work), sha256)
        check_folder(base.name, folder, family)
    else:
        folder = path or hub_folder(base, Path(work), HUB_CONFIG + hub_weights(family))
        check_folder(base.name, folder, family)
        sha256 = folder_digest(folder, family, Path(work))
        check_digest(base, sha256)
    return LocalBase(base.name, family, folder, sha256, base)


def hub_weights(family: Family) -> list[str]:
    """The files of a repo that hold weights of a family."""
    return [f"{part}/{name}" for part, name in family.weights.items()]


def check_file(name: str, path: Path) -> None:
    if not path.is_file():
        raise CharaloomError(f"base `{name}`: {path} does not exist; `path` is a folder or a .safetensors file")
    if path.suffix != ".safetensors":
        raise CharaloomError(
            f"base `{name}`: {path.name} is no .safetensors file; .ckpt, .pt and .bin are pickles that run code"
            " when they are read and are never opened: take the .safetensors version of this model"
        )


def check_digest(base: Base, sha256: str) -> None:
    """Refuse a base that was replaced under the same path."""
    if base.digest and base.digest != sha256:
        raise CharaloomError(
            f"base `{base.name}`: its SHA-256 is {sha256}, `bases.{base.name}.digest` asks for {base.digest};"
            " fetch the right file again, or correct the digest"
        )


def hub_folder(base: Base, work: Path, patterns: list[str]) -> Path:
    """Snapshot of the base's repo at its pinned revision, from the cache in `work`/hub or the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if not base.repo or not re.fullmatch(r"[0-9a-f]{40}", base.revision or ""):
        raise CharaloomError(f"base `{base.name}`: needs `path`, or `repo` and `revision` (a commit, 40 hex digits)")
    where: dict[str, Any] = {"revision": base.revision, "cache_dir": work / "hub" / "hub", "allow_patterns": patterns}
    try:
        return Path(snapshot_download(base.repo, local_files_only=True, **where))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(base.repo, **where))
    except Exception as error:
        raise CharaloomError(
            f"base `{base.name}`: {base.repo} at {base.revision} is neither cached nor can it be downloaded"
            f" ({type(error).__name__}: {error}); go online once, or download it and set `path`"
        ) from error


def converted(base: Base, family: Family, path: Path, work: Path, sha256: str) -> Path:
    """Diffusers folder made once from a single .safetensors checkpoint."""
    target = work / "bases" / sha256[:16]
    if not target.is_dir():
        config = config_folder(base, path, work)
        with whole_folder(target) as part:
            convert(base.name, family, path, config, part)
    return target


def config_folder(base: Base, path: Path, work: Path) -> Path:
    """Where architecture and tokenizer of a single file come from: it holds neither."""
    beside = path.with_suffix("")
    for folder in (Path(base.config) if base.config else beside, beside):
        if folder.is_dir():
            return folder
    if base.repo:
        return hub_folder(base, work, HUB_CONFIG)
    raise CharaloomError(
        f"base `{base.name}`: {path.name} holds weights only; put the configs and the tokenizer of its architecture"
        f" (a diffusers folder, weights not needed) into {beside.name}/ beside it, or set `repo` and `revision`"
    )


def convert(name: str, family: Family, path: Path, config: Path, target: Path) -> None:
    import diffusers

    try:
        pipe = getattr(diffusers, family.pipeline).from_single_file(
            str(path), config=str(config), local_files_only=True, **family.single_file_options
        )
    except Exception as error:
        raise CharaloomError(
            f"base `{name}`: {path.name} does not fit the architecture in {config.name}/"
            f" ({type(error).__name__}: {error}); is it a {family.title} checkpoint?"
        ) from error
    pipe.save_pretrained(target, safe_serialization=True)


def check_folder(name: str, folder: Path, family: Family) -> None:
    """Refuse folders that would train another model than the one named, or run code."""
    from safetensors import SafetensorError, safe_open

    for part in family.parts:
        if not (folder / part).is_dir():
            raise CharaloomError(
                f"base `{name}`: {folder} has no {part}/; a diffusers folder of {family.title} has {family.parts}"
            )
    for part, weights in family.weights.items():
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
    if prediction(folder) not in family.predictions:
        raise CharaloomError(
            f"base `{name}`: predicts `{prediction(folder)}`; only {' and '.join(family.predictions)} bases can be"
            " trained yet"
        )


def prediction(folder: Path) -> str:
    """What the UNet predicts, from the scheduler's config."""
    return read_json(folder / "scheduler" / "scheduler_config.json").get("prediction_type", "epsilon")


def folder_digest(folder: Path, family: Family, work: Path) -> str:
    """SHA-256 over what is used of a diffusers folder: configs, tokenizer and the plain safetensors weights."""
    paths = [
        path
        for part in family.parts
        for path in (Path(part) / name for name in files_below(folder / part))
        if path.suffix in {".json", ".txt"} or str(path) in hub_weights(family)
    ]
    return digest(file_digests(folder, map(str, paths), work))


def without_path(base: Row) -> Row:
    """A base as lineage knows it, by its digest: a path of this machine is none of its properties."""
    return {key: value for key, value in base.items() if key not in {"path", "config"}}


def without_paths(values: Row) -> Row:
    return {**values, "bases": [without_path(base) for base in values["bases"]]}
