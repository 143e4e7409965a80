"""Snakemake's side of curation: calls `pages.curation.build_curation`."""

from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.config.params import Curation
    from charaloom.pages.curation import build_curation

    build_curation(
        character=snakemake.wildcards.character,
        params=Curation.of(snakemake.params.stage),
        raw=snakemake.input.raw,
        files=snakemake.input.files,
        measured=snakemake.input.measured,
        filtered=snakemake.input.filtered,
        filtered_manifest=snakemake.input.manifest,
        upstream=[snakemake.input.manifest, snakemake.input.files, *snakemake.input.upstream],
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
    )
