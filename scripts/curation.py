"""Snakemake's side of curation: `curation.build_curation` does the work."""

from typing import TYPE_CHECKING

from charaloom.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    from charaloom.curation import build_curation

    build_curation(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        raw=snakemake.input.raw,
        measured=snakemake.input.measured,
        filtered=snakemake.input.filtered,
        filtered_manifest=snakemake.input.manifest,
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
    )
