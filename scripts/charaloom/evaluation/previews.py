"""Previews: checkpoints draw the same prompts from the same seeds, in rounds that the weaker ones do not survive.

What is drawn: on the training base (the first of `bases`) every checkpoint draws the first prompts, those that stay
draw more (`selection`), the last one all of them. Then to show what it is worth: the chosen checkpoint on every other
base; the bases without LoRA (`none`), the chosen checkpoint at other LoRA weights and by its text trigger alone, all
on the first prompts (`sweep`).

Pictures are drawn in fixed batches, rated before they are kept, and judged at once (`judging`). A finished batch
survives a kill in `work`, and a batch is drawn whole or not at all, so that a resumed run gives the same bytes as an
undisturbed one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from charaloom.artifacts.files import read_json, sha256_file, whole_folder
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import SCORES, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.diffusion.bases import LocalBase, local_base
from charaloom.diffusion.pipelines import (
    NOTHING,
    SAMPLER,
    SCHEDULE,
    Checkpoint,
    read_checkpoints,
)
from charaloom.evaluation.batches import Batch, without_path, without_paths  # noqa: F401  (training reads both here)
from charaloom.evaluation.judge import Judge, held_out_files
from charaloom.evaluation.prompts import Prompt, read_prompts
from charaloom.evaluation.renderer import Studio, copy_pictures, forget_others, locked
from charaloom.evaluation.rounds import part_of, schedule, segments, survivors
from charaloom.evaluation.scores import numbers

SOFTWARE = ("torch", "diffusers", "transformers", "peft", "dghs-imgutils", "onnxruntime", "pillow", "numpy")


def render(
    character: str,
    params: Row,
    checkpoints: PathLike,
    checkpoints_manifest: PathLike,
    outfits: PathLike,
    dataset: PathLike,
    measured: PathLike,
    clustered: PathLike,
    hub: PathLike,
    models_manifest: PathLike,
    folder: PathLike,
    manifest: PathLike,
    work: PathLike,
) -> None:
    """Draw, rate and judge the previews of one character; write the `previews` folder with its `scores.parquet`.

    Raises CharaloomError where there are no prompts, checkpoints or held-out pictures, or a base is of no use.
    """
    upstream = {"checkpoints": os.fspath(checkpoints_manifest), "models": os.fspath(models_manifest)}
    local = {base["name"]: local_base(base, work) for base in params["bases"]}
    params = known(params, local)
    facts = lineage("previews", character, without_paths(params), upstream)
    prompts = read_prompts(outfits, character, params)
    steps = read_checkpoints(checkpoints)
    judged_by = Sources(outfits, dataset, measured, clustered, hub, models_manifest)
    with studio_of(character, params, judged_by, local, work) as studio:
        store = studio.store
        batches = list(rounds(studio, prompts, steps))
        rows = [row for batch in batches for row in studio.rows(batch)]
        with whole_folder(folder) as part:
            copy_pictures(batches, store, part)
            write_table(part / "scores.parquet", rows, SCORES, "file", facts)
        forget_others(store, {batch.key for batch in batches})
    counts = {"pictures": len(rows), "withheld": sum(not row["kept"] for row in rows), "prompts": len(prompts)}
    write_manifest(
        manifest,
        facts,
        {"previews": folder},
        counts,
        bases=without_paths(params)["bases"],
        checkpoints=[step.name for step in steps],
        settings=settings(params, studio.judge.threshold),
    )


@dataclass(frozen=True)
class Sources:
    """Files that tell what to draw, and what it is judged by."""

    outfits: PathLike
    dataset: PathLike
    measured: PathLike
    clustered: PathLike
    hub: PathLike
    models_manifest: PathLike


def first_scores(
    character: str, params: Row, steps: list[Checkpoint], sources: Sources, work: PathLike
) -> dict[str, float]:
    """Score of each checkpoint by the first round alone; its pictures are kept for when the rounds are drawn."""
    local = {base["name"]: local_base(base, work) for base in params["bases"][:1]}
    prompts = read_prompts(sources.outfits, character, params)
    first = prompts[: part_of(prompts, params["selection"]["first"])]
    with studio_of(character, known(params, local), sources, local, work) as studio:
        base = studio.params["bases"][0]
        batches = {step.name: studio.batches(base, step, first, 1) for step in steps}
        studio.draw([batch for drawn in batches.values() for batch in drawn])
        rows = {name: [row for batch in drawn for row in studio.rows(batch)] for name, drawn in batches.items()}
        scores = {name: numbers(found, params["selection"], studio.judge.threshold) for name, found in rows.items()}
    return {name: found["score"] or 0.0 for name, found in scores.items()}


def rounds(studio: "Studio", prompts: list[Prompt], steps: list[Checkpoint]) -> Iterator[Batch]:
    """Draw the rounds of the selection on the training base, then what shows the choice; every batch in its order."""
    params, rule = studio.params, studio.params["selection"]
    plan = schedule(len(steps), rule)
    parts = segments(len(prompts), [share for _, share in plan])
    base, *others = params["bases"]
    alive = steps
    drawn: list[Batch] = []
    for number, part in enumerate(parts, 1):
        fresh = [batch for step in alive for batch in studio.batches(base, step, prompts[part], number)]
        studio.draw(fresh)
        yield from fresh
        drawn += fresh
        names = {step.name for step in alive}
        rows = [row for batch in drawn if batch.checkpoint.name in names for row in studio.rows(batch)]
        if len(alive) > 1:
            by_name = {step.name: step for step in alive}
            alive = [by_name[name] for name in survivors(rows, rule, studio.judge.threshold)]
    shown = [batch for other in others for part in parts for batch in studio.batches(other, alive[0], prompts[part])]
    shown += extras(studio, prompts[: part_of(prompts, params["sweep"])], alive[0])
    studio.draw(sorted(shown, key=lambda batch: studio.place[batch.base["name"]]))
    yield from shown


def extras(studio: "Studio", prompts: list[Prompt], chosen: Checkpoint) -> Iterator[Batch]:
    """On the first prompts: each base alone, the chosen checkpoint at other weights, and by text alone."""
    for base in studio.params["bases"]:
        yield from studio.batches(base, NOTHING, prompts)
        for weight in studio.params["weights"]:
            if weight != 1:
                yield from studio.batches(base, chosen.weighing(weight), prompts)
    if chosen.embedding:
        yield from studio.batches(studio.params["bases"][0], chosen.by_text_alone(), prompts)


def settings(params: Row, threshold: float) -> Row:
    """How the previews were drawn and judged, as pages and cards tell it."""
    shown = {key: params[key] for key in ("negative", "width", "height", "steps", "guidance", "memorised", "weights")}
    return {**shown, "sampler": SAMPLER, "schedule": SCHEDULE, "threshold": round(threshold, 6)}


def known(params: Row, local: dict[str, LocalBase]) -> Row:
    """`params` with what else decides the bytes: the digests of bases that are here, the versions of the libraries."""
    bases = [
        {**base, "digest": local[base["name"]].digest} if base["name"] in local else base for base in params["bases"]
    ]
    return {**params, "bases": bases, "software": {name: version(name) for name in SOFTWARE}}


@contextmanager
def studio_of(
    character: str, params: Row, sources: Sources, local: dict[str, LocalBase], work: PathLike
) -> Iterator["Studio"]:
    """The studio of one character, for one run at a time. Raises CharaloomError where another one draws."""
    core = read_json(sources.outfits)["core"]
    judge = Judge(sources.hub, held_out_files(sources.dataset), core, sources.measured, sources.clustered, params)
    judged_by = (*judge.held_out, sources.measured, sources.clustered, sources.models_manifest)
    store = Path(work) / character / "previews"
    with locked(store):
        yield Studio(character, params, store, judge, local, [sha256_file(path) for path in judged_by])
