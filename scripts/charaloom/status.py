"""The table of a run: what was seen and kept of each character, what came out, where the report lies.

Read from the artifacts themselves, so that it is true whoever ran the stages.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from charaloom.config import Project
from charaloom.files import read_json
from charaloom.stages import STAGES

COLUMNS = ("character", "seen", "kept", "outfits", "checkpoint", "recognised", "report")
NOTHING = "–"


def stage_outputs(project: Project, name: str, stage: str) -> list[Path]:
    """The manifest, or the receipts, that say that a stage of a character is finished."""
    folder = Path(project.config["paths"]["results"]) / name
    if stage == "published":
        return [folder / "published" / f"{target}.json" for target in project.config["published"]["targets"]]
    return [folder / f"{stage}.manifest.json"]


def finished(project: Project, name: str, stage: str) -> bool:
    return all(path.is_file() for path in stage_outputs(project, name, stage))


def row_of(project: Project, name: str) -> dict[str, str]:
    """One row of the table; what does not exist yet is a dash."""
    folder = Path(project.config["paths"]["results"]) / name
    missing = next((stage for stage in STAGES if not finished(project, name, stage)), None)
    report = folder / "report.html"
    checkpoint, score = maybe(lambda: chosen(folder)) or (NOTHING, NOTHING)
    return {
        "character": name,
        "seen": shown(maybe(lambda: seen(folder))),
        "kept": shown(maybe(lambda: kept(folder))),
        "outfits": shown(maybe(lambda: outfits(folder))),
        "checkpoint": checkpoint,
        "recognised": score,
        "report": f"not finished: {missing} is next" if missing else str(report),
    }


def seen(folder: Path) -> int:
    """Posts or files looked at."""
    import pyarrow.parquet as pq

    return pq.read_metadata(folder / "raw.parquet").num_rows


def kept(folder: Path) -> int:
    """Pictures of which at least one view was kept."""
    return len(kept_pictures(folder))


def kept_pictures(folder: Path) -> set[str]:
    from charaloom.tables import read_table

    rows = read_table(folder / "filtered.parquet", ["picture", "verdict"])
    return {row["picture"] for row in rows if row["verdict"] == "keep"}


def outfits(folder: Path) -> int:
    """Outfits that are trained."""
    return sum(outfit["trained"] for outfit in read_json(folder / "outfits.json")["outfits"])


def chosen(folder: Path) -> tuple[str, str]:
    """The selected checkpoint, and how many of its previews on the training base are recognised as her."""
    selection = read_json(folder / "selection.json")
    numbers = next(entry for entry in selection["checkpoints"] if entry["checkpoint"] == selection["chosen"])
    return selection["chosen"], f"{numbers['recognised']} of {numbers['asked']}"


def maybe(read: Callable[[], Any]) -> Any:
    """What is read, or None where the artifact is not there."""
    try:
        return read()
    except FileNotFoundError:
        return None


def shown(value: Any) -> str:
    return NOTHING if value is None else str(value)


def table(rows: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    """Rows as aligned text under a header; numbers to the right."""
    cells = [list(columns), *([str(row[column]) for column in columns] for row in rows)]
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


def status_table(project: Project) -> str:
    return table([row_of(project, name) for name in project.characters], COLUMNS)
