"""The config, the roster and what each stage may know of them. Light imports only: every job parses this again.

Layers, later ones win key by key: config/config.yaml beside the code, config/config.yaml of the working directory,
--configfile, --config; for one character her config/characters/<name>.yaml on top. Relative paths start at the
working directory and stay as written, so that no path of a machine reaches a lineage.
"""

import copy
import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, sha256_file
from charaloom.artifacts.types import PathLike
from charaloom.config.recipes import BY_PICTURES, recipe, settled
from charaloom.config.schemas import Config, check, meant, origin, read_yaml, schema, violation
from charaloom.config.stages import STAGE_VERSION
from charaloom.errors import CharaloomError

CODE = Path(__file__).resolve().parents[3]
DEFAULTS = CODE / "config" / "config.yaml"
CONFIG_NAME = Path("config/config.yaml")

FOLDER = "folder"
RESERVED = frozenset({"bases", "benchmarks", "demo", "hub", "logs", "measured"})  # folders beside the characters'
COLUMNS = ("character", "source", "query", "trigger", "age")


@dataclass(frozen=True)
class Character:
    """One row of the roster."""

    name: str
    source: str  # `folder` or the name of a board
    query: str  # path of the folder, or her tag on the board
    trigger: str
    age: str  # adult, minor, unknown


@dataclass(frozen=True)
class Project:
    """A checked config, the roster by name in its order, and the config of each character who has one of her own."""

    config: Config
    characters: dict[str, Character]
    special: dict[str, Config] = field(default_factory=dict)

    def config_of(self, name: str) -> Config:
        return self.special.get(name, self.config)


# --- reading


