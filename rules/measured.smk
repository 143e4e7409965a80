"""Whatever needs a decoded picture or a neural network, once per picture.

READS   raw.parquet, the picture models
MAKES   measured.parquet   one row per view: the picture and its crops, with boxes, scores and embeddings
"""


rule measured:
    input:
        pictures="<results>/{character}/raw.pictures.json",
        raw=ancient("<results>/{character}/raw.parquet"),
        models="<work>/models.manifest.json",
        made=ancient("<results>/{character}/raw.manifest.json"),
    output:
        table=ensure("<results>/{character}/measured.parquet", non_empty=True),
        manifest=ensure("<results>/{character}/measured.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/measured.log",
    benchmark:
        "<benchmarks>/{character}/measured.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: stage_threads("measured")
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        stage=stage_params("measured"),
    script:
        "../scripts/measured.py"
