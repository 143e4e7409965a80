"""Snakemake's side of raw: `sources.raw.build_raw` does the work."""

from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], offline=False):
    from charaloom.config.params import Raw
    from charaloom.sources.kinds import machine_of
    from charaloom.sources.raw import build_raw

    build_raw(
        character=snakemake.wildcards.character,
        params=Raw.of(snakemake.params.stage),
        table=snakemake.output.table,
        pictures_facet=snakemake.output.pictures,
        manifest=snakemake.output.manifest,
        machine=machine_of(snakemake.config),
    )
