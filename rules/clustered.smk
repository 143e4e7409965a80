"""Outfits of a character: stable groups with enough pictures, their signature tags and triggers.

READS   measured.parquet, tagged.parquet, core.json, vocabulary and tokenizer among the models
MAKES   clustered.parquet   one row per kept view: its outfit and its caption
        outfits.json        one entry per outfit, and the prompts of the previews
"""


rule clustered:
    input:
        upstream=[
            "<results>/{character}/tagged.manifest.json",
            "<results>/{character}/measured.manifest.json",
            "<work>/models.manifest.json",
        ],
        tagged=ancient("<results>/{character}/tagged.parquet"),
        core=ancient("<results>/{character}/core.json"),
        measured=ancient("<results>/{character}/measured.parquet"),
    output:
        table=ensure("<results>/{character}/clustered.parquet", non_empty=True),
        outfits=ensure("<results>/{character}/outfits.json", non_empty=True),
        prompts=ensure("<results>/{character}/clustered.prompts.json", non_empty=True),
        manifest=ensure("<results>/{character}/clustered.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/clustered.log",
    benchmark:
        "<benchmarks>/{character}/clustered.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        stage=stage_params("clustered"),
    script:
        "../scripts/clustered.py"
