"""The base models that a config names: which a character uses, and whether they are there and fit each other."""

from collections.abc import Sequence
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.config.base_files import base_facts, check_model, open_model
from charaloom.config.families import EPSILON, FAMILIES, SD15, V_PREDICTION
from charaloom.config.schemas import Config, origin, suggestion
from charaloom.errors import CharaloomError
from charaloom.weights.models import PICKLES

DPM_2M, EULER = "DPM++ 2M", "Euler"  # samplers and schedules by the names that A1111 has for them
KARRAS, NORMAL = "Karras", "Normal"
V_RESCALE = 0.2  # of the guidance, for v-prediction: what the card of NoobAI-XL v-pred 1.0 asks for
UNKNOWN_LICENCE = "unknown"

PLACE = "name a diffusers folder or a .safetensors file, from the working directory"
PATHS = ("path", "config", "vae")  # on this machine
PICKLED = "a pickle, which runs code when it is read and is never opened: take the .safetensors version of this model"

MANNERS = ("negative", "sampler", "schedule", "guidance", "rescale")  # what previews alone read of a base
CARD = ("licence",)  # what the model's card alone reads


def base_of(config: Config, name: str) -> Config:
    """One entry of `bases` with its name, and what it leaves open settled by its file, its family and `previews`."""
    entry = {"path": None, "repo": None, "revision": None, **config["bases"][name], "name": name}
    facts = base_facts(entry)
    family = FAMILIES.get(entry.get("family") or facts.family or SD15.name, SD15)
    prediction = entry.get("prediction") or facts.prediction or EPSILON
    velocity = prediction == V_PREDICTION
    defaults = {
        "family": family.name,
        "prediction": prediction,
        "zero_snr": facts.zero_snr if facts.zero_snr is not None else velocity,
        "clip_skip": family.clip_skip,
        "prefix": "",
        "suffix": "",
        "negative": config["previews"]["negative"],
        "guidance": config["previews"]["guidance"],
        "sampler": EULER if velocity else DPM_2M,
        "schedule": NORMAL if velocity else KARRAS,
        "rescale": V_RESCALE if velocity else 0.0,
        "licence": UNKNOWN_LICENCE,
    }
    return entry | {key: value for key, value in defaults.items() if entry.get(key) is None}


def without(entry: Config, keys: Sequence[str]) -> Config:
    return {key: value for key, value in entry.items() if key not in keys}


def training_base(config: Config, name: str) -> Config:
    """What training may know of a base."""
    return without(base_of(config, name), MANNERS + CARD)


def preview_base(config: Config, name: str) -> Config:
    """What previews may know of a base: its licence is the card's alone."""
    return without(base_of(config, name), CARD)


def preview_bases(config: Config) -> list[str]:
    """The bases that previews are rendered on: the one that is trained on, then the others."""
    first = config["training"]["base"]
    return [first, *(name for name in config["previews"]["bases"] if name != first)]


def bases_named(config: Config) -> list[tuple[str, tuple[str, str]]]:
    """(name, key path that names it) of every base model a config uses."""
    trained = [(config["training"]["base"], ("training", "base"))]
    return trained + [(base, ("previews", "bases")) for base in config["previews"]["bases"]]


def check_base(config: Config, name: str, key: tuple[str, str], files: Sequence[PathLike]) -> None:
    """A base model that `key` names must be in `bases`, and in its place."""
    bases = config["bases"]
    if name not in bases:
        where = f"{origin(files, key, config)}: {'.'.join(key)}"
        raise CharaloomError(f"{where}: there is no base {name!r}{suggestion(name, bases)}")
    where = f"{origin(files, ('bases', name), config)}: bases.{name}"
    if bases[name].get("path") is None:
        check_repo(bases[name], where)
    else:
        check_files(config, name, where)
    check_skip(config, name, where)


def check_files(config: Config, name: str, where: str) -> None:
    """The files of a base must be there, with every tensor, and what its entry says."""
    base = config["bases"][name]
    for part in PATHS:
        if base.get(part) and not Path(base[part]).exists():
            raise CharaloomError(f"{where}.{part}: {base[part]!r} does not exist: {place_of(base[part])}")
    path = Path(base["path"])
    if not (path.is_file() or path.is_dir()):
        raise CharaloomError(f"{where}.path: {base['path']!r} is neither a file nor a folder: {PLACE}")
    if path.is_file() and path.suffix.lower() != ".safetensors":
        what = PICKLED if path.suffix in PICKLES else "which is neither a diffusers folder nor a .safetensors file"
        raise CharaloomError(f"{where}.path: {base['path']!r} is {path.suffix or 'a file'}, {what}")
    try:
        open_model(path, base)
    except CharaloomError as problem:
        raise CharaloomError(f"{where}: {problem}") from None
    except OSError as problem:
        raise CharaloomError(f"{where}: {problem.filename}: {problem.strerror}; make it readable") from None


def place_of(said: str) -> str:
    """What to write instead of a path that is not there."""
    if "://" in said:
        return "download it and name the file, or name its hub repo in `repo`, and `file` and `family` with it"
    return PLACE


def check_whole(config: Config, name: str, files: Sequence[PathLike]) -> None:
    """The files of a base must hold numbers, and be those that its digest names. Gigabytes are read, once."""
    base = config["bases"][name]
    if base.get("path") is None:
        return
    try:
        check_model({**base, "name": name}, Path(config["paths"]["work"]))
    except CharaloomError as problem:
        raise CharaloomError(f"{origin(files, ('bases', name), config)}: bases.{name}: {problem}") from None


def check_repo(base: Config, where: str) -> None:
    """A base that is yet to be fetched must say what cannot be read before."""
    if not base.get("repo"):
        raise CharaloomError(f"{where}: needs `path`, or `repo` and `family`")
    if not base.get("family"):
        raise CharaloomError(f"{where}: needs `family`: its files, which say it, are not there yet")


def check_skip(config: Config, name: str, where: str) -> None:
    """A family whose layer is settled leaves none to skip."""
    entry = base_of(config, name)
    family = FAMILIES[entry["family"]]
    if family.extra_clip_skip and entry["clip_skip"]:
        raise CharaloomError(
            f"{where}.clip_skip: {entry['clip_skip']} on a base of {family.title}: programs take the last layer but one"
            " by themselves there, which is what model cards call clip skip 2; set 0 or leave it out"
        )


def check_families(config: Config, files: Sequence[PathLike]) -> None:
    """A LoRA fits bases of its own family only."""
    trained = config["training"]["base"]
    family = base_of(config, trained)["family"]
    for name in config["previews"]["bases"]:
        own = base_of(config, name)["family"]
        if own != family:
            where = f"{origin(files, ('previews', 'bases'), config)}: previews.bases"
            raise CharaloomError(f"{where}: {name!r} is an {own} base, {trained!r}, which is trained on, is {family}")
