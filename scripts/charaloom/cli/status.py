"""`charaloom status`: where every character stands, as a table in the terminal.

With `--needs`: time and memory that each stage needed, by the benchmark files of past runs, to request of a cluster.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from charaloom.artifacts.files import read_json
from charaloom.artifacts.types import Row
from charaloom.cli.progress import records
from charaloom.cli.text import clock, counted, table
from charaloom.config.project import Project
from charaloom.config.stages import PASSES
from charaloom.pages.standing import Standing, Standings, results_of
from charaloom.publishing.cards.model_facts import recommended
from charaloom.publishing.layout import lora_file

NEEDS = ("stage", "jobs", "median", "longest", "most memory")
COLUMNS = ("character", "seen", "kept", "outfits", "checkpoint", "recognised", "report")
MOST_USES = 8  # characters of which a run says at its end how to use them; set by hand
MOST_ROWS = 40  # of the table; set by hand
STATES = ("finished", "weak", "failed", "begun", "waiting")
REASON_LENGTH = 100  # characters of a reason in the table


def status_table(project: Project, standings: Standings | None = None) -> str:
    """One row per character, and in one line how many are in each state.

    Of many characters, the first ones who need a person or are not finished.
    """
    everybody = list(standings or Standings(project))
    shown = everybody if len(everybody) <= MOST_ROWS else sorted(everybody, key=lambda each: each.rank)[:MOST_ROWS]
    lines = [table([row_of(project, character) for character in shown], COLUMNS)]
    if len(everybody) > len(shown):
        page = Path(project.config["paths"]["results"]) / "status.html"
        lines.append(f"… and {len(everybody) - len(shown):,} more: {page} lists them all")
    return "\n".join([*lines, totals(everybody)])


def use_lines(project: Project, standings: Standings, names: Sequence[str]) -> Iterator[str]:
    """For each finished character what to load, at which weight, what to write and where to look."""
    finished = [name for name in names if standings.by_name[name].state == "finished"]
    for name in finished[:MOST_USES]:
        folder = results_of(project, name)
        with suppress(OSError, ValueError, KeyError):
            selection, outfits = read_json(folder / "selection.json"), read_json(folder / "outfits.json")
            weight = recommended(selection).get(selection["base"]) or 1.0
            file, report = folder / "model" / lora_file(name), folder / "report.html"
            yield f"{name}: load {file} at weight {weight:g} and write {outfits['trigger']}"
            yield f"    prompts of {counted(trained(outfits), 'outfit')}, previews, numbers: {report}"


def trained(outfits: Row) -> int:
    return sum(outfit["trained"] for outfit in outfits["outfits"])


def row_of(project: Project, character: Standing) -> dict[str, str | None]:
    report = str(results_of(project, character.name) / "report.html")
    begun = "was interrupted" if character.interrupted else "is running, or was stopped"
    last_cell = {
        "finished": report,
        "weak": f"weak: {report} says what to try",
        "failed": shortened(f"failed in {character.stage}: {character.why}"),
        "begun": f"not finished: {character.stage} {begun}",
        "waiting": f"not finished: {character.stage} is next",
    }
    return {"character": character.name, **character.numbers, "report": last_cell[character.state]}


def shortened(text: str) -> str:
    return text if len(text) <= REASON_LENGTH else text[: REASON_LENGTH - 1] + "…"


def totals(standings: list[Standing]) -> str:
    """`3 characters: 1 finished, 1 failed (raw), 1 begun`."""
    states = Counter(character.state for character in standings)
    stages = Counter(character.stage for character in standings if character.state == "failed")
    where = ", ".join(f"{stage} {number:,}" if number > 1 else str(stage) for stage, number in stages.most_common())
    parts = [
        f"{states[state]:,} {state}" + (f" ({where})" if state == "failed" else "") for state in STATES if states[state]
    ]
    return f"{counted(len(standings), 'character')}: {', '.join(parts)}"


# --- what stages needed


def needs_table(benchmarks: Path) -> str:
    """One row per stage; times as 1:02:03, memory in gigabytes."""
    jobs = records([benchmarks, *benchmarks.glob("*/")])
    return table([needs_of(stage, jobs.get(stage, [])) for stage in PASSES], NEEDS)


def needs_of(stage: str, jobs: list[Row]) -> dict[str, str | None]:
    seconds = [float(job["s"]) for job in jobs]
    memory = [float(job["max_rss"]) for job in jobs if isinstance(job.get("max_rss"), int | float)]
    return {
        "stage": stage,
        "jobs": str(len(jobs)),
        "median": clock(statistics.median(seconds)) if seconds else None,
        "longest": clock(max(seconds)) if seconds else None,
        "most memory": f"{max(memory) / 1024:.1f} GB" if memory else None,
    }
