"""Config, roster and files of characters: every mistake at once. A key that is wrong counts as left out for the checks
behind it, so that the others are found in the same run."""

import copy
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from charaloom.artifacts.types import PathLike
from charaloom.cli.check.findings import Findings
from charaloom.config.layers import DEFAULTS, config_files, merged, own_file, read_config
from charaloom.config.project import Project, files_of_nobody, meant_config, names_with_file, refuse_passwords
from charaloom.config.roster import Character, check_source, empty_roster, read_roster
from charaloom.config.schemas import MISSING, Config, as_meant, placed, read_yaml, value_at, violations

TRIES = 4  # at putting wrong keys back: one may stand inside another


def find_project(overlays: Iterable[PathLike], findings: Findings) -> tuple[Project, list[Path]] | None:
    """The project of these config files, as far as it can be told, and the files that could be read."""
    wanted = config_files(overlays)
    files = readable_files(wanted, findings)
    with findings.collecting():
        config = find_config(read_config(files), files, findings)
        if config is None or files != wanted:  # without all files, what they say of places would be missed
            return None
        characters = find_roster(config, findings)
        own = {name: find_own(config, name, findings) for name in names_with_file(config, characters)}
        for line in files_of_nobody(config, characters):
            findings.warning(line)
        special = {name: merged(config, values) for name, values in own.items() if values is not None}
        return Project(config, characters, special), files
    return None


def readable_files(files: Sequence[Path], findings: Findings) -> list[Path]:
    kept = []
    for path in files:
        if not path.suffix and not path.exists():
            findings.error(f"{path}: there is no such config file; names of characters stand before --configfile")
            continue
        with findings.collecting():
            read_config([path])
            kept.append(path)
    return kept


def find_config(config: Config, files: Sequence[PathLike], findings: Findings) -> Config | None:
    """The config without what breaks its schema; None where nothing is left of it."""
    config = meant_config(config)
    findings.run([partial(refuse_passwords, config)])
    for round_ in range(TRIES):
        broken = list(violations(config, "config"))
        if not broken:
            return config
        if not round_:
            for key, message in broken:
                findings.error(placed((key, message), config, files) + default_of(key))
        for key, _ in broken:
            put_back(config, key)
    return None


def default_of(key: tuple[Any, ...]) -> str:
    """What holds without the key, for a message; nothing where it is no value."""
    default = value_at(read_yaml(DEFAULTS), key)
    if default is MISSING or isinstance(default, dict | list):
        return ""
    return f"; left out, it is {'null' if default is None else default}"


def put_back(config: Config, key: tuple[Any, ...]) -> None:
    """Give the key that breaks the schema its default, or take it out where it has none."""
    top = key[0] if key else None
    for length in range(len(key), 0, -1):
        default = value_at(read_yaml(DEFAULTS), key[:length])
        place = value_at(config, key[: length - 1])
        if not isinstance(place, dict):
            continue
        if default is not MISSING:
            place[key[length - 1]] = copy.deepcopy(default)
        else:
            place.pop(key[length - 1], None)
        return
    if top is None:
        config.clear()
        config.update(read_yaml(DEFAULTS))


def find_roster(config: Config, findings: Findings) -> dict[str, Character]:
    with findings.collecting():
        characters = read_roster(config["roster"])
        if not characters:
            findings.error(empty_roster(config))
        return characters
    return {}


def find_own(config: Config, name: str, findings: Findings) -> Config | None:
    """What a character's own file says; None where it cannot be used."""
    path = own_file(config, name)
    with findings.collecting():
        own = as_meant(read_yaml(path), "character")
        broken = list(violations(own, "character"))
        for each in broken:
            findings.error(placed(each, own, [path]))
        if broken:
            return None
        for number, entry in enumerate(own.get("sources", [])):
            findings.run([partial(check_source, entry, f"{path}: sources.{number}", config["boards"])])
        return own
    return None
