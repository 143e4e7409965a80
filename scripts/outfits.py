"""Snakemake's side of outfits: calls `pages.outfits.build_outfits`."""

from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.config.params import Outfits
    from charaloom.pages.outfits import OutfitsInputs, build_outfits

    build_outfits(
        character=snakemake.wildcards.character,
        params=Outfits.of(snakemake.params.stage),
        inputs=OutfitsInputs(
            raw=snakemake.input.raw,
            measured=snakemake.input.measured,
            tagged=snakemake.input.tagged,
            core=snakemake.input.core,
            clustered=snakemake.input.clustered,
            outfits=snakemake.input.outfits,
            upstream=snakemake.input.upstream,
        ),
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
    )
