"""Snakemake's side of model: `publishing.model.build_model` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    from charaloom.publishing.model import build_model

    build_model(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        checkpoints=Path(snakemake.input.checkpoints).parent,
        previews=Path(snakemake.input.previews).parent,
        selection=snakemake.input.selection,
        selection_manifest=snakemake.input.manifest,
        outfits=snakemake.input.outfits,
        core=snakemake.input.core,
        dataset_manifest=snakemake.input.dataset,
        folder=Path(snakemake.output.card).parent,
        manifest=snakemake.output.manifest,
    )
