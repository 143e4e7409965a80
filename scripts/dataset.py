"""Snakemake's side of dataset: `publishing.repos.dataset.build_dataset` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.params import Dataset
from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.publishing.repos.dataset import DatasetFiles, DatasetInputs, build_dataset

    build_dataset(
        character=snakemake.wildcards.character,
        params=Dataset.of(snakemake.params.stage),
        inputs=DatasetInputs(
            raw=snakemake.input.raw,
            measured=snakemake.input.measured,
            filtered=snakemake.input.filtered,
            clustered=snakemake.input.clustered,
            outfits=snakemake.input.outfits,
            core=snakemake.input.core,
            upstream=snakemake.input.upstream,
        ),
        files=DatasetFiles(
            folder=Path(snakemake.output.card).parent,
            training=snakemake.output.training,
            judging=snakemake.output.judging,
            manifest=snakemake.output.manifest,
        ),
    )
