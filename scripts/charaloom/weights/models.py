"""A base model as it lies on this machine, a diffusers folder or one .safetensors file: what it is, what it lacks.

Only headers and configs are read here. Whatever a family's architecture needs must be there in the right shape;
what a file holds besides (moving averages, leftovers of training) is not read, as other programs do not read it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from charaloom.artifacts.files import digest
from charaloom.errors import CharaloomError
from charaloom.weights.architectures import SHIPPED, Shapes, part_shapes, read_config
from charaloom.weights.digests import Read, facts_of, read_files
from charaloom.weights.headers import Header, Tensor, read_header
from charaloom.weights.kinds import SD15, SDXL, TAKE, family_of_file, statement
from charaloom.weights.layouts import DEPRECATED, TEXT_MODEL, Place, Places, places_of
from charaloom.weights.tokenizers import check_words

PARTS = {SD15: ("unet", "vae", "text_encoder"), SDXL: ("unet", "vae", "text_encoder", "text_encoder_2")}
TOKENIZERS = {  # each with its text encoder
    SD15: {"tokenizer": "text_encoder"},
    SDXL: {"tokenizer": "text_encoder", "tokenizer_2": "text_encoder_2"},
}
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}  # of the others: `model`
TITLES = {SD15: "Stable Diffusion 1.x", SDXL: "SDXL"}
NAMES = {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}
VARIANTS = ("", ".fp16", ".bf16", ".fp32")  # of the weights' names in a folder, the first that is there is taken
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
FP8 = ("F8_E4M3", "F8_E5M2")
NUMBERS = ("F64", "F32", "F16", "BF16", *FP8)  # dtypes that weights may have
SCALE = ".scale_weight"  # what an fp8 weight of ComfyUI is to be multiplied with
SCHEDULER = "scheduler/scheduler_config.json"


@dataclass(frozen=True)
class Source:
    """Where one tensor of the diffusers layout comes from."""

    path: Path
    tensor: Tensor
    place: Place
    shape: tuple[int, ...]  # in the diffusers layout
    scale: Tensor | None = None  # of the same file: a factor for all its numbers


@dataclass(frozen=True)
class Model:
    """What a base model is; None where its files say nothing."""

    path: Path
    family: str
    prediction: str | None
    zero_snr: bool | None
    architecture: Path  # a diffusers folder with the configs of its parts
    parts: dict[str, dict[str, Source]]  # tensors by part and by their names in diffusers
    files: tuple[Path, ...]  # all that is used of it
    ready: bool  # whether it is a folder that can be used in place


@dataclass(frozen=True)
class Facts:
    """What can be said of a base before its weights are looked at; None where its files say nothing."""

    family: str | None = None
    prediction: str | None = None
    zero_snr: bool | None = None


def model_facts(path: Path, config: Path | None = None) -> Facts:
    """Family, prediction and noise schedule, read once for each version of the file or folder.

    A single file that says nothing of its noise has that of its architecture's folder, where it has one. Raises
    CharaloomError where it is no base model of a family that Charaloom knows.
    """
    architecture = path if path.is_dir() else config or beside(path)
    names = [path, *(architecture / name for name in (SCHEDULER, "unet/config.json") if architecture)]  # type: ignore[operator]
    versions = [facts_of(name) for name in names if name.exists()]
    return facts_once(path, architecture, str(versions))


@lru_cache(maxsize=256)
def facts_once(path: Path, architecture: Path | None, versions: str) -> Facts:
    if path.is_dir():
        return Facts(family_of_folder(path), *schedule_of(path))
    header = read_header(path)
    family, said = family_of_file(header), statement(header)
    if said.prediction is None and architecture and (architecture / SCHEDULER).is_file():
        return Facts(family, *schedule_of(architecture))
    return Facts(family, said.prediction, said.zero_snr)


def schedule_of(folder: Path) -> tuple[str, bool]:
    """Prediction, and whether the noise schedule ends in pure noise, of a diffusers folder."""
    scheduler = read_config(folder, "scheduler")
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise CharaloomError(f"{folder} predicts `{prediction}`: {TAKE} that predicts epsilon or v_prediction")
    return prediction, bool(scheduler.get("rescale_betas_zero_snr", False))


def family_of_folder(folder: Path) -> str:
    """sd15 or sdxl, from the UNet's config. Raises CharaloomError, which names what the folder holds instead."""
    check_index(folder)
    config = read_config(folder, "unet")
    channels, width = config.get("in_channels", 4), config.get("cross_attention_dim")
    if channels != 4:
        what = {9: "an inpainting model", 8: "an InstructPix2Pix (edit) model"}.get(channels, "another kind of model")
        raise CharaloomError(f"{folder} is {what} (its UNet takes {channels} channels): {TAKE}")
    if width == 1024:
        raise CharaloomError(f"{folder} is a Stable Diffusion 2.x model (its text is 1024 wide): {TAKE}")
    if width == 1280 and not (folder / "text_encoder").is_dir():
        raise CharaloomError(f"{folder} is the refiner of SDXL: take the base model of SDXL")
    return SDXL if config.get("addition_embed_type") == "text_time" else SD15


