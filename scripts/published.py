"""Snakemake's side of published: `publishing.published.publish` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.params import Published
from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input, offline=False):
    from charaloom.publishing.published import publish

    publish(
        character=snakemake.wildcards.character,
        params=Published.of(snakemake.params.stage),
        dataset=Path(snakemake.input.dataset_card).parent,
        dataset_manifest=snakemake.input.dataset,
        model=Path(snakemake.input.model_card).parent,
        model_manifest=snakemake.input.model,
        receipt=snakemake.output.receipt,
    )
