"""The final tags of each kept view, and the core tags that hold of the character in every outfit.

READS   raw.parquet (without the bytes), measured.parquet, filtered.parquet, the boards' vocabulary among the models
MAKES   tagged.parquet   one row per kept view
        core.json        core tags with the numbers that decided
"""


rule tagged:
    input:
        upstream=[
            "<results>/{character}/measured.manifest.json",
            "<results>/{character}/raw.manifest.json",
            "<work>/models.manifest.json",
        ],
        decisions="<results>/{character}/filtered.decisions.json",
        filtered=ancient("<results>/{character}/filtered.parquet"),
        measured=ancient("<results>/{character}/measured.parquet"),
        raw=ancient("<results>/{character}/raw.parquet"),
        made=ancient("<results>/{character}/filtered.manifest.json"),
    output:
        table=ensure("<results>/{character}/tagged.parquet", non_empty=True),
        core=ensure("<results>/{character}/core.json", non_empty=True),
        manifest=ensure("<results>/{character}/tagged.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/tagged.log",
    benchmark:
        "<benchmarks>/{character}/tagged.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        stage=stage_params("tagged"),
    script:
        "../scripts/tagged.py"
