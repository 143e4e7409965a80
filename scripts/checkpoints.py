"""Snakemake's side of checkpoints: `training.checkpoints.train` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

bases = [snakemake.params.stage["base"]]
with job(snakemake.log[0], offline=all(base["path"] for base in bases), gpu=True):
    from charaloom.config.layers import warm_seconds
    from charaloom.evaluation.previews import Sources
    from charaloom.training.checkpoints import train

    outfits, dataset = snakemake.input.outfits, Path(snakemake.input.dataset).parent
    judged = None
    if snakemake.params.stage["early_stopping"]:
        measured, clustered, models = snakemake.input.judged_by
        hub = Path(snakemake.config["paths"]["work"]) / "hub"
        judged = Sources(outfits, dataset, measured, clustered, hub, models)
    train(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        dataset=dataset,
        dataset_manifest=snakemake.input.manifest,
        outfits=outfits,
        folder=Path(snakemake.output.config).parent,
        manifest=snakemake.output.manifest,
        work=snakemake.config["paths"]["work"],
        log=snakemake.log[0],
        warm_seconds=warm_seconds(snakemake.config, snakemake.wildcards.character),
        judged_by=judged,
    )
