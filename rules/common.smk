"""What the rules share: the checked project, and functions that name paths, params and resources. No rules here."""

import gc
import inspect
import shlex
import sys

gc.disable()  # until jobs run: a DAG is millions of objects that all live, looking for dead ones took a tenth

# Snakemake puts this path into shell commands as it is: a checkout may lie in `my clone (v1)/`.
sys.executable = shlex.quote(sys.executable)

# The package stands beside its scripts and is never installed; jobs find it the same way.
sys.path.append(str(Path(workflow.basedir, "scripts")))

from charaloom.config import stage_params as settings
from charaloom.config.layers import config_files
from charaloom.config.project import open_project
from charaloom.config.roster import empty_roster
from charaloom.config.stages import LOOKED_AT, STAGES
from charaloom.errors import CharaloomError


def opened_project():
    """The roster and config of this run, checked once by the controller; one line where a person must mend something."""
    files = config_files(workflow.overwrite_configfiles)
    try:
        return open_project(config, files, trusted=not workflow.is_main_process)
    except CharaloomError as problem:
        sys.exit(f"Error: {problem}")


project = opened_project()
config.update(project.config)  # numbers and `~` of paths as they are meant, also for the scripts
if not project.characters:
    print(empty_roster(config), file=sys.stderr)


def targets(stage):
    """What a finished stage has left: the manifest of every character, and what a person would miss if it were lost."""
    if stage == "models":
        return "<work>/models.manifest.json"
    if stage == "published":
        return [receipt for character in project.characters for receipt in receipts(character)]
    files = [f"{stage}.manifest.json", *LOOKED_AT.get(stage, [])]
    return collect("<results>/{character}/{file}", character=project.characters, file=files)


REPORTED = ("raw", "tagged", "clustered", "checkpoints", "previews", "selection", "model")  # what the report shows


def listed(stage):
    """The targets of a stage, listed when Snakemake needs them: most runs and every job name files instead."""
    return inspected(lambda wildcards: targets(stage))


def receipts(character):
    """One receipt for each target that a character is published to."""
    targets = project.config["published"]["targets"]
    return collect("<results>/{character}/published/{target}.json", character=character, target=targets)


def inspected(function):
    """Snakemake inspects the parameters of every function for every job: here they are inspected once."""
    function.__signature__ = inspect.signature(function)
    return function


def stage_params(stage):
    return inspected(lambda wildcards: settings.stage_params(project, wildcards.character, stage))


@inspected
def publish_params(wildcards):
    return settings.publish_params(project, wildcards.character, wildcards.target)


@inspected
def models_params(wildcards):
    return settings.models_params(project)


@inspected
def early_stopping_inputs(wildcards):
    """What the checkpoints of a training that may end early are judged by."""
    if not project.config_of(wildcards.character)["training"]["early_stopping"]:
        return []
    results, work = (project.config["paths"][place] for place in ("results", "work"))
    names = ["measured.parquet", "clustered.parquet", "clustered.prompts.json", "dataset.judging.json"]
    return [*(f"{results}/{wildcards.character}/{name}" for name in names), f"{work}/models.manifest.json"]


def board_slots():
    """One resource per board: a profile that allows 1 of each lets one crawler per site run at a time."""
    return {f"board_{board}": board_slot(board) for board in project.config["boards"]}


def boards_of(character):
    return settings.boards_of(project.config_of(character), project.characters[character])


def board_slot(board):
    return inspected(lambda wildcards: int(board in boards_of(wildcards.character)))


def stage_threads(section):
    return inspected(lambda wildcards: project.config_of(wildcards.character)[section]["threads"])


def growing(amount):
    """A resource that grows with each attempt."""
    return inspected(lambda wildcards, attempt: amount * attempt)
