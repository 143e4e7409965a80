"""Targets to stop at: stage_raw, stage_measured, ... ask for one stage of every character.

`snakemake stage_filtered && snakemake stage_tagged && ...` stops early where a stage's manifest comes out the same,
which a single `snakemake` does not; `charaloom run` works this way.
"""

for stage in ["models", *STAGES]:

    rule:
        name:
            f"stage_{stage}"
        input:
            listed(stage),
