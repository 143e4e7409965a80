"""Snakemake's side of tagged: `tagging.tagged.tag_views` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.config.params import Tagged
    from charaloom.tagging.tagged import TaggedInputs, tag_views
    from charaloom.vision.models import refuse_damaged_models

    refuse_damaged_models(snakemake.input, snakemake.config["paths"]["work"])
    tag_views(
        character=snakemake.wildcards.character,
        params=Tagged.of(snakemake.params.stage),
        inputs=TaggedInputs(
            raw=snakemake.input.raw,
            measured=snakemake.input.measured,
            filtered=snakemake.input.filtered,
            hub=Path(snakemake.config["paths"]["work"]) / "hub",
            upstream=[snakemake.input.decisions, *snakemake.input.upstream],
            decisions=snakemake.input.decisions,
        ),
        table=snakemake.output.table,
        core=snakemake.output.core,
        manifest=snakemake.output.manifest,
    )
