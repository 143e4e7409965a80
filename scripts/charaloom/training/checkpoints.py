"""Stage `checkpoints`: train a LoRA, and an embedding with it, by HCP-Diffusion 2 in a process of its own.

What must survive a kill, and what more steps later go on from (prepared inputs, latents, the trainer's checkpoints and
state), lies in `work`; the output folder appears whole at the end.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from charaloom.artifacts.files import read_json
from charaloom.artifacts.manifest import facet_digest, lineage, write_manifest
from charaloom.artifacts.types import PathLike
from charaloom.config.params import Checkpoints
from charaloom.diffusion.bases import local_base
from charaloom.diffusion.checkpoints import Checkpoint, read_checkpoints
from charaloom.runtime.precision import resolved_precision
from charaloom.training.buckets import bucket_step
from charaloom.training.export import Export
from charaloom.training.inputs import prepare
from charaloom.training.lengths import improving, lengths
from charaloom.training.process import TrainerRun, run_trainer
from charaloom.training.provenance import STAGE, lineage_params
from charaloom.training.trainer_config import hcp_config
from charaloom.training.working_directory import locked, remove_others, trained, working_directory

Judge = Callable[[Checkpoint], float]  # score of a checkpoint, higher is better


@dataclass(frozen=True)
class TrainingInputs:
    """The files that a training reads."""

    dataset: PathLike  # folder
    outfits: PathLike
    content: PathLike  # facet of the dataset: what is trained on
    judged_by: Sequence[PathLike] = ()  # with early stopping: manifests and facets of what previews are judged by


def train(
    character: str,
    params: Checkpoints,
    inputs: TrainingInputs,
    folder: PathLike,
    manifest: PathLike,
    work: PathLike,
    log: PathLike,
    warm_seconds: float = 0.0,
    judge: Judge | None = None,
) -> None:
    """Train one character and write `folder` (LoRA and embedding per milestone, config.py, loss.tsv) and its manifest.

    `work` is the work folder of all characters. `warm_seconds`: how long a warm process waits for the next character, 0
    for none. `judge` scores a checkpoint, where early stopping is on. Same inputs and params give the same bytes on the
    same kind of machine. Raises CharaloomError where the base cannot be used, the dataset is empty, or the trainer
    fails (with the end of `log`).
    """
    base = local_base(params.base, work)
    rule_params = params.plain()
    params = replace(params, precision=resolved_precision(params.precision))
    upstream = [inputs.content, *inputs.judged_by]
    facts = lineage(STAGE, character, rule_params, upstream, lineage_params(params, base))
    pictures = read_json(inputs.content)["pictures"]
    settled = params.settled(pictures)
    if settled.batch > pictures:
        print(
            f"training.batch is {settled.batch}, there are {pictures} training pictures: a step takes some of them more"
            f" than once; a batch of {pictures} would train as well in less time",
            file=sys.stderr,
        )
    workdir = working_directory(work, character, settled, base, facet_digest(inputs.content))
    with locked(workdir) as lock:
        least = bucket_step(settled.resolution)
        prepare(workdir, Path(inputs.dataset), read_json(inputs.outfits), settled, base, least)
        regularised = (workdir / "inputs" / "regularisation.json").exists()
        scores: dict[str, float] = {}
        for length in lengths(settled):  # one, or with early stopping one for each checkpoint
            config = hcp_config(character, length, base, regularised)
            export = Export(character, length, base, workdir, config, facts.version)
            if not trained(workdir, length):
                run = TrainerRun(workdir, config, base, length.threads, Path(log), lock, warm_seconds, length.precision)
                run_trainer(run)
            if judge and length.early_stopping:
                export.write(workdir / "judged")
                newest = read_checkpoints(workdir / "judged")[-1]
                scores[newest.name] = judge(newest)
                if not improving(scores, length.early_stopping):
                    break
        checkpoints = export.write(Path(folder))
        shutil.rmtree(workdir / "judged", ignore_errors=True)
        counts = {
            "pictures": len(read_json(workdir / "inputs" / "pictures.json")),
            "checkpoints": len(checkpoints),
            "tags_left_out": read_json(workdir / "inputs" / "left_out.json")["tags"],
        }
        training = {"steps": length.steps, "rank": length.rank, "mode": length.mode, "recipe": length.recipe}
        if judge:
            training["early_stopping"] = scores
        outputs = {STAGE: folder}
        write_manifest(manifest, facts, outputs, counts, checkpoints=checkpoints, training=training)
    remove_others(workdir)
