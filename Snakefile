"""Charaloom: from a roster of characters to datasets, models and a report of each. One row is one character.

`snakemake --profile profiles/local` builds everything that the roster asks for, and with `stage_filtered` (or another
stage) behind it every character up to that stage.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: workflow.source_path("config/config.yaml")


if Path("config/config.yaml").exists():

    configfile: "config/config.yaml"  # of the working directory, where that is another one


if Path("my/config.yaml").exists() and not workflow.overwrite_configfiles:

    configfile: "my/config.yaml"  # of the user, unless --configfile names others


include: "rules/common.smk"


pathvars:
    results=config["paths"]["results"],
    work=config["paths"]["work"],
    logs="<work>/logs",
    benchmarks="<work>/benchmarks",


wildcard_constraints:
    character="[a-z0-9][a-z0-9_]*",
    target="[a-z0-9][a-z0-9_]*",


onstart:
    gc.enable()


rule all:
    input:
        [listed(stage) for stage in STAGES],


include: "rules/models.smk"
include: "rules/raw.smk"
include: "rules/measured.smk"
include: "rules/filtered.smk"
include: "rules/curation.smk"
include: "rules/tagged.smk"
include: "rules/clustered.smk"
include: "rules/outfits.smk"
include: "rules/dataset.smk"
include: "rules/checkpoints.smk"
include: "rules/previews.smk"
include: "rules/selection.smk"
include: "rules/model.smk"
include: "rules/published.smk"
include: "rules/report.smk"
include: "rules/stages.smk"
