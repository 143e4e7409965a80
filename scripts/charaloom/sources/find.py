"""Look a character up on the boards of the config: tags, posts by rating, what a crawl would take; and the entry."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from charaloom.artifacts.files import write_text
from charaloom.config.layers import own_file
from charaloom.config.params import Origin
from charaloom.config.project import Project
from charaloom.config.roster import BOARD, COLUMNS, roster_rows
from charaloom.config.schemas import Config
from charaloom.errors import CharaloomError
from charaloom.sources.boards.answers import NotAListError
from charaloom.sources.boards.dialect import Cursor, Dialect, Name, Request
from charaloom.sources.boards.listing import DIALECTS, body_of, signed_in, site_of
from charaloom.sources.safe_text import LONGEST_TAG, safe_text
from charaloom.sources.web import Web

RATINGS = ("general", "sensitive", "questionable", "explicit")
CANDIDATES = 3  # tags of a board whose posts are counted by rating
MEAN_BYTES = 1_500_000  # of a post where the board lists no sizes, set by hand

Result = TypeVar("Result")


@dataclass
class Candidate:
    """A tag of a board. `ratings`: posts by rating; `size`: mean bytes of its newest posts; `variant_of`: another tag
    that it implies, such as the character in another dress."""

    board: str
    tag: str
    posts: int | None
    variant_of: str | None = None
    ratings: dict[str, int] = field(default_factory=dict)
    size: float | None = None


def find(config: Config, name: str, boards: Iterable[str]) -> tuple[list[Candidate], list[str]]:
    """The candidates of each board, best first, and why a board gave none."""
    found: list[Candidate] = []
    problems = []
    hosts = Path(config["paths"]["work"]) / "hosts"
    for board in boards:
        entry = config["boards"][board]
        dialect = DIALECTS.get(entry["dialect"])
        if dialect is None or dialect.names_request(entry["root"], plain(name)) is None:
            problems.append(f"{board}: has no search of names; write its tag into the roster yourself")
            continue
        origin = Origin.of(
            {"kind": BOARD, "name": board, **{key: value for key, value in entry.items() if value is not None}}
        )
        try:
            with Web(signed_in(site_of(origin, config["contact"]), dialect, hosts), hosts) as web:
                own = candidates(web, board, dialect, plain(name))
        except CharaloomError as error:
            problems.append(str(error))
            continue
        found += own
        if not own:
            problems.append(f"{board}: knows no character of this name")
    return found, problems


def plain(name: str) -> str:
    return "_".join(name.lower().split())


def candidates(web: Web, board: str, dialect: Dialect, name: str) -> list[Candidate]:
    """The tags of a board that may be meant, with their numbers."""
    names = sorted(asked_names(web, dialect, name), key=lambda known: nearness(known, name))
    implied = variants(web, dialect, [known.tag for known in names])
    result = [Candidate(board, known.tag, known.posts, implied.get(known.tag)) for known in names]
    for candidate in result[:CANDIDATES]:
        for rating in dialect.rating_terms:
            number = counted(web, dialect, dialect.with_rating(candidate.tag, rating))
            if number is not None:
                candidate.ratings[rating] = number
    if result:
        result[0].size = mean_size(web, dialect, result[0].tag)
    return result


def asked_names(web: Web, dialect: Dialect, name: str) -> list[Name]:
    """The tags that hold the name; else those that hold its words in another order, or have it in another language.
    None without posts, none that could not stand in a row of the roster."""
    root = web.site.root
    found = read(web, dialect.names_request(root, name), dialect.names) or []
    words = [word for word in re.split(r"[\s_()]+", name) if word]
    if not found and len(words) > 1:
        found = read(web, dialect.names_request(root, max(words, key=len)), dialect.names) or []
        found = [known for known in found if all(word in plain(known.tag) for word in words)]
    if not found and (tags := read(web, dialect.other_names_request(root, name), dialect.other_names)):
        found = read(web, dialect.tags_request(root, tags), dialect.names) or []
    return [known for known in found if known.posts != 0 and known.tag == safe_text(known.tag, LONGEST_TAG)]


def counted(web: Web, dialect: Dialect, query: str) -> int | None:
    """How many posts a query has; None where the board does not tell, or says something else."""
    body = asked(web, dialect.count_request(web.site.root, query))
    try:
        return None if body is None else dialect.count(body)
    except NotAListError:
        return None


def variants(web: Web, dialect: Dialect, tags: list[str]) -> dict[str, str]:
    """The tag that each of some tags implies, of those among them."""
    request = dialect.variants_request(web.site.root, tags) if len(tags) > 1 else None
    implied = read(web, request, dialect.variants) or {}
    return {tag: other for tag, other in implied.items() if other in tags}


def read(web: Web, request: Request | None, understood: Callable[[bytes], Result]) -> Result | None:
    """What an answer says; None where the board has no such thing."""
    body = asked(web, request)
    try:
        return None if body is None else understood(body)
    except NotAListError as error:
        said = web.site.shown(str(error))
        raise CharaloomError(f"{web.site}: answered with {said}. Check dialect and root under boards.") from error


def asked(web: Web, request: Request | None) -> bytes | None:
    """The body of an answer; None where the board has no such thing."""
    if request is None:
        return None
    answer = web.get(request.url, request.params, request.headers)
    return None if answer.status == 404 else body_of(answer, web.site)


def nearness(known: Name, name: str) -> tuple[int, int, str]:
    """The very name first, then the name with a series behind it, then by posts."""
    tag = plain(known.tag)
    place = 0 if tag == name else 1 if tag.startswith(f"{name}_(") else 2
    return place, -(known.posts or 0), known.tag


def mean_size(web: Web, dialect: Dialect, query: str) -> float | None:
    """Mean bytes of the files of the first page."""
    request = dialect.request(web.site.root, query, Cursor())
    try:
        rows = dialect.page(asked(web, request) or b"").rows
    except NotAListError:
        return None
    sizes = [dialect.found(row, "", web.site.root, query).size for row in rows]
    known = [size for size in sizes if size]
    return sum(known) / len(known) if known else None


# ---- what is chosen and written


def chosen(found: list[Candidate], name: str, series: str | None) -> list[Candidate]:
    """One candidate of each board. Raises CharaloomError where a board has the name in several series."""
    result = []
    for board in dict.fromkeys(candidate.board for candidate in found):
        own = [candidate for candidate in found if candidate.board == board]
        near = [one for one in own if plain(one.tag) == plain(name) or plain(one.tag).startswith(f"{plain(name)}_(")]
        if series:
            near = [one for one in near or own if plain(series) in plain(one.tag)] or [
                one for one in near if plain(one.tag) == plain(name)
            ]
        different = {one.tag for one in near if plain(one.tag) != plain(name) and one.variant_of is None}
        if len(different) > 1 and not any(plain(one.tag) == plain(name) for one in near):
            raise CharaloomError(
                f"{name}: {board} has this name in several series: {', '.join(sorted(different))}. Say which with "
                "--series, a part of the tag."
            )
        result += sorted(near or own, key=lambda one: one.variant_of is not None)[:1]
    return result


def write_entry(project: Project, character: str, picked: list[Candidate], age: str) -> list[str]:
    """Add the character to the roster, and the further boards to the character's own file; the paths written."""
    roster = Path(project.config["roster"])
    own = own_file(project.config, character)
    if character in project.characters:
        raise CharaloomError(
            f"{roster}: {character!r} is there already; change its row, or give another name with --as"
        )
    if own.exists():
        raise CharaloomError(f"{own}: is there already; move it away, or give another name with --as")
    first, *others = sorted(picked, key=lambda one: (not one.ratings, -(usable(one, ("general",)) or 0)))
    row = {"character": character, "source": first.board, "query": first.tag, "age": age}
    write_text(roster, with_row(roster, row))
    if not others:
        return [str(roster)]
    sources = [{"board": candidate.board, "query": candidate.tag} for candidate in others]
    own.parent.mkdir(parents=True, exist_ok=True)
    write_text(own, yaml.safe_dump({"sources": sources}, sort_keys=False, allow_unicode=True))
    return [str(roster), str(own)]


