"""Which views show the character and are good enough; a dropped view keeps its row, with rule, score and threshold.

READS   raw.parquet (without the bytes), measured.parquet, the CCIP metric of the picture models
MAKES   filtered.parquet   one row per view
"""


rule filtered:
    input:
        upstream=[
            "<results>/{character}/measured.manifest.json",
            "<results>/{character}/raw.manifest.json",
            "<work>/models.manifest.json",
        ],
        measured=ancient("<results>/{character}/measured.parquet"),
        raw=ancient("<results>/{character}/raw.parquet"),
    output:
        table=ensure("<results>/{character}/filtered.parquet", non_empty=True),
        decisions=ensure("<results>/{character}/filtered.decisions.json", non_empty=True),
        manifest=ensure("<results>/{character}/filtered.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/filtered.log",
    benchmark:
        "<benchmarks>/{character}/filtered.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        stage=stage_params("filtered"),
    script:
        "../scripts/filtered.py"
