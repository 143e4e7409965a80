"""Snakemake's side of checkpoints: `training.checkpoints.train` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.params import Checkpoints
from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

params = Checkpoints.of(snakemake.params.stage)
character, log = snakemake.wildcards.character, Path(snakemake.log[0])
with job(log, snakemake.input, offline=bool(params.base.path), gpu=True):
    from charaloom.config.layers import warm_seconds
    from charaloom.pages.training import training_page
    from charaloom.training.checkpoints import TrainingInputs, train
    from charaloom.training.process import curves_folder
    from charaloom.vision.models import refuse_damaged_models

    work = Path(snakemake.config["paths"]["work"])
    refuse_damaged_models(snakemake.input, work)
    outfits, dataset = snakemake.input.outfits, Path(snakemake.input.dataset).parent
    judge, judged_by = None, []
    if params.previews:  # of early stopping
        from charaloom.evaluation.early_stopping import first_round_judge
        from charaloom.evaluation.previews import Sources

        measured, clustered, prompts, *judging = snakemake.input.judged_by
        sources = Sources(outfits, dataset, measured, clustered, work / "hub", prompts, judging)
        judged_by = [prompts, *judging]
        judge = first_round_judge(character, params.previews, sources, work)
    with training_page(curves_folder(log), character):
        train(
            character=character,
            params=params,
            inputs=TrainingInputs(dataset, outfits, snakemake.input.content, judged_by),
            folder=Path(snakemake.output.config).parent,
            manifest=snakemake.output.manifest,
            work=work,
            log=log,
            warm_seconds=warm_seconds(snakemake.config, character),
            judge=judge,
        )
