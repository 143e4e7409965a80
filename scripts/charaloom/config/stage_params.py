"""What each stage of one character may read of the config and the roster: the only param of its rule."""

import os
from pathlib import Path

from charaloom.artifacts.files import digest, sha256_bytes
from charaloom.config.bases import base_of, preview_base, preview_bases
from charaloom.config.families import family_of
from charaloom.config.named_files import read_lock, read_policy, read_removals, reference_folders, references_of
from charaloom.config.params import CHARACTER, HUB
from charaloom.config.project import Project
from charaloom.config.recipes import largest_resolution, training_of
from charaloom.config.roster import ADULT, BOARD, DATASET, FOLDER, KINDS, WAIFUC, Character, allowed_ratings
from charaloom.config.schemas import AUTO, Config, written_out
from charaloom.config.stages import STAGE_VERSION
from charaloom.images.files import pictures_digest


def stage_params(project: Project, name: str, stage: str) -> Config:
    """What one stage of one character may read of the config, as JSON-able data with sorted keys: its only param.

    The keys are the stage's config section, `version` (of the stage's meaning) and what `facts_of` adds.
    """
    config = project.config_of(name)
    character = project.characters[name]
    section = training_of(config) if stage == "checkpoints" else config.get(SECTIONS.get(stage, stage), {})
    params = {**section, **sizes_of(config, stage), **facts_of(config, character, stage)}
    if stage == "checkpoints" and params["early_stopping"]:
        params["previews"] = stage_params(project, name, "previews")
    for key in UNREAD.get(stage, ()):
        del params[key]
    params["version"] = STAGE_VERSION[stage]
    return {key: params[key] for key in sorted(params)}


SECTIONS = {"published": ""}
UNREAD = {  # keys of a section that its stage does not read
    "measured": ("threads",),  # pictures side by side: changes no number
    "previews": ("negative", "guidance"),  # what bases without their own take
}


