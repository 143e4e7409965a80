"""Snakemake's side of previews: `evaluation.previews.render` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.params import Previews
from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

params = Previews.of(snakemake.params.stage)
with job(snakemake.log[0], snakemake.input, offline=all(base.path for base in params.bases), gpu=True):
    from charaloom.evaluation.previews import Sources, render
    from charaloom.vision.models import refuse_damaged_models

    refuse_damaged_models(snakemake.input, snakemake.config["paths"]["work"])
    render(
        character=snakemake.wildcards.character,
        params=params,
        checkpoints=Path(snakemake.input.checkpoints).parent,
        checkpoints_manifest=snakemake.input.manifest,
        sources=Sources(
            outfits=snakemake.input.outfits,
            dataset=Path(snakemake.input.dataset).parent,
            measured=snakemake.input.measured,
            clustered=snakemake.input.clustered,
            hub=Path(snakemake.config["paths"]["work"]) / "hub",
            prompts=snakemake.input.prompts,
            judged_by=snakemake.input.judged_by,
        ),
        folder=Path(snakemake.output.scores).parent,
        manifest=snakemake.output.manifest,
        work=snakemake.config["paths"]["work"],
    )
