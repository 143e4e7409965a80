"""Files beside the config: the lock of the picture models, the removals, the policy, folders of references."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

from charaloom.artifacts.files import digest, write_text
from charaloom.artifacts.types import PathLike
from charaloom.config.schemas import CODE, Config, check, origin, read_yaml, written_out
from charaloom.errors import CharaloomError
from charaloom.images.files import contents, read_folder

POLICY = "config/policy.yaml"  # no key of the config names another
# The digest of what the policy says as it comes:
SHIPPED_POLICY = "ae97776667ba7e095395b7fd451d03c5beeb99b47e1173bc1047810d31dce59a"

SHA256 = re.compile("[0-9a-f]{64}")


def located(path: str) -> Path:
    """A file that the config names: from the working directory, else as it comes with the code."""
    for file in (Path(path), CODE / path):
        if file.is_file():
            return file
    raise CharaloomError(f"{path}: there is no such file; paths start at the working directory")


@cache
def read_lock(path: str) -> list[Config]:
    """The pinned picture models: a list of {repo, repo_type, revision, files: {path: sha256 or null}}."""
    return read_yaml(located(path))


@cache
def read_removals(path: str) -> Config:
    """{removals: posts, artists and pictures to exclude}; nothing where the file lists nothing."""
    file = located(path)
    removals = read_yaml(file)
    check(removals, "removals", [file])
    listed = {kind: sorted(set(names or [])) for kind, names in removals.items()}
    return {"removals": listed} if any(listed.values()) else {}


@cache
def read_policy() -> Config:
    """{reason, minors: {blocked_tags}, pictures: {public}}. Raises CharaloomError where it was changed without one."""
    file = located(POLICY)
    policy: Config = read_yaml(file)
    check(policy, "policy", [file])
    said = digest({key: value for key, value in policy.items() if key != "reason"})
    if said != SHIPPED_POLICY and not policy["reason"]:
        raise CharaloomError(f"{file}: was changed; write into `reason` why, which each publication records")
    return policy


def add_removals(path: str, added: Mapping[str, Sequence[str]]) -> Path:
    """Add to the list of removals what it lacks, by `posts`, `artists`, `pictures`; comments and order stay.

    Returns the file, which lies in the working directory. Raises CharaloomError where it is no such list.
    """
    listed = read_removals(path).get("removals", {})
    text = located(path).read_text(encoding="utf-8")
    for kind, names in added.items():
        if new := [name for name in dict.fromkeys(names) if name not in listed.get(kind, [])]:
            text = with_entries(text, kind, new)
    write_text(Path(path), text)
    read_removals.cache_clear()
    read_removals(path)
    return Path(path)


def with_entries(text: str, key: str, entries: Sequence[str]) -> str:
    """YAML with entries added to the list under a key of its top level."""
    quoted = [json.dumps(entry, ensure_ascii=False) for entry in entries]
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = top.value if isinstance(top, yaml.MappingNode) else []
    node = next((value for name, value in pairs if name.value == key), None)
    if node is None:
        return text.rstrip("\n") + f"\n{key}: [{', '.join(quoted)}]\n"
    start, end = node.start_mark.index, node.end_mark.index
    if not isinstance(node, yaml.SequenceNode):  # nothing stands there, or `null`
        return f"{text[:start].rstrip(' ')} [{', '.join(quoted)}]{text[end:]}"
    if node.flow_style:
        return text[: end - 1].rstrip(", \n") + ", " * bool(node.value) + ", ".join(quoted) + text[end - 1 :]
    start, last = node.start_mark, node.value[-1].end_mark.index
    lines = "".join(f"\n{' ' * start.column}- {entry}" for entry in quoted)
    return text[:last] + lines + text[last:]


# --- pictures known to show the character


def reference_folders(config: Config) -> dict[str, str]:
    """The folders among `filtered.references`, by what the config says: what is no SHA-256 and no id of a site."""
    named = config["filtered"]["references"]
    return {entry: written_out(entry) for entry in named if not (":" in entry or SHA256.fullmatch(entry))}


def check_references(config: Config, files: Sequence[PathLike]) -> None:
    """The folders of references must be there, and hold some."""
    for entry, folder in reference_folders(config).items():
        where = f"{origin(files, ('filtered', 'references'), config)}: filtered.references: {entry!r}"
        if not os.path.isdir(folder):
            raise CharaloomError(
                f"{where} is no folder, no SHA-256 and no <site>:<post id>; name a folder of pictures, from the working"
                " directory, or take it out"
            )
        if not read_folder(folder).pictures:
            raise CharaloomError(f"{where} holds no picture; put some into it, or take it out")


def references_of(config: Config) -> list[str]:
    """`filtered.references` with the SHA-256 of each picture in place of its folder."""
    folders, work = reference_folders(config), config["paths"]["work"]
    own = [entry for entry in config["filtered"]["references"] if entry not in folders]
    pictures = {
        content
        for folder in folders.values()
        for path, content in contents(folder, work).items()
        if path in set(read_folder(folder).pictures)
    }
    return [*own, *sorted(pictures)]
