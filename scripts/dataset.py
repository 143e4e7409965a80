"""Snakemake's side of dataset: `publishing.dataset.build_dataset` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.params import Dataset
from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    from charaloom.publishing.dataset import DatasetInputs, build_dataset

    build_dataset(
        character=snakemake.wildcards.character,
        params=Dataset.of(snakemake.params.stage),
        inputs=DatasetInputs(
            raw=snakemake.input.raw,
            measured=snakemake.input.measured,
            filtered=snakemake.input.filtered,
            clustered=snakemake.input.clustered,
            clustered_manifest=snakemake.input.manifest,
            outfits=snakemake.input.outfits,
            core=snakemake.input.core,
        ),
        folder=Path(snakemake.output.card).parent,
        manifest=snakemake.output.manifest,
    )
