"""Snakemake's side of report: `pages.report.write_report` does the work."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    from charaloom.pages.report import write_report

    write_report(
        character=snakemake.wildcards.character,
        params=snakemake.params.stage,
        results_folder=Path(snakemake.output.page).parent,
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
    )
