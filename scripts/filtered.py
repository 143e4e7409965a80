"""Snakemake's side of filtered: `curation.filtered.filter_views` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.config.params import Filtered
    from charaloom.curation.filtered import filter_views
    from charaloom.vision.models import refuse_damaged_models

    refuse_damaged_models(snakemake.input, snakemake.config["paths"]["work"])
    filter_views(
        character=snakemake.wildcards.character,
        params=Filtered.of(snakemake.params.stage),
        raw=snakemake.input.raw,
        measured=snakemake.input.measured,
        hub=Path(snakemake.config["paths"]["work"]) / "hub",
        upstream=snakemake.input.upstream,
        table=snakemake.output.table,
        decisions=snakemake.output.decisions,
        manifest=snakemake.output.manifest,
    )