def check_index(folder: Path) -> None:
    """Refuse a folder whose model_index.json names a pipeline of another kind; not all have one."""
    index = folder / "model_index.json"
    try:
        said = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
        kind = str(said.get("_class_name") or "")
    except (ValueError, AttributeError):
        raise CharaloomError(f"{folder}: model_index.json is no valid JSON; fetch it again") from None
    if kind.startswith("StableDiffusion") and not kind.startswith("StableDiffusion3"):
        return  # pipelines for pictures as input have the same parts; the UNet's config decides
    if not kind and (folder / "unet").is_dir():
        return
    if not kind and (inside := sorted(path.name for path in folder.glob("*.safetensors"))):
        raise CharaloomError(f"{folder} is no diffusers folder, but holds {', '.join(inside[:5])}: name that file")
    what = f"a model of {kind}" if kind else "no diffusers folder (it has no model_index.json and no unet/)"
    raise CharaloomError(f"{folder} is {what}: {TAKE}, as a folder or one .safetensors file")


def read_model(path: Path, config: Path | None = None, vae: Path | None = None) -> Model:
    """A base model, every tensor looked up. Raises CharaloomError, which names what is missing or of another kind.

    `config` is a diffusers folder with the architecture of a single file, `vae` a file whose VAE replaces its own.
    """
    if path.is_dir():
        check_alone(path, config, vae)
        return folder_model(path)
    facts = model_facts(path, config)
    family = str(facts.family)
    architecture = config or beside(path) or SHIPPED / family
    headers = [read_header(path)]
    if vae:
        headers.insert(0, read_header(vae))
    check_parts(headers, architecture, family)
    parts = {part: file_part(headers, part, architecture, family) for part in PARTS[family]}
    return Model(
        path,
        family,
        facts.prediction,
        facts.zero_snr,
        architecture,
        parts,
        tuple(header.path for header in headers),
        False,
    )


def check_alone(folder: Path, config: Path | None, vae: Path | None) -> None:
    """Refuse what would be ignored: a diffusers folder has its own VAE and its own configs."""
    if vae:
        raise CharaloomError(
            f"`vae` is for one .safetensors file, and {folder} is a folder: leave `vae` out, or copy the folder and"
            " put that VAE, in diffusers' layout, into its vae/"
        )
    if config:
        raise CharaloomError(f"`config` is for one .safetensors file, and {folder} has its own configs: leave it out")


def beside(path: Path) -> Path | None:
    """A diffusers folder of the file's own name beside it, which gives its architecture."""
    folder = path.with_suffix("")
    return folder if (folder / "unet" / "config.json").is_file() else None


def check_parts(headers: list[Header], architecture: Path, family: str) -> None:
    """Refuse a checkpoint without one of its parts; all that are missing are named."""
    missing = [part for part in PARTS[family] if part_places(headers, part, architecture)[1] is None]
    if missing:
        name = (headers[0] if missing == ["vae"] else headers[-1]).path.name
        cure = "set `vae` of this base to a file with one" if missing == ["vae"] and len(headers) == 1 else TAKE
        raise CharaloomError(f"{name} has no {' and no '.join(NAMES[part] for part in missing)}: {cure}")


def part_places(headers: list[Header], part: str, architecture: Path) -> tuple[Header, Places | None]:
    """The file with a part, the VAE's own if there is one, and where its tensors lie there."""
    config, header = read_config(architecture, part), headers[0] if part == "vae" else headers[-1]
    return header, places_of(part, config, part_shapes(part, config), header.tensors)


