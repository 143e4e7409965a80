"""The check as a whole: what `charaloom check` prints, and what `charaloom run` looks at first."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from charaloom.cli.check.findings import Findings
from charaloom.cli.check.hubs import check_hub
from charaloom.cli.check.machine import Reckoning, check_memory, check_precision, reckoned, used_gpus
from charaloom.cli.check.places import check_places, check_room, use_cache_below
from charaloom.cli.check.project import find_project
from charaloom.cli.check.publishing import check_publishing
from charaloom.cli.check.sources import OWN_HOSTS, check_accounts, check_character
from charaloom.cli.due import Due
from charaloom.cli.snakemake import Snakemake
from charaloom.cli.text import counted
from charaloom.config.base_files import base_facts
from charaloom.config.project import BaseChecks, Project, project_checks, whole_checks
from charaloom.config.schemas import suggestion
from charaloom.config.stage_params import boards_of
from charaloom.config.stages import PASSES
from charaloom.errors import CharaloomError
from charaloom.runtime.gpus import gpus

WRONG = 2  # exit code where something must be mended before anything starts
SECONDS_TO_LOOK = 1.5  # at the sources of characters, those of whom nothing is there first; set by hand
POST_BYTES = 1.5e6  # of a board's picture, set by hand as in `sources.find`
COPIES, OF_BOARDS = 2, 3  # of a picture: in `raw.parquet` and the dataset; a board's is in its store, too


@dataclass
class Checked:
    """What a check has found, and what it has looked at."""

    project: Project | None = None
    findings: Findings = field(default_factory=Findings)
    reckoning: Reckoning = field(default_factory=Reckoning)

    @property
    def code(self) -> int:
        return WRONG if self.findings.errors else 0


def check(snakemake: Snakemake, until: str | None = None, names: Sequence[str] = ()) -> Checked:
    """Check all that a run of characters (all, if none is named) up to stage `until` needs. It prints each finding at
    once, and nothing that costs minutes comes before the others."""
    checked = Checked()
    findings, on_cluster = checked.findings, False
    with findings.collecting():
        on_cluster = snakemake.on_cluster()
    found = find_project(snakemake.overlays, findings)
    if found is None:
        return checked
    project, files = found
    checked.project = project
    use_cache_below(Path(project.config["paths"]["work"]))
    check_names(project, names, findings)
    bases: BaseChecks = {}
    with findings.collecting():
        for chain in project_checks(project, files, bases):
            findings.run(chain)
    for name in dict.fromkeys(name for name, _ in bases):
        warn_of_name(project, name, findings)
    check_places(project, findings)
    own = [name for name in names or project.characters if name in project.characters]
    wanted = PASSES[: PASSES.index(until) + 1] if until else PASSES
    if "published" in wanted:
        check_publishing(project, own, findings)
    untrained = lacking(project, own, "model") if "checkpoints" in wanted else []
    with findings.collecting():
        check_needs(project, own, bool(untrained), findings)
    if not on_cluster:
        seen = used_gpus(gpus(), findings)
        check_precision(project, files, seen, findings)
        if untrained and not findings.errors:
            check_memory(project, seen, findings)
            checked.reckoning = reckoned(project, untrained, seen)
    for chain in whole_checks(project, files, bases):
        findings.run(chain)
    return checked


def check_names(project: Project, names: Sequence[str], findings: Findings) -> None:
    """The characters that a command names must be in the roster."""
    for name in names:
        if name not in project.characters:
            findings.error(f"{name}: is not in {project.config['roster']}{suggestion(name, project.characters)}")


def warn_of_name(project: Project, name: str, findings: Findings) -> None:
    """A base whose file is called v-prediction and that neither its tensors nor its entry say so."""
    entry = project.config["bases"].get(name, {})
    path = Path(entry.get("path") or "")
    if path.suffix != ".safetensors" or entry.get("prediction") or not re.search("v[-_ ]?pred", path.name, re.I):
        return
    with suppress(CharaloomError, OSError):
        if base_facts(entry).prediction is None:
            findings.warning(
                f"bases.{name}: {path.name} is called v-prediction, and nothing in it says so: it would be trained as"
                " noise prediction; set `prediction: v_prediction` of this base, or epsilon if that is right"
            )


def lacking(project: Project, names: Sequence[str], stage: str) -> list[str]:
    """The characters of whom a stage has made nothing yet."""
    results = Path(project.config["paths"]["results"])
    return [name for name in names if not (results / name / f"{stage}.manifest.json").is_file()]


def check_needs(project: Project, names: Sequence[str], trains: bool, findings: Findings) -> None:
    """Pictures, models from the hub, and the room for them."""
    new = dict.fromkeys(lacking(project, names, "raw"))
    sure = check_hub(project, Due(project).models_due(), trains, findings)
    until = time.monotonic() + SECONDS_TO_LOOK
    copied = 0.0
    for name in [*new, *(name for name in names if name not in new)]:
        if time.monotonic() > until:
            break
        size = check_character(project, name, findings)
        copied += size if name in new else 0.0
    check_accounts(project, names, findings)
    posts = sum(project.config_of(name)["raw"]["limit"] for name in new if asks_others(project, name))
    likely = {"pictures of boards": posts * POST_BYTES * OF_BOARDS} if posts else {}
    check_room(project, {**sure, **({"pictures": copied * COPIES} if copied else {})}, likely, findings)


def asks_others(project: Project, name: str) -> bool:
    """Whether a character's pictures come from a board that is not on this machine."""
    config = project.config_of(name)
    used = boards_of(config, project.characters[name]) & set(config["boards"])
    return any(urlsplit(config["boards"][board]["root"]).hostname not in OWN_HOSTS for board in used)


def summary(checked: Checked) -> str:
    """`2 errors, 1 warning: nothing was started; mend the errors, and start again.`"""
    errors, warnings = len(checked.findings.errors), len(checked.findings.warnings)
    also = f", {counted(warnings, 'warning')}" if warnings else ""
    if errors:
        return f"{counted(errors, 'error')}{also}: nothing was started; mend what is named above, and start again."
    characters = counted(len(checked.project.characters), "character") if checked.project else "no character"
    return f"{characters}: nothing is wrong{also}."
