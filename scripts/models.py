"""Snakemake's side of models: `vision.models.fetch_models` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], offline=False):
    from charaloom.config.params import Models
    from charaloom.vision.models import fetch_models

    fetch_models(
        params=Models.of(snakemake.params.stage),
        hub=Path(snakemake.config["paths"]["work"]) / "hub",
        manifest=snakemake.output.manifest,
    )