def file_part(headers: list[Header], part: str, architecture: Path, family: str) -> dict[str, Source]:
    shapes = part_shapes(part, read_config(architecture, part))
    header, found_places = part_places(headers, part, architecture)
    places = found_places or {}
    if part == "unet":
        check_strangers(header, places, family)
    return found(header.path.name, part, family, shapes, {name: (header, place) for name, place in places.items()})


def check_strangers(header: Header, places: dict[str, Place], family: str) -> None:
    """Refuse a UNet that has more than its architecture: what is left out would change every picture."""
    known = {place.name for place in places.values()}
    prefix = min(known, key=len).partition("input_blocks")[0] if any("input_blocks" in name for name in known) else ""
    inside = prefix and [name for name in header.tensors if name.startswith(prefix) and name not in known]
    strange = [name for name in inside or () if not name.endswith((SCALE, ".scale_input", "scaled_fp8"))]
    if strange:
        raise CharaloomError(
            f"{header.path.name} is another architecture than {TITLES[family]}: its UNet has {len(strange)} tensors too"
            f" many ({strange[0]}); {TAKE}, or name its architecture with `config`"
        )


def found(
    file: str, part: str, family: str, shapes: Shapes, places: dict[str, tuple[Header, Place]]
) -> dict[str, Source]:
    """The tensors of a part. Raises CharaloomError at the first that is missing or has another shape."""
    missing = [name for name, (header, place) in places.items() if place.name not in header.tensors]
    missing += [name for name in shapes if name not in places]
    if missing:
        first = places[missing[0]][1].name if missing[0] in places else missing[0]
        raise CharaloomError(
            f"{file}: its {NAMES[part]} lacks {len(missing)} of {len(shapes)} tensors of {TITLES[family]}, first"
            f" {first}; fetch it again, or take another copy of this model"
        )
    sources = {}
    for name, (header, place) in places.items():
        tensor = header.tensors[place.name]
        if tensor.dtype not in NUMBERS:
            raise CharaloomError(f"{file}: {place.name} is quantised ({tensor.dtype}): take its fp16 version")
        if not fits(tensor.shape, shapes[name], place):
            raise CharaloomError(
                f"{file}: {place.name} has the shape {list(tensor.shape)}, {TITLES[family]} has {list(shapes[name])}"
                f"{' (transposed)' if place.transposed else ''}: take another copy of this model, or name its"
                " architecture with `config`"
            )
        scale = header.tensors.get(place.name.removesuffix(".weight") + SCALE) if tensor.dtype in FP8 else None
        sources[name] = Source(header.path, tensor, place, shapes[name], scale)
    return sources


def fits(shape: tuple[int, ...], wanted: tuple[int, ...], place: Place) -> bool:
    """Whether a tensor becomes one of shape `wanted`; a 1 x 1 convolution is a linear layer with the same numbers."""
    if place.third is not None:
        return shape == (3 * wanted[0], *wanted[1:])
    if place.transposed:
        return shape == wanted[::-1]
    plain = (*wanted, 1, 1) if len(wanted) == 2 else wanted[:2] if wanted[2:] == (1, 1) else wanted
    return shape in (wanted, plain)


def folder_model(folder: Path) -> Model:
    facts = model_facts(folder)
    family = str(facts.family)
    parts, files, plain = {}, [], (folder / "model_index.json").is_file()
    for part in PARTS[family]:
        headers = part_headers(folder, part, family)
        files += [header.path for header in headers]
        parts[part] = folder_part(headers, part, folder, family)
        plain &= len(headers) == 1 and headers[0].path.name == f"{STEMS.get(part, 'model')}.safetensors"
        plain &= not any((folder / part).glob("*.index*.json"))  # which diffusers would follow, to files that may lack
        plain &= all(
            tensor.tensor.dtype not in FP8 and tensor.tensor.shape == tensor.shape for tensor in parts[part].values()
        )
    for part in ("scheduler", *TOKENIZERS[family]):
        if not (folder / part).is_dir():
            raise CharaloomError(f"{folder} has no {part}/, as folders of {TITLES[family]} have: fetch it again")
    for tokenizer, encoder in TOKENIZERS[family].items():
        check_words(folder / tokenizer, read_config(folder, encoder)["vocab_size"])
    files += texts(folder, family)
    return Model(folder, family, facts.prediction, facts.zero_snr, folder, parts, tuple(files), plain)