def merged(below: Config, above: Config) -> Config:
    """`above` over `below`: mappings key by key, everything else whole. Neither is changed."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def config_files(overlays: Iterable[PathLike] = ()) -> list[Path]:
    """The config files in the order they apply: beside the code, of the working directory, then `overlays`."""
    local = [CONFIG_NAME] if CONFIG_NAME.exists() and not CONFIG_NAME.samefile(DEFAULTS) else []
    return [DEFAULTS, *local, *map(Path, overlays)]


def read_config(files: Sequence[PathLike]) -> Config:
    """Merge config files; unchecked."""
    config: Config = {}
    for path in files:
        layer = read_yaml(path)
        if not isinstance(layer, dict):
            raise CharaloomError(f"{path}: holds no keys; write `key: value` lines as in config/config.yaml")
        config = merged(config, layer)
    return config


def load_project(overlays: Iterable[PathLike] = ()) -> Project:
    """Read, merge and check everything a run is made of."""
    files = config_files(overlays)
    project = open_project(read_config(files), files)
    if not project.characters:
        raise CharaloomError(empty_roster(project.config))
    return project


def empty_roster(config: Config) -> str:
    return f"{config['roster']}: holds no character yet; add a row: her name, `folder`, the path of her pictures"


def open_project(config: Config, files: Sequence[PathLike], trusted: bool = False) -> Project:
    """A project from a merged config; `files` are where its keys came from, for the errors.

    `trusted` skips the checks: for the jobs of a run whose controller made them.
    """
    config = copy.deepcopy(dict(config))
    config.pop("pathvars", None)
    if not trusted:
        check(config, "config", files)
    characters = read_roster(config["roster"], config["boards"], trusted)
    project = Project(config, characters, read_special(config, characters, trusted))
    if not trusted:
        check_bases(project, files)
        read_removals(config["removals"])
        read_lock(config["models"]["lock"])
    return project


# --- roster and characters


def read_roster(path: PathLike, boards: Config, trusted: bool = False) -> dict[str, Character]:
    """Characters by name, in the order of the file. Every problem names the file and the line."""
    characters: dict[str, Character] = {}
    for line, row in roster_rows(path):
        where = f"{path}: line {line}"
        if not trusted:
            check_row(row, where, boards)
        character = character_of(row)
        if character.name in characters:
            raise CharaloomError(
                f"{where}: character: {character.name!r} is there twice; give one of them another name"
            )
        characters[character.name] = character
    return characters


def roster_rows(path: PathLike) -> list[tuple[int, dict[str, str]]]:
    """(line number, row by column) of a roster; empty lines and lines that start with `#` are skipped."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as handle:
            lines = list(csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as problem:
        raise CharaloomError(
            f"{path}: the roster cannot be read: {problem.strerror} (`roster` in the config)"
        ) from problem
    except UnicodeDecodeError as problem:
        raise CharaloomError(f"{path}: the roster is not UTF-8 text; save it as UTF-8") from problem
    spoken = [(line, cells) for line, cells in enumerate(lines, 1) if "".join(cells).strip() and cells[0][:1] != "#"]
    if not spoken:
        return []
    header = [cell.strip() for cell in spoken[0][1]]
    check_header(header, f"{path}: line {spoken[0][0]}")
    rows = []
    for line, cells in spoken[1:]:
        if len(cells) > len(header):
            raise CharaloomError(f"{path}: line {line}: {len(cells)} columns where the header has {len(header)}")
        padded = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
        rows.append((line, dict(zip(header, padded, strict=True))))
    return rows


def check_header(header: list[str], where: str) -> None:
    if len(header) == 1 and len(header[0].split()) > 1:
        raise CharaloomError(f"{where}: the columns must be separated by tabs: {', '.join(COLUMNS)}")
    for name in header:
        if name not in COLUMNS:
            raise CharaloomError(f"{where}: unknown column {name!r}{meant(name, COLUMNS)}")
        if header.count(name) > 1:
            raise CharaloomError(f"{where}: column {name!r} is there twice")
    missing = [name for name in schema("roster")["required"] if name not in header]
    if missing:
        raise CharaloomError(f"{where}: column {missing[0]!r} is missing; the columns are {', '.join(COLUMNS)}")


def check_row(row: dict[str, str], where: str, boards: Config) -> None:
    broken = violation(row, "roster")
    if broken:
        raise CharaloomError(f"{where}: {broken[0][0]}: {broken[1]}")
    name, source = row["character"], row["source"]
    if name in RESERVED:
        raise CharaloomError(f"{where}: character: {name!r} is a folder of Charaloom's own; take another name")
    if source != FOLDER and source not in boards:
        raise CharaloomError(f"{where}: source: {source!r} is no source{meant(source, [FOLDER, *boards])}")
    folder = character_of(row).query
    if source == FOLDER and not Path(folder).is_dir():
        raise CharaloomError(f"{where}: query: there is no folder {folder!r}; paths start at the working directory")


def character_of(row: dict[str, str]) -> Character:
    name, source, query = row["character"], row["source"], row["query"]
    if source == FOLDER:
        query = str(Path(query).expanduser())
    return Character(name, source, query, row.get("trigger") or f"{name}_charaloom", row.get("age") or "unknown")


def special_folder(config: Config) -> Path:
    """config/characters/ beside the roster: <name>.yaml holds what is special about one character."""
    return Path(config["roster"]).parent / "characters"


def read_special(config: Config, characters: dict[str, Character], trusted: bool = False) -> dict[str, Config]:
    """The whole config of each character who has a file of her own."""
    folder = special_folder(config)
    special = {}
    for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
        if path.stem not in characters:
            raise CharaloomError(f"{path}: {path.stem!r} is not in {config['roster']}{meant(path.stem, characters)}")
        own = read_yaml(path)
        if not trusted:
            check(own, "character", [path])
        special[path.stem] = merged(config, own)
    return special


def check_bases(project: Project, files: Sequence[PathLike]) -> None:
    """Every base model that a character trains or draws with must be in `bases`, and in its place."""
    checked = set()
    for name in ["", *project.special]:
        config = project.special.get(name, project.config)
        sources = [*files, special_folder(config) / f"{name}.yaml"] if name else files
        for base, key in bases_wanted(config):
            if (base, key) not in checked:
                check_base(config, base, key, sources)
                checked.add((base, key))
        check_recipe(config, sources)
        check_families(config, sources)


def check_recipe(config: Config, files: Sequence[PathLike]) -> None:
    """The recipe must be there and, with what `training` sets, leave nothing open for any number of pictures."""
    where = f"{origin(files, ('training', 'recipe'), config)}: training.recipe"
    name = config["training"]["recipe"]
    try:
        params = training_of(config)
    except CharaloomError as problem:
        raise CharaloomError(f"{where}: {problem}") from None
    known = schema("config")["$defs"]["settings"]["properties"]
    found = {**params, **settled(params, 0)}
    missing = [key for key in known if key not in found]
    if missing:
        raise CharaloomError(
            f"{where}: recipe {name!r} says nothing of `{missing[0]}` for {config['training']['base']}"
        )


def check_families(config: Config, files: Sequence[PathLike]) -> None:
    """A LoRA fits bases of its own family only."""
    trained = config["training"]["base"]
    family = config["bases"][trained]["family"]
    for name in config["previews"]["bases"]:
        if config["bases"][name]["family"] != family:
            where = f"{origin(files, ('previews', 'bases'), config)}: previews.bases"
            own = config["bases"][name]["family"]
            raise CharaloomError(f"{where}: {name!r} is an {own} base, {trained!r}, which is trained on, is {family}")


def bases_wanted(config: Config) -> list[tuple[str, tuple[str, str]]]:
    """(name, key path that names it) of every base model a config uses."""
    trained = [(config["training"]["base"], ("training", "base"))]
    return trained + [(base, ("previews", "bases")) for base in config["previews"]["bases"]]


def check_base(config: Config, name: str, key: tuple[str, str], files: Sequence[PathLike]) -> None:
    bases = config["bases"]
    if name not in bases:
        where = f"{origin(files, key, config)}: {'.'.join(key)}"
        raise CharaloomError(f"{where}: there is no base {name!r}{meant(name, bases)}")
    base, where = bases[name], f"{origin(files, ('bases', name), config)}: bases.{name}"
    if base.get("path") is None:
        if not (base.get("repo") and base.get("revision")):
            raise CharaloomError(f"{where}: needs `path`, or `repo` and `revision`")
        return
    path = Path(base["path"])
    if not (path.is_dir() or (path.is_file() and path.suffix == ".safetensors")):
        raise CharaloomError(f"{where}.path: {base['path']!r} is neither a diffusers folder nor a .safetensors file")


# --- what each stage may know


def stage_params(project: Project, name: str, stage: str) -> Config:
    """What one stage of one character may read of the config, as JSON-able data with sorted keys: its only param.

    The keys are the stage's config section, `version` (of the stage's meaning) and what `facts_of` adds.
    """
    config = project.config_of(name)
    character = project.characters[name]
    section = training_of(config) if stage == "checkpoints" else config.get(SECTIONS.get(stage, stage), {})
    params = {**section, **facts_of(config, character, stage)}
    if stage == "checkpoints" and params["early_stopping"]:
        params["previews"] = stage_params(project, name, "previews")
    if stage == "measured":
        del params["threads"]  # pictures side by side: changes no number
    params["version"] = STAGE_VERSION[stage]
    return {key: params[key] for key in sorted(params)}


SECTIONS = {"published": ""}


def facts_of(config: Config, character: Character, stage: str) -> Config:
    """What a stage reads besides its own config section."""
    seed, trigger = {"seed": config["seed"]}, {"trigger": character.trigger}
    match stage:
        case "raw":
            removals = read_removals(config["removals"])
            return {"source": source_of(config, character), "query": character.query, "age": character.age} | removals
        case "filtered":
            return {**seed, "tag": board_tag(character), "ratings": allowed_ratings(config, character)}
        case "tagged":
            return {"tag": board_tag(character)}
        case "clustered":
            return {**seed, **trigger}
        case "outfits":
            return seed
        case "checkpoints":
            return {**seed, **trigger}
        case "previews":
            bases = [base_of(config, name) for name in preview_bases(config)]
            return {**seed, "bases": bases, "selection": config["selection"]}
        case "model":
            return {"base": base_of(config, config["training"]["base"])}
        case _:
            return {}


def training_of(config: Config) -> Config:
    """The recipe under what `training` sets by hand, and the base model."""
    own = {key: value for key, value in config["training"].items() if key != "warm_seconds"}  # changes no byte
    base = base_of(config, own["base"])
    found = recipe(config["recipes"], own["recipe"], base["family"])
    lines = [{key: value for key, value in line.items() if key not in own} for line in found.get(BY_PICTURES, [])]
    others = {"regularisation_digest": pictures_digest(own["regularisation"])} if own["regularisation"] else {}
    return {**found, **own, BY_PICTURES: lines, "base": base, **others}


def publish_params(project: Project, name: str, target: str) -> Config:
    """What publishing one character to one target reads."""
    section = project.config_of(name)["published"]
    return {
        **stage_params(project, name, "published"),
        "private": section["private"],
        "target": section["targets"][target],
    }


def models_params(project: Project) -> Config:
    """What fetching the picture models reads."""
    return {"hub": project.config["models"]["hub"], "lock": read_lock(project.config["models"]["lock"])}


@cache
def read_lock(path: str) -> list[Config]:
    """The pinned picture models: a list of {repo, repo_type, revision, files: {path: sha256 or null}}."""
    return read_yaml(located(path))


@cache
def read_removals(path: str) -> Config:
    """{removals: what must not be had: posts, artists, pictures}; nothing where the file lists nothing."""
    file = located(path)
    removals = read_yaml(file)
    check(removals, "removals", [file])
    listed = {kind: sorted(set(names or [])) for kind, names in removals.items()}
    return {"removals": listed} if any(listed.values()) else {}


def located(path: str) -> Path:
    """A file of the config: from the working directory, else as it comes with the code."""
    for file in (Path(path), CODE / path):
        if file.is_file():
            return file
    raise CharaloomError(f"{path}: there is no such file; paths start at the working directory")


def allowed_ratings(config: Config, character: Character) -> list[str]:
    """Who is not known to be an adult has general pictures only, whatever the config says."""
    return config["raw"]["ratings"] if character.age == "adult" else ["general"]


def board_tag(character: Character) -> str | None:
    """Her tag on the board; None where the pictures come from a folder."""
    return None if character.source == FOLDER else character.query


def source_of(config: Config, character: Character) -> Config:
    if character.source == FOLDER:
        return {"kind": FOLDER, "path": character.query}
    return {"kind": "board", "name": character.source, **config["boards"][character.source]}


def folder_digest(character: Character) -> str | None:
    """What lies in a character's folder: names and sizes of the pictures, contents of what is written beside them.

    Another digest reads the folder again. Times do not count: a copied or touched folder would train anew.
    """
    return pictures_digest(character.query) if character.source == FOLDER else None


def pictures_digest(folder: str) -> str:
    """Names and sizes of the pictures of a folder, contents of what is written beside them."""
    from charaloom.images.files import EXTENSIONS, side_files

    found: list[list[Any]] = []
    for parent, _, names in os.walk(folder):
        pictures = {Path(parent, name) for name in names if Path(name).suffix.lower() in EXTENSIONS}
        beside = {Path(parent, name) for name in names} & {side for path in pictures for side in side_files(path)}
        found += [[str(path.relative_to(folder)), path.stat().st_size] for path in pictures if path.is_file()]
        found += [[str(path.relative_to(folder)), sha256_file(path)] for path in beside if path.is_file()]
    return digest(sorted(found))


def base_of(config: Config, name: str) -> Config:
    empty = {"path": None, "repo": None, "revision": None}
    return {**empty, **config["bases"][name], "name": name}


def preview_bases(config: Config) -> list[str]:
    """The base that is trained on draws first, then the others."""
    first = config["training"]["base"]
    return [first, *(name for name in config["previews"]["bases"] if name != first)]
