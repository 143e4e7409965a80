"""Stage `previews`: checkpoints render the same prompts from the same seeds, in rounds that the weaker ones leave.

On the training base (the first of `bases`) every checkpoint renders the first prompts, those that stay render more
(`rounds`), the last one all of them. What shows the worth of the choice comes next: the chosen checkpoint on every
other base; each base without LoRA (`none`), the chosen checkpoint at other LoRA weights and by its text trigger alone,
all on the first prompts (`sweep`).

Pictures are rendered in fixed batches, rated before they are kept, and judged at once (`renderer`, `judge`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import read_json, sha256_file, whole_folder
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import SCORES, write_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import PreviewBase, Previews
from charaloom.diffusion.bases import LocalBase, local_base, without_paths
from charaloom.diffusion.checkpoints import NOTHING, Checkpoint, read_checkpoints
from charaloom.evaluation.batches import Batch, resolved
from charaloom.evaluation.judge import Judge, held_out_files
from charaloom.evaluation.prompts import Prompt, read_prompts
from charaloom.evaluation.renderer import Renderer, copy_pictures, forget_others, hold
from charaloom.evaluation.rounds import part_of, schedule, segments, survivors

# What a reader needs of a base to render as the previews were.
MANNERS = (
    "prefix",
    "suffix",
    "negative",
    "sampler",
    "schedule",
    "guidance",
    "rescale",
    "clip_skip",
    "prediction",
    "zero_snr",
)


@dataclass(frozen=True)
class Sources:
    """Files that say what to render, and what it is judged by."""

    outfits: PathLike
    dataset: PathLike
    measured: PathLike
    clustered: PathLike
    hub: PathLike
    prompts: PathLike  # facet of the prompts
    judged_by: Sequence[PathLike]  # facet and manifest of what judges: views and held-out pictures, picture models


def render(
    character: str,
    params: Previews,
    checkpoints: PathLike,
    checkpoints_manifest: PathLike,
    sources: Sources,
    folder: PathLike,
    manifest: PathLike,
    work: PathLike,
) -> None:
    """Render, rate and judge the previews of one character; write the `previews` folder with its `scores.parquet`.

    Raises CharaloomError where there are no prompts, checkpoints or held-out pictures, or a base cannot be used.
    """
    upstream = [checkpoints_manifest, sources.prompts, *sources.judged_by]
    local = local_bases(params, work)
    recorded = without_paths(resolved(params, local).plain())
    facts = lineage("previews", character, params.plain(), upstream, recorded)
    prompts = read_prompts(sources.outfits, character, params)
    steps = read_checkpoints(checkpoints)
    with open_renderer(character, params, sources, local, work) as renderer:
        batches = list(rounds(renderer, prompts, steps))
        rows = [row for batch in batches for row in renderer.rows(batch)]
        with whole_folder(folder) as part:
            copy_pictures(batches, renderer.store, part)
            write_table(part / "scores.parquet", rows, SCORES, "file")
        forget_others(renderer.store, {batch.key for batch in batches})
    counts = {"pictures": len(rows), "withheld": sum(not row["kept"] for row in rows), "prompts": len(prompts)}
    write_manifest(
        manifest,
        facts,
        {"previews": folder},
        counts,
        bases=recorded["bases"],
        checkpoints=[step.name for step in steps],
        settings=settings(params, renderer.judge.threshold),
    )


def local_bases(params: Previews, work: PathLike, most: int | None = None) -> dict[str, LocalBase]:
    """The first `most` bases on this machine, by name; all of them for None."""
    return {base.name: local_base(base, work) for base in params.bases[:most]}


@contextmanager
def open_renderer(
    character: str, params: Previews, sources: Sources, local: Mapping[str, LocalBase], work: PathLike
) -> Iterator[Renderer]:
    """The renderer of one character, for one run at a time. Raises CharaloomError where another run holds the store."""
    core = read_json(sources.outfits)["core"]
    judge = Judge(sources.hub, held_out_files(sources.dataset), core, sources.measured, sources.clustered, params)
    store = Path(work) / character / "previews"
    with hold(store):
        digests = [sha256_file(path) for path in sources.judged_by]
        yield Renderer(character, resolved(params, local), store, judge, local, digests)


def rounds(renderer: Renderer, prompts: list[Prompt], steps: list[Checkpoint]) -> Iterator[Batch]:
    """Render the rounds on the training base, then what shows the worth of the choice; every batch in its order."""
    params, rule = renderer.params, renderer.params.selection
    parts = segments(len(prompts), [share for _, share in schedule(len(steps), rule)])
    base, *others = params.bases
    alive = steps
    rendered: list[Batch] = []
    for number, part in enumerate(parts, 1):
        fresh = [batch for step in alive for batch in renderer.batches(base, step, prompts[part], number)]
        renderer.render(fresh)
        yield from fresh
        rendered += fresh
        names = {step.name for step in alive}
        rows = [row for batch in rendered if batch.checkpoint.name in names for row in renderer.rows(batch)]
        if len(alive) > 1:
            by_name = {step.name: step for step in alive}
            alive = [by_name[name] for name in survivors(rows, rule, renderer.judge.threshold)]
    chosen = alive[0]
    shown = [batch for other in others for part in parts for batch in renderer.batches(other, chosen, prompts[part])]
    shown += extras(renderer, prompts[: part_of(prompts, params.sweep)], chosen)
    renderer.render(sorted(shown, key=lambda batch: renderer.place[batch.base.name]))
    yield from shown


def extras(renderer: Renderer, prompts: list[Prompt], chosen: Checkpoint) -> Iterator[Batch]:
    """On the first prompts: each base alone, the chosen checkpoint at other weights, and by its text trigger alone."""
    for base in renderer.params.bases:
        yield from renderer.batches(base, NOTHING, prompts)
        for weight in renderer.params.weights:
            if weight != 1:
                yield from renderer.batches(base, chosen.weighing(weight), prompts)
    if chosen.embedding:
        yield from renderer.batches(renderer.params.bases[0], chosen.by_text_alone(), prompts)


def settings(params: Previews, threshold: float) -> Row:
    """How the previews were rendered and judged, for pages and cards; `threshold`: CCIP's distance."""
    return {
        "bases": [manners(base) for base in params.bases],
        "width": params.width,
        "height": params.height,
        "steps": params.steps,
        "memorised": params.memorised,
        "weights": params.weights,
        "threshold": round(threshold, 6),
    }


def manners(base: PreviewBase) -> Row:
    """How a base was rendered on."""
    return {"base": base.name, **{name: getattr(base, name) for name in MANNERS}}
