"""Snakemake's side of filtered: `curation.filtered.filter_views` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    from charaloom.config.params import Filtered
    from charaloom.curation.filtered import filter_views

    filter_views(
        character=snakemake.wildcards.character,
        params=Filtered.of(snakemake.params.stage),
        raw=snakemake.input.raw,
        measured=snakemake.input.measured,
        measured_manifest=snakemake.input.manifest,
        hub=Path(snakemake.config["paths"]["work"]) / "hub",
        table=snakemake.output.table,
        manifest=snakemake.output.manifest,
    )