def texts(folder: Path, family: str) -> Iterator[Path]:
    """Configs and tokenizer of a folder."""
    for part in (*PARTS[family], "scheduler", "tokenizer", "tokenizer_2"):
        if part != "tokenizer_2" or family == SDXL:
            for path in sorted((folder / part).rglob("*")):
                if path.suffix in (".json", ".txt") and ".index." not in path.name and path.is_file():
                    yield path


def part_headers(folder: Path, part: str, family: str) -> list[Header]:
    """The weights of a part: one file, one of a variant, or several with an index."""
    if not (folder / part).is_dir():
        raise CharaloomError(f"{folder} has no {part}/, as folders of {TITLES[family]} have: fetch it again")
    stem = STEMS.get(part, "model")
    for variant in VARIANTS:
        single = folder / part / f"{stem}{variant}.safetensors"
        if single.is_file():
            return [read_part(folder, single)]
        for index in (f"{stem}.safetensors.index{variant}.json", f"{stem}{variant}.safetensors.index.json"):
            if (folder / part / index).is_file():
                return [read_part(folder, shard) for shard in shards(folder / part / index)]
    pickled = any(path.suffix in PICKLES for path in (folder / part).iterdir())
    why = "pickled weights (.bin) run code when they are read and are never opened: " if pickled else ""
    raise CharaloomError(
        f"{folder}: {part}/{stem}.safetensors is missing; {why}take a repo or folder with safetensors weights"
    )


def shards(index: Path) -> list[Path]:
    """The files that an index names."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise CharaloomError(f"{index} is no valid index of weights; fetch it again") from None
    plain = [name for name in names if isinstance(name, str) and Path(name).name == name]
    if not plain or len(plain) != len(names):
        raise CharaloomError(f"{index} names files outside its folder; fetch it again")
    return [index.parent / name for name in plain]


def read_part(folder: Path, path: Path) -> Header:
    try:
        return read_header(path)
    except CharaloomError as problem:
        raise CharaloomError(f"{folder}: {path.parent.name}/{problem}") from None


def folder_part(headers: list[Header], part: str, folder: Path, family: str) -> dict[str, Source]:
    shapes = part_shapes(part, read_config(folder, part))
    holders = {former(name): (header, Place(name)) for header in headers for name in header.tensors}
    renamed = part.startswith("text_encoder") and not any(name.startswith(TEXT_MODEL) for name in holders)
    if renamed and any(name.startswith("encoder.layers.") for name in holders):
        raise CharaloomError(
            f"{folder}: {part} was saved by transformers >= 5.6, whose keys lack `text_model.`; other versions would"
            " load it as random numbers without a word: save it again with the pinned version"
        )
    places = {name: holders[name] for name in shapes if name in holders}
    return found(f"{folder}/{part}", part, family, shapes, places)


def former(name: str) -> str:
    """A tensor's name today: attention of VAEs was named otherwise before 2023-03, which diffusers still reads."""
    for old, new in DEPRECATED.items():
        name = name.replace(f"mid_block.attentions.0.{old}.", f"mid_block.attentions.0.{new}.")
    return name


def read_whole(model: Model, work: Path) -> dict[Path, Read]:
    """What reading the files of a model whole has found; each is read once as long as it does not change."""
    root = model.path if model.path.is_dir() else None
    found: dict[Path, Read] = {}
    for folder in dict.fromkeys(root or path.parent for path in model.files):
        names = [str(path.relative_to(folder)) for path in model.files if root or path.parent == folder]
        found |= {folder / name: read for name, read in read_files(folder, names, work).items()}
    return found


def check_numbers(model: Model, files: Mapping[Path, Read]) -> None:
    """Refuse a model with NaN or infinity in a weight that is used."""
    for part, tensors in model.parts.items():
        for source in tensors.values():
            if source.place.name in files[source.path].broken:
                raise CharaloomError(
                    f"{source.path.name}: {source.place.name} of its {NAMES[part]} holds NaN or infinity, which would"
                    " spoil every picture and training: fetch it again, or take another copy of this model"
                )


def model_digest(model: Model, files: Mapping[Path, Read]) -> str:
    """The SHA-256 of a single file, as model sites show it; over all files where there are several."""
    if len(model.files) == 1:
        return files[model.path].sha256
    if model.path.is_dir():
        return digest({str(path.relative_to(model.path)): read.sha256 for path, read in files.items()})
    return digest([files[path].sha256 for path in model.files])
