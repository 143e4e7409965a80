"""`charaloom init`: a roster and a config of the user's own, outside the files that come with the code.

It asks on a terminal for what its options do not say. It only adds: a file or a row that is there stays as it is.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from charaloom.artifacts.files import write_text
from charaloom.cli.text import counted
from charaloom.config.base_files import open_model
from charaloom.config.layers import OWN_CONFIG, config_files, read_config
from charaloom.config.project import meant_config
from charaloom.config.roster import FOLDER, check_row, read_roster
from charaloom.config.schemas import Config, check, written_out
from charaloom.errors import CharaloomError
from charaloom.images.files import read_folder
from charaloom.sources.find import plain_character, with_row

OWN_ROSTER = OWN_CONFIG.with_name("characters.tsv")
OWN_BASE = "my-base"  # name of a base that is given as a path
AGES = {"y": "adult", "yes": "adult", "n": "minor", "no": "minor", "": "unknown"}  # by what is answered
HEADER = (
    "# Your own settings, over config/config.yaml, which describes every key. `charaloom init` wrote this file once.\n"
)


@dataclass(frozen=True)
class Wishes:
    """What the options say; None where they say nothing."""

    character: str | None = None
    pictures: str | None = None
    base: str | None = None
    age: str | None = None
    trigger: str | None = None


def init(wishes: Wishes, ask: Callable[[str], str] = input) -> list[str]:
    """Add a character to the roster and, where there is none, write the config; lines that say what was done."""
    config = meant_config(read_config(config_files()))
    check(config, "config", config_files())
    asking = ask if sys.stdin.isatty() else None
    folder = wished_folder(wishes.pictures, asking)
    name = wished_name(wishes.character, folder, asking)
    is_first = not OWN_CONFIG.exists()
    base = wished_base(wishes.base, config, asking) if is_first else None
    age = (wishes.age or wished_age(asking)).replace("unknown", "")
    roster = OWN_ROSTER if is_first and not has_characters(config) else Path(config["roster"])
    row = {"character": name, "source": FOLDER, "query": folder, "trigger": wishes.trigger or "", "age": age}
    lines = [added(roster, row, config)]
    if is_first:
        write_text(OWN_CONFIG, HEADER + yaml.safe_dump(settings(roster, base), sort_keys=False, allow_unicode=True))
        lines.append(f"written: {OWN_CONFIG}, with the base model {base or config['training']['base']}")
    else:
        given = f" ({wishes.base} is not written there)" if wishes.base else ""
        lines.append(f"as it was: {OWN_CONFIG}, which names the base model {config['training']['base']!r}{given}")
    return [*lines, f"Next: charaloom run {name}"]


def settings(roster: Path, base: str | None) -> Config:
    """The keys of the user's own config."""
    if base is None:
        return {"roster": str(roster)}
    named = base if not is_path(base) else OWN_BASE
    entry: Config = {"bases": {OWN_BASE: {"path": base}}} if is_path(base) else {}
    return {"roster": str(roster), **entry, "training": {"base": named}, "previews": {"bases": [named]}}


def is_path(base: str) -> bool:
    return Path(base).expanduser().exists()


def has_characters(config: Config) -> bool:
    roster = Path(config["roster"])
    return roster.is_file() and bool(read_roster(roster))


def added(roster: Path, row: dict[str, str], config: Config) -> str:
    """Add a row to the roster, unless it is there."""
    there = read_roster(roster) if roster.is_file() else {}
    if row["character"] in there:
        known = there[row["character"]]
        if (known.source, known.query) == (FOLDER, str(Path(written_out(row["query"])))):
            return f"as it was: {roster}, which has {known.name} with {known.query}"
        raise CharaloomError(
            f"{roster}: {known.name!r} is there already, with {known.query}; change that row, or give another name"
        )
    check_row(row, str(roster), config["boards"])
    number = len(read_folder(Path(written_out(row["query"]))).pictures)
    roster.parent.mkdir(parents=True, exist_ok=True)
    write_text(roster, with_row(roster, row))
    few = config["raw"]["minimum"]
    hint = f"; at least {few} are wanted" if number < few else ""
    return f"written: {roster}, {row['character']} with {counted(number, 'picture')} of {row['query']}{hint}"


# --- what is wished for

Ask = Callable[[str], str] | None  # None: nobody can be asked


def wished_folder(given: str | None, ask: Ask) -> str:
    while True:
        folder = given or (ask("Where are the pictures of the character (a folder)? ").strip() if ask else "")
        problem = folder_problem(folder)
        if problem is None:
            return folder
        if given or not ask:
            raise CharaloomError(f"--pictures: {problem}; paths start at the working directory")
        print(f"{problem[0].upper()}{problem[1:]}; paths start here, in {Path.cwd()}.")


def folder_problem(folder: str) -> str | None:
    """Why a folder is none of pictures alone; None where it is one."""
    place = Path(written_out(folder))
    if not folder:
        return "name the folder of pictures"
    if not (place.is_dir() and folder.isprintable()):
        return f"there is no folder {folder!r}"
    if Path.cwd().is_relative_to(place.resolve()):
        return f"{folder!r} holds all that is made here; name the folder of pictures in it"
    return None if read_folder(place).pictures else f"{folder!r} holds no picture; put some into it"


def wished_name(given: str | None, folder: str, ask: Ask) -> str:
    proposal = given or plain_character(Path(written_out(folder)).resolve().name)
    if given or not ask:
        return proposal
    answer = ask(f"What is the character called, in a-z, 0-9 and _ (Enter: {proposal})? ").strip()
    return plain_character(answer) if answer else proposal


def wished_base(given: str | None, config: Config, ask: Ask) -> str | None:
    """The path or the name of a base; None for the one of the defaults."""
    default = config["training"]["base"]
    while True:
        base = given or (ask(f"Which base model (a file, a folder, a name; Enter: {default})? ").strip() if ask else "")
        if not base or base == default:
            return None
        try:
            check_wished(base, config)
        except CharaloomError as problem:
            if given or not ask:
                raise CharaloomError(f"--base: {problem}") from None
            print(f"{problem}.")
            continue
        return base


def check_wished(base: str, config: Config) -> None:
    if base in config["bases"]:
        return
    path = Path(base).expanduser()
    if not path.exists():
        raise CharaloomError(
            f"{base!r} is no file, no folder and no name of `bases` ({', '.join(config['bases'])}); paths start at the"
            " working directory"
        )
    open_model(path, {"path": str(path)})


def wished_age(ask: Ask) -> str:
    while ask:
        answer = ask("Is the character an adult (y, n; Enter: not known)? ").strip().lower()
        if answer in AGES:
            return AGES[answer]
    return "unknown"
