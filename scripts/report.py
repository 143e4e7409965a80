"""Snakemake's side of report: calls `pages.report.write_report`."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.runtime.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], snakemake.input):
    from charaloom.config.params import Report
    from charaloom.pages.report import write_report

    write_report(
        character=snakemake.wildcards.character,
        params=Report.of(snakemake.params.stage),
        results_folder=Path(snakemake.output.page).parent,
        receipts=snakemake.input.receipts,
        upstream=[*snakemake.input.upstream, *snakemake.input.receipts],
        page=snakemake.output.page,
        manifest=snakemake.output.manifest,
    )
