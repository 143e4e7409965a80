"""Base models: a diffusers folder, one .safetensors checkpoint or a hub repo, used as a local diffusers folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import digest, files_below, read_json, sha256_file, whole_folder
from charaloom.artifacts.locks import locked
from charaloom.artifacts.sealed import FILES, LIST, read_sealed, seal_folder
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.base_files import check_digest, open_model
from charaloom.config.families import Family, family_of
from charaloom.config.params import HUB, Base, PreviewBase
from charaloom.errors import CharaloomError
from charaloom.runtime.hub import Digests, fetch_repository, fetched_before, hub_file, is_address
from charaloom.tagging.lint import CLIP
from charaloom.weights.conversion import CONVERSION_VERSION, write_folder
from charaloom.weights.digests import Read, read_files
from charaloom.weights.models import Model, check_numbers, model_digest, read_whole
from charaloom.weights.tokenizers import VOCABULARY, brings_words

MAIN = "main"
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


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

    A folder is used in place where its weights are plain; a single file, shards and variants are converted once into
    `work`/bases. Downloads lie in `work`/hub. Raises CharaloomError where the base cannot be used, or is another one
    than `base` says. Pickled weights are never opened: reading one runs its code.
    """
    store = Path(work)
    try:
        family = family_of(base.family)
        path, first_digests = (Path(base.path), {}) if base.path else fetched(base, family, store)
        check_file(path)
        model = open_model(path, base.plain())
        files = read_whole(model, store)
        check_first_fetch(base, path, files, first_digests)
        sha256 = model_digest(model, files)
        check_digest(base.name, base.digest, sha256)
        check_numbers(model, files)
        folder = path if model.ready else converted(base, model, sha256, store)
    except CharaloomError as problem:
        raise CharaloomError(f"base `{base.name}`: {problem}") from None
    return LocalBase(base.name, family, folder, sha256, base)


def check_file(path: Path) -> None:
    if not path.exists():
        raise CharaloomError(f"{path} does not exist; `path` is a folder or a .safetensors file")
    if path.is_file() and path.suffix.lower() != ".safetensors":
        raise CharaloomError(
            f"{path.name} is no .safetensors file; .ckpt, .pt and .bin are pickles that run code when they are read and"
            " are never opened: take the .safetensors version of this model"
        )


def fetched(base: Base, family: Family, work: Path) -> tuple[Path, Digests]:
    """A base of the hub on this machine, and the SHA-256 that its files had at their first fetch."""
    hub, cache = hub_of(work), work / "hub"
    if not base.repo:
        raise CharaloomError("needs `path`, or `repo` and `family`")
    if not is_address(hub):
        return Path(hub) / base.repo / (base.file or ""), {}
    words = [] if base.file else [encoder.tokenizer for encoder in family.text_encoders]
    entry = {
        "repo": base.repo,
        "repo_type": "model",
        "revision": base.revision or MAIN,
        "files": dict.fromkeys([base.file] if base.file else folder_files(family)),
        "optional": [f"{tokenizer}/{name}" for tokenizer in words for name in TOKENIZER],  # each has some of them
    }
    known = fetched_before(entry, cache)
    if known is None or not all(brings_words(known[0] / tokenizer) for tokenizer in words):
        fetch_repository(entry, hub, cache)
    snapshot, digests = fetched_before(entry, cache)  # type: ignore[misc]
    return snapshot / (base.file or ""), digests


def hub_of(work: Path) -> str:
    """The hub that the picture models came from: bases come from the same."""
    facts = work / "models.lineage.json"
    return read_json(facts)["params"]["hub"] if facts.is_file() else HUB


def folder_files(family: Family) -> list[str]:
    """The files of a repo that is a diffusers folder of a family."""
    configs = [f"{part}/config.json" for part in family.weights]
    weights = [f"{part}/{name}" for part, name in family.weights.items()]
    return ["model_index.json", "scheduler/scheduler_config.json", *configs, *weights]


def check_first_fetch(base: Base, path: Path, files: Mapping[Path, Read], first_digests: Digests) -> None:
    """Refuse files of the cache that are no longer what the first fetch saw."""
    folder = path if path.is_dir() else path.parents[len(Path(base.file or path.name).parts) - 1]
    for name, sha256 in first_digests.items():
        read = files.get(folder / name)
        if read and sha256 != read.sha256:
            raise CharaloomError(
                f"{base.repo}/{name} has the SHA-256 {read.sha256}, its first fetch saw {sha256}: remove"
                f" {(folder / name).resolve()} to fetch it again"
            )


def converted(base: Base, model: Model, sha256: str, work: Path) -> Path:
    """Diffusers folder made once of a base that is none, by one process at a time."""
    vocabulary = None if model.path.is_dir() else clip_vocabulary(work)
    schedule = noise_schedule(base)
    words = [sha256_file(vocabulary / name) for name in VOCABULARY] if vocabulary else []
    made_of = [CONVERSION_VERSION, sha256, schedule, words, content(model.architecture)]
    target = work / "bases" / digest(made_of)[:16]
    with locked(target.with_suffix(".lock"), f"base `{base.name}`: another process converts it; waiting for it"):
        if not is_converted(target, work):
            with whole_folder(target) as part:
                write_folder(model, schedule, vocabulary, part)
                seal_folder(part)
    return target


def is_converted(folder: Path, work: Path) -> bool:
    """Whether a converted base is there as it was written; each file is read once, until it changes."""
    try:
        listed = read_sealed(folder / LIST)[FILES]
        found = read_files(folder, listed, work)
    except (OSError, KeyError, CharaloomError):
        return False
    return all(found[name].sha256 == sha256 for name, sha256 in listed.items())


def noise_schedule(base: Base) -> Row:
    """What a base says of its noise, as settings of a diffusers scheduler.

    Zero terminal SNR needs the last timestep, which only `trailing` includes (Lin et al. 2023, arXiv:2305.08891,
    section 3.3).
    """
    spacing = {"timestep_spacing": "trailing"} if base.zero_snr else {}
    return {"prediction_type": base.prediction, "rescale_betas_zero_snr": base.zero_snr, **spacing}


def content(architecture: Path) -> dict[str, str]:
    """Digests of what gives a single file its architecture: configs and tokenizers."""
    texts = [name for name in files_below(architecture) if name.suffix in (".json", ".txt")]
    return {str(name): sha256_file(architecture / name) for name in texts}


def clip_vocabulary(work: Path) -> Path | None:
    """The folder with the words of CLIP among the picture models; None where they were not fetched."""
    try:
        files = [hub_file(work / "hub", CLIP, name) for name in VOCABULARY]
    except FileNotFoundError:
        return None
    return files[0].parent if all(file.is_file() for file in files) else None


def without_path(base: Row) -> Row:
    """A base as lineage knows it, by its digest: a path of this machine is none of its properties."""
    return {key: value for key, value in base.items() if key not in {"path", "config", "vae"}}


def without_paths(values: Row) -> Row:
    return {**values, "bases": [without_path(base) for base in values["bases"]]}
