"""What became of the files of a user's folder, in one line on the terminal."""

from contextlib import suppress
from pathlib import Path

from charaloom.artifacts.files import read_json
from charaloom.artifacts.manifest import MANIFEST_ENDING
from charaloom.cli.text import counted
from charaloom.config.roster import FOLDER, Character
from charaloom.sources.folders.reader import files_list

NAMED = 4  # files that the line names


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
        more = f" and {len(unused) - NAMED:,} more, see {folder / 'curation.html'}" if len(unused) > NAMED else ""
        return f"{said}; not read: {', '.join(unused[:NAMED])}{more}"
    return None


def printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
