"""Snakemake's side of checkpoints: `training.train` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

bases = [snakemake.params.stage["base"]]
with job(snakemake.log[0], offline=all(base["path"] for base in bases), gpu=True):
    from charaloom.training import train

    train(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        dataset=Path(snakemake.input.dataset).parent,
        dataset_manifest=snakemake.input.manifest,
        outfits=snakemake.input.outfits,
        folder=Path(snakemake.output.config).parent,
        manifest=snakemake.output.manifest,
        work=snakemake.config["paths"]["work"],
        log=snakemake.log[0],
        warm_seconds=snakemake.config["training"]["warm_seconds"],
    )
