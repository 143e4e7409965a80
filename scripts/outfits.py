"""Snakemake's side of outfits: `pages.outfits.build_outfits` does the work."""

from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    from charaloom.pages.outfits import build_outfits

    build_outfits(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        raw=snakemake.input.raw,
        measured=snakemake.input.measured,
        tagged=snakemake.input.tagged,
        core=snakemake.input.core,
        clustered=snakemake.input.clustered,
        clustered_manifest=snakemake.input.manifest,
        outfits=snakemake.input.outfits,
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
    )
