"""Snakemake's side of selection: `evaluation.selection.select` decides, `pages.previews` shows the choice."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.params import Selection
from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.evaluation.selection import select
    from charaloom.pages.previews import write_page

    select(
        character=snakemake.wildcards.character,
        params=Selection.of(snakemake.params.stage),
        previews=Path(snakemake.input.scores).parent,
        previews_manifest=snakemake.input.manifest,
        checkpoints_manifest=snakemake.input.checkpoints,
        outfits=snakemake.input.outfits,
        selection=snakemake.output.selection,
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
        write_page=write_page,
    )