def sizes_of(config: Config, stage: str) -> Config:
    """What `auto` means of the sizes in a stage's section, in pixels.

    Pictures train at up to `resolution` squared pixels, in buckets of at most 4:1, whose short side is then half of the
    resolution. Smaller ones train at their own size: down to three quarters of the resolution, squared, they are worth
    it. The dataset holds a half more pixels than a bucket, so that a picture of another shape covers it.
    """
    match stage:
        case "filtered":
            resolution = largest_resolution(config)
            least = {"short_side": resolution // 2, "area": (resolution * 3 // 4) ** 2}
            return {key: {kind: or_auto(own, least[key]) for kind, own in config[stage][key].items()} for key in least}
        case "dataset":
            return {"resolution": or_auto(config[stage]["resolution"], largest_resolution(config) * 5 // 4)}
        case "previews":
            width, height = family_of(base_of(config, config["training"]["base"])["family"]).preview_size
            return {"width": or_auto(config[stage]["width"], width), "height": or_auto(config[stage]["height"], height)}
        case _:
            return {}


def or_auto(own: int | str, derived: int) -> int | str:
    """What the config says, or where it says `auto` what was derived."""
    return derived if own == AUTO else own


def facts_of(config: Config, character: Character, stage: str) -> Config:
    """What a stage reads besides its own config section."""
    seed, trigger = {"seed": config["seed"]}, {"trigger": character.trigger}
    match stage:
        case "raw":
            removals = read_removals(config["removals"])
            sampled = seed if any(config["raw"]["sampling"].values()) else {}
            return {"sources": sources_of(config, character), "age": character.age} | sampled | removals
        case "filtered":
            ratings = {"ratings": allowed_ratings(config["raw"]["ratings"], character.age)}
            named = {"references": references_of(config)}
            own = {"tag": character.tag, "variants": variants_of(config, character)}
            return {**seed, **ratings, **named, **own, **blocked_of(character)}
        case "tagged":
            return {"tag": character.tag, **trigger}
        case "clustered":
            return {**seed, **trigger, "captions": config["tagged"]["captions"]}
        case "outfits":
            base = base_of(config, config["training"]["base"])
            return {**seed, "prefix": base["prefix"], "suffix": base["suffix"]}
        case "checkpoints":
            return {**seed, **trigger}
        case "previews":
            bases = [preview_base(config, name) for name in preview_bases(config)]
            rule = {key: value for key, value in config["selection"].items() if key != "minimum"}
            return {**seed, "bases": bases, "selection": rule}
        case "dataset":
            return {**published_as(config, character.name), "policy": policy_of(config, character)}
        case "model":
            facts = {"base": base_of(config, config["training"]["base"]), "policy": policy_of(config, character)}
            return {**facts, **published_as(config, character.name)}
        case _:
            return {}


def published_as(config: Config, name: str) -> Config:
    """What cards say of where a character is published: the repositories on the first hub among the targets, and who is
    asked to remove a picture."""
    published = config["published"]
    contact = {"contact": published["contact"]}
    for target in published["targets"].values():
        if target and target["kind"] == "hub":
            names = {kind: (target.get(kind) or CHARACTER).replace(CHARACTER, name) for kind in ("dataset", "model")}
            names = {kind: f"{target['namespace']}/{own}" for kind, own in names.items()}
            return {
                **contact,
                "repositories": {**names, "endpoint": (target.get("endpoint") or HUB).rstrip("/")},
            }
    return contact


def blocked_of(character: Character) -> Config:
    """{blocked: tags} of a character who is not known to be an adult; nothing of others."""
    return {} if character.age == ADULT else {"blocked": read_policy()["minors"]["blocked_tags"]}


def policy_of(config: Config, character: Character) -> Config:
    """What may be published of a character, without the removals, which for the most part name other pictures."""
    ratings = allowed_ratings(config["raw"]["ratings"], character.age)
    blocked = blocked_of(character).get("blocked", [])
    said = {"public": read_policy()["pictures"]["public"], "reason": read_policy()["reason"]}
    return {"age": character.age, "blocked": blocked, "ratings": ratings, **said}


def variants_of(config: Config, character: Character) -> bool:
    """Whether a drawing with another face is kept: as the config says, else in folders, where sprites lie."""
    wanted = config["filtered"]["variants"]
    return character.source == FOLDER if wanted is None else wanted


def publish_params(project: Project, name: str, target: str) -> Config:
    """What publishing one character to one target reads."""
    config = project.config_of(name)
    section = config["published"]
    return {
        **stage_params(project, name, "published"),
        "private": section["private"],
        "weak": section["weak"],
        "target": target_of(section["targets"][target]),
        "policy": {**policy_of(config, project.characters[name]), **read_removals(config["removals"])},
        "roster": row_of(project.characters[name]),
    }


def target_of(entry: Config) -> Config:
    """A target with what it leaves out: the hub of the environment, repositories named like their character."""
    if entry["kind"] != "hub":
        return entry
    known = {key: value for key, value in entry.items() if value is not None and key != "path"}
    endpoint = known.get("endpoint") or os.environ.get("HF_ENDPOINT") or HUB
    return {"dataset": CHARACTER, "model": CHARACTER, **known, "endpoint": endpoint.rstrip("/")}


def row_of(character: Character) -> Config:
    """A character's row of the roster, as others may read it: of a folder without its path."""
    query = {} if character.source == FOLDER else {"query": character.query}
    own = {"character": character.name, "source": character.source, "trigger": character.trigger, "age": character.age}
    return {**own, **query}


def models_params(project: Project) -> Config:
    """What fetching the picture models reads."""
    return {"hub": project.config["models"]["hub"], "lock": read_lock(project.config["models"]["lock"])}


def sources_of(config: Config, character: Character) -> list[Config]:
    """All sources of a character: the roster's, those of the character's own file, folders of references."""
    return [origin_of(config, entry) for entry in entries_of(config, character)]


def entries_of(config: Config, character: Character) -> list[Config]:
    own: Config = {FOLDER: character.query} if character.source == FOLDER else {BOARD: character.source}
    query = {} if character.source == FOLDER else {"query": character.query}
    entries = [{**own, **query}, *config.get("sources", [])]
    folders = {os.path.abspath(written_out(entry[FOLDER])) for entry in entries if FOLDER in entry}
    more = [folder for folder in reference_folders(config).values() if os.path.abspath(folder) not in folders]
    return [*entries, *({FOLDER: folder} for folder in more)]


def boards_of(config: Config, character: Character) -> set[str]:
    """The boards that a character's pictures come from."""
    return {entry[BOARD] for entry in entries_of(config, character) if BOARD in entry}


def origin_of(config: Config, entry: Config) -> Config:
    """One source as stage `raw` knows it; files of the user's with a digest of their content, so that a change of them
    is seen. Times do not count: a copied or touched folder would train anew."""
    kind = next(kind for kind in KINDS if kind in entry)
    more = {key: entry[key] for key in ("query", "quota") if entry.get(key) is not None}
    if kind == BOARD:
        board = config["boards"][entry[BOARD]]
        known = {key: value for key, value in board.items() if value is not None}
        hub = {"hub": config["models"]["hub"]} if "mirror" in known else {}
        return {"kind": BOARD, "name": entry[BOARD], **known, **hub, **more}
    if kind == WAIFUC:
        return {"kind": kind, WAIFUC: entry[WAIFUC], **more}
    if kind == DATASET and "revision" in entry:
        own = {"repo": entry[DATASET], "revision": entry["revision"], "hub": config["models"]["hub"]}
        return {"kind": kind, **own, **({"files": entry["files"]} if "files" in entry else {}), **more}
    path = str(Path(written_out(entry[kind])))
    return {"kind": kind, "path": path, "content": content_of(kind, path, config["paths"]["work"]), **more}


def content_of(kind: str, path: str, work: str) -> str:
    """A digest of what stands at a path, cheap enough for each look at the roster.

    Of an archive or a video it sees the size, the beginning and the end, where an archive lists its files. `work` keeps
    what is known of a folder's files that did not change.
    """
    if kind == FOLDER:
        return pictures_digest(path, work)
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    return digest([[str(file.relative_to(root)), ends_digest(file)] for file in files if file.is_file()])


ENDS_BYTES = 65536


def ends_digest(file: Path) -> str:
    with file.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(0)
        first = handle.read(ENDS_BYTES)
        handle.seek(max(0, size - ENDS_BYTES))
        return sha256_bytes(b"%d " % size + first + handle.read(ENDS_BYTES))
