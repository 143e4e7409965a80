"""The roster: one row per character, checked line by line."""

import csv
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.config.schemas import Config, schema, suggestion, violation, written_out
from charaloom.errors import CharaloomError

Check = Callable[[], object]  # raises CharaloomError where something is wrong

FOLDER, BOARD = "folder", "board"
DATASET, WAIFUC = "dataset", "waifuc"
KINDS = (BOARD, FOLDER, "archive", "video", DATASET, WAIFUC)  # of sources
# Folders beside the characters':
RESERVED = frozenset({"bases", "benchmarks", "demo", "folders", "hosts", "hub", "index", "logs", "measured"})
# What diffusers takes for no LoRA where it looks for the one of a repository (`_best_guess_weight_name`):
PASSED_OVER = ("checkpoint", "optimizer", "scheduler")
COLUMNS = ("character", "source", "query", "trigger", "age")
ADULT, GENERAL = "adult", "general"
REPO = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
ACCOUNT = re.compile(r"://[^/\s\"]*@|[?&](api_key|token|password|login)=", re.IGNORECASE)  # in an address
SECRET = re.compile(r"key|token|passw|secret|cookie|session", re.IGNORECASE)  # in the name of an option
EMBEDDING = "emb"  # end of the words that embeddings are known by


@dataclass(frozen=True)
class Character:
    """One row of the roster."""

    name: str
    source: str  # `folder` or the name of a board
    query: str  # path of the folder, or the character's tag on the board
    trigger: str
    age: str  # adult, minor, unknown

    @property
    def tag(self) -> str | None:
        """The character's tag on the board; None where the pictures come from a folder."""
        return None if self.source == FOLDER else self.query


def embedding_word(character: str) -> str:
    """The word that A1111, Forge and diffusers know a character's embedding by: diffusers wherever it begins a longer
    word, A1111 wherever its tokens stand. Nothing else in a prompt may hold it."""
    return f"{character}_{EMBEDDING}"


def allowed_ratings(ratings: Iterable[str], age: str) -> list[str]:
    """The ratings that a character may have: general alone, whatever the config says, unless known to be an adult."""
    return list(ratings) if age == ADULT else [GENERAL]


def empty_roster(config: Config) -> str:
    return f"{config['roster']}: holds no character yet; `charaloom init` adds one"


def read_roster(path: PathLike) -> dict[str, Character]:
    """Characters by name, in the order of the file, as far as its form lets them be read; of a name that is there
    twice, the first. `roster_checks` finds what is wrong with them."""
    characters: dict[str, Character] = {}
    for _, row in roster_rows(path):
        character = character_of(row)
        characters.setdefault(character.name, character)
    return characters


def roster_checks(path: PathLike, boards: Config) -> Iterator[Check]:
    """What checks a roster that can be read, row by row. Every problem names the file and the line."""
    seen: set[str] = set()
    for line, row in roster_rows(path):
        where = f"{path}: line {line}"
        yield partial(check_row, row, where, boards)
        yield partial(check_name, row["character"], where, row["character"] in seen)
        seen.add(row["character"])
    for character in (characters := read_roster(path)).values():
        yield partial(check_trigger, path, character, characters)


def check_name(name: str, where: str, is_second: bool) -> None:
    if is_second:
        raise CharaloomError(f"{where}: character: {name!r} is there twice; give one of them another name")


def check_trigger(path: PathLike, character: Character, names: Container[str]) -> None:
    """Refuse a trigger that holds the word of an embedding: programs would put the embedding there."""
    trigger = character.trigger.lower()
    for end in (match.start() for match in re.finditer(f"_{EMBEDDING}", trigger)):
        owner = next((trigger[start:end] for start in range(end) if trigger[start:end] in names), None)
        if owner:
            raise CharaloomError(
                f"{path}: character {character.name!r}: their trigger {character.trigger!r} holds"
                f" {embedding_word(owner)!r}, the word of an embedding; give another `trigger` or another name"
            )


