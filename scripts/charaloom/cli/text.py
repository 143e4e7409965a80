"""Text for the terminal: aligned tables, durations, counts, what became of a folder's files."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from charaloom.artifacts.files import read_json
from charaloom.artifacts.manifest import MANIFEST_ENDING
from charaloom.config.roster import FOLDER, Character
from charaloom.images.files import printable
from charaloom.sources.folders.reader import files_list

NOTHING = "–"
FILES_NAMED = 4  # of a folder, in its line
MOST_MINUTES, MOST_HOURS = 180, 72  # of a duration that is told in minutes, in hours


def table(rows: Sequence[Mapping[str, str | None]], columns: Sequence[str]) -> str:
    """Rows as aligned text under a header; numbers to the right, a dash for None."""
    cells = [list(columns), *([NOTHING if row[name] is None else str(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    right = [all(is_number(line[index]) for line in cells[1:]) for index in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def is_number(text: str) -> bool:
    return text == NOTHING or text.replace(".", "", 1).isdigit()


def clock(seconds: float) -> str:
    """1:05, or 1:02:03 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """`under a minute`, `about 5 min`, `about 4 h`, `about 3 days`."""
    if seconds < 50:
        return "under a minute"
    minutes = max(1, round(seconds / 60))
    if minutes < MOST_MINUTES:
        return f"about {minutes} min"
    hours = round(minutes / 60)
    return f"about {hours} h" if hours < MOST_HOURS else f"about {round(hours / 24)} days"


def counted(number: int, noun: str) -> str:
    """`1 job`, `3 jobs`, `2,800 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def folder_line(character: Character, folder: Path) -> str | None:
    """`hana: 45 pictures, 38 with captions; not read: a.heic (…)` of a finished stage `raw`; `folder` is that of the
    character's results. None for a board."""
    if character.source != FOLDER:
        return None
    with suppress(OSError, ValueError, KeyError):
        files = read_json(files_list(folder / f"raw{MANIFEST_ENDING}"))
        said = f"{character.name}: {counted(files['pictures'], 'picture')}, {files['captions']:,} with captions"
        unused = [f"{printable(name)} ({printable(why)})" for name, why in files["unused"]]
        if not unused:
            return said
        more = (
            f" and {len(unused) - FILES_NAMED:,} more, see {folder / 'curation.html'}"
            if len(unused) > FILES_NAMED
            else ""
        )
        return f"{said}; not read: {', '.join(unused[:FILES_NAMED])}{more}"
    return None
