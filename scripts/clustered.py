"""Snakemake's side of clustered: `outfits.clustered.cluster_outfits` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.config.params import Clustered
    from charaloom.outfits.clustered import ClusterInputs, cluster_outfits
    from charaloom.vision.models import refuse_damaged_models

    refuse_damaged_models(snakemake.input, snakemake.config["paths"]["work"])
    cluster_outfits(
        character=snakemake.wildcards.character,
        params=Clustered.of(snakemake.params.stage),
        inputs=ClusterInputs(
            measured=snakemake.input.measured,
            tagged=snakemake.input.tagged,
            core=snakemake.input.core,
            hub=Path(snakemake.config["paths"]["work"]) / "hub",
            upstream=snakemake.input.upstream,
        ),
        table=snakemake.output.table,
        outfits=snakemake.output.outfits,
        prompts_facet=snakemake.output.prompts,
        manifest=snakemake.output.manifest,
    )