def roster_rows(path: PathLike) -> list[tuple[int, dict[str, str]]]:
    """(line number, row by column) of a roster; empty lines and lines that start with `#` are skipped."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as handle:
            lines = list(csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as problem:
        raise CharaloomError(
            f"{path}: the roster cannot be read: {problem.strerror}; `roster` in the config names it, from the"
            " working directory; `charaloom init` writes one"
        ) from problem
    except UnicodeDecodeError as problem:
        raise CharaloomError(f"{path}: the roster is not UTF-8 text; save it as UTF-8") from problem
    filled = [(line, cells) for line, cells in enumerate(lines, 1) if "".join(cells).strip() and cells[0][:1] != "#"]
    if not filled:
        return []
    header = [cell.strip() for cell in filled[0][1]]
    check_header(header, f"{path}: line {filled[0][0]}")
    rows = []
    for line, cells in filled[1:]:
        if len(cells) > len(header):
            raise CharaloomError(f"{path}: line {line}: {len(cells)} columns where the header has {len(header)}")
        padded = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
        rows.append((line, dict(zip(header, padded, strict=True))))
    return rows


def check_header(header: list[str], where: str) -> None:
    if len(header) == 1 and len(re.split(r"[\s,;]+", header[0])) > 1:
        raise CharaloomError(f"{where}: the columns must be separated by tabs: {', '.join(COLUMNS)}")
    for name in header:
        if name not in COLUMNS:
            raise CharaloomError(f"{where}: unknown column {name!r}{suggestion(name, COLUMNS)}")
        if header.count(name) > 1:
            raise CharaloomError(f"{where}: column {name!r} is there twice")
    missing = [name for name in schema("roster")["required"] if name not in header]
    if missing:
        raise CharaloomError(f"{where}: column {missing[0]!r} is missing; the columns are {', '.join(COLUMNS)}")


def check_row(row: dict[str, str], where: str, boards: Config) -> None:
    broken = violation(row, "roster")
    if broken:
        raise CharaloomError(f"{where}: {broken[0][0]}: {broken[1]}")
    if not row.get("trigger", "").isprintable():
        raise CharaloomError(
            f"{where}: trigger: {row['trigger']!r} holds a letter that cannot be seen, such as NUL or a line break; "
            "write it anew"
        )
    name, source = row["character"], row["source"]
    if name in RESERVED:
        raise CharaloomError(f"{where}: character: {name!r} is a folder of Charaloom's own; take another name")
    if held := next((word for word in PASSED_OVER if word in name), None):
        raise CharaloomError(
            f"{where}: character: {name!r} holds {held!r}: diffusers would not find a LoRA of this name; take another"
        )
    if source != FOLDER and source not in boards:
        raise CharaloomError(f"{where}: source: {source!r} is no source{suggestion(source, [FOLDER, *boards])}")
    folder = character_of(row).query
    if source == FOLDER and not Path(folder).is_dir():
        raise CharaloomError(f"{where}: query: there is no folder {folder!r}; paths start at the working directory")


def check_sources(entries: list[Config], where: str, boards: Config) -> None:
    """Check the sources of a character's own file, `where`."""
    for number, entry in enumerate(entries):
        check_source(entry, f"{where}: sources.{number}", boards)


def check_source(entry: Config, place: str, boards: Config) -> None:
    """A source must be of one kind, and what it names must be there. `place`: file and key, for the error."""
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        named = " and ".join(kinds) or "none of them"
        raise CharaloomError(f"{place}: a source is one of {', '.join(KINDS)}; here is {named}")
    kind, value = kinds[0], entry[kinds[0]]
    if kind == BOARD and value not in boards:
        raise CharaloomError(f"{place}.board: {value!r} is no board{suggestion(value, boards)}")
    if kind == BOARD and not entry.get("query"):
        raise CharaloomError(f"{place}: `query` is missing (the character's tag on {value})")
    if kind != BOARD and "query" in entry:
        raise CharaloomError(f"{place}.query: only a board has a query; take it out, or name a board")
    if kind == WAIFUC:
        check_waifuc(value, f"{place}.{WAIFUC}")
    elif kind == DATASET and "revision" in entry:
        if not REPO.fullmatch(value):
            raise CharaloomError(f"{place}.dataset: {value!r} is no repository of the hub, as in `owner/name`")
    elif others := [key for key in ("revision", "files") if key in entry]:
        raise CharaloomError(f"{place}.{others[0]}: only a dataset of the hub has it (`dataset: owner/name`)")
    elif kind != BOARD and not Path(written_out(value)).exists():
        cure = "; of a dataset on the hub, also give its `revision`" if kind == DATASET else ""
        raise CharaloomError(f"{place}.{kind}: there is no {value!r}; paths start at the working directory{cure}")


def check_waifuc(entry: Config, where: str) -> None:
    """Refuse what names an account or opens one, and stands in the file: others read that, too."""
    if ACCOUNT.search(json.dumps(entry)):
        raise CharaloomError(f"{where}: an address holds an account; write the address alone")
    for name, value in entry.get("options", {}).items():
        named = isinstance(value, dict) and set(value) == {"env"} and isinstance(value["env"], str)
        if value is not None and not named and SECRET.search(name):
            raise CharaloomError(
                f"{where}.options.{name}: an account belongs into the environment; name its variable, as in "
                f"`{name}: {{env: CHARALOOM_WAIFUC_{name.upper()}}}`"
            )


def character_of(row: dict[str, str]) -> Character:
    name, source, query = row["character"], row["source"], row["query"]
    if source == FOLDER:
        query = str(Path(written_out(query)))
    return Character(name, source, query, row.get("trigger") or f"{name}_charaloom", row.get("age") or "unknown")
