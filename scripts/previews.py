"""Snakemake's side of previews: `evaluation.previews.render` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

bases = snakemake.params.stage["bases"]
with job(snakemake.log[0], offline=all(base["path"] for base in bases), gpu=True):
    from charaloom.evaluation.previews import render

    render(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        checkpoints=Path(snakemake.input.checkpoints).parent,
        checkpoints_manifest=snakemake.input.manifest,
        outfits=snakemake.input.outfits,
        dataset=Path(snakemake.input.dataset).parent,
        measured=snakemake.input.measured,
        clustered=snakemake.input.clustered,
        hub=Path(snakemake.config["paths"]["work"]) / "hub",
        models_manifest=snakemake.input.models,
        folder=Path(snakemake.output.scores).parent,
        manifest=snakemake.output.manifest,
        work=snakemake.config["paths"]["work"],
    )