def with_row(roster: Path, row: Mapping[str, str]) -> str:
    """The text of a roster with one more row, in the order of its columns."""
    text = roster.read_text(encoding="utf-8-sig") if roster.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    header = [cell.strip() for cell in lines[0].split("\t")] if lines else list(COLUMNS)
    if missing := [column for column in row if row[column] and column not in header]:
        raise CharaloomError(f"{roster}: has no column {missing[0]!r}; add it to the header line")
    roster_rows(roster) if lines else None
    before = text if not text or text.endswith("\n") else text + "\n"
    head = "" if lines else "\t".join(header) + "\n"
    return before + head + "\t".join(row.get(column, "") for column in header) + "\n"


# ---- what is shown


def usable(candidate: Candidate, ratings: Iterable[str]) -> int | None:
    """Posts of the allowed ratings; all of them where the board does not count by rating."""
    if not candidate.ratings:
        return candidate.posts
    return sum(candidate.ratings.get(rating, 0) for rating in ratings)


def table(found: list[Candidate]) -> str:
    head = ("board", "tag", "posts", *RATINGS)
    rows = [
        (one.board, one.tag, shown(one.posts), *(shown(one.ratings.get(rating)) for rating in RATINGS)) for one in found
    ]
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    )


def shown(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def forecast(picked: list[Candidate], config: Config) -> str:
    """How many posts a crawl would fetch, how many bytes, how long it would take at the configured pace."""
    limit, left = config["raw"]["limit"], config["raw"]["limit"]
    posts, size, seconds = 0, 0.0, 0.0
    ordered = sorted(picked, key=lambda one: usable(one, config["raw"]["ratings"]) or 0)
    for number, candidate in enumerate(ordered):
        there = usable(candidate, config["raw"]["ratings"])
        taken = min(limit if there is None else there, -(-left // (len(ordered) - number)))
        left -= taken
        board = config["boards"][candidate.board]
        dialect = DIALECTS[board["dialect"]]
        requests = taken * (2 if dialect.has_details else 1) + limit // dialect.page_size + 2
        posts, size = posts + taken, size + taken * (candidate.size or MEAN_BYTES)
        seconds += requests * board["seconds_between_requests"]
    amount = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    time = f"about {seconds / 60:.0f} minutes" if seconds >= 90 else "less than two minutes"
    return f"A crawl would fetch at most {posts:,} posts, about {amount}, in {time}."


def report(project: Project, name: str, options: Any) -> int:
    """What `charaloom find` prints and writes."""
    config = project.config
    boards = options.board or list(config["boards"])
    if unknown := [board for board in boards if board not in config["boards"]]:
        raise CharaloomError(f"{unknown[0]}: is no board of the config; there are {', '.join(config['boards'])}")
    found, problems = find(config, name, boards)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not found:
        raise CharaloomError(
            f"{name}: no board knows this name; try another spelling, or the name as a board writes it"
        )
    print(table(found))
    picked = chosen(found, name, options.series)
    print(forecast(picked, config))
    if options.dry_run:
        return 0
    for path in write_entry(project, options.character or plain_character(name), picked, options.age):
        print(f"written: {path}")
    return 0


def plain_character(name: str) -> str:
    """A character's name on disk from a name as people write it."""
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.lower())
    result = "_".join(part for part in letters.split("_") if part)[:64]
    if not result:
        raise CharaloomError(f"{name}: say how the character is called on disk, in a-z, 0-9 and _, with --as")
    return result
