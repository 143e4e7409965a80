"""Snakemake's side of measured: `vision.measured.measure` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.config.params import Measured
    from charaloom.vision.measured import MeasuredInputs, measure
    from charaloom.vision.models import refuse_damaged_models

    refuse_damaged_models(snakemake.input, snakemake.config["paths"]["work"])
    measure(
        character=snakemake.wildcards.character,
        params=Measured.of(snakemake.params.stage),
        inputs=MeasuredInputs(
            raw=snakemake.input.raw,
            models_manifest=snakemake.input.models,
            hub=Path(snakemake.config["paths"]["work"]) / "hub",
            upstream=[snakemake.input.pictures, snakemake.input.models],
        ),
        table=snakemake.output.table,
        manifest=snakemake.output.manifest,
        work=Path(snakemake.config["paths"]["work"]) / "measured",
        threads=snakemake.threads,
    )
