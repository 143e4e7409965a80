"""Snakemake's side of model: `publishing.repos.model.build_model` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.params import Model
from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.publishing.repos.model import ModelInputs, build_model

    build_model(
        character=snakemake.wildcards.character,
        params=Model.of(snakemake.params.stage),
        inputs=ModelInputs(
            checkpoints=Path(snakemake.input.checkpoints).parent,
            previews=Path(snakemake.input.previews).parent,
            selection=snakemake.input.selection,
            outfits=snakemake.input.outfits,
            content=snakemake.input.content,
            trained=snakemake.input.trained,
            upstream=[*snakemake.input.upstream, snakemake.input.content],
        ),
        folder=Path(snakemake.output.card).parent,
        manifest=snakemake.output.manifest,
    )
