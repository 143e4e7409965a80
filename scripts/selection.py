"""Snakemake's side of selection: `evaluation.selection.select` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    from charaloom.evaluation.selection import select

    select(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        previews=Path(snakemake.input.scores).parent,
        previews_manifest=snakemake.input.manifest,
        selection=snakemake.output.selection,
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
    )
