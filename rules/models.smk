"""The picture models, pinned by revision and SHA-256, in a hub cache that every other stage reads offline.

READS   the lock and the hub that the config names
MAKES   work/models.manifest.json, written last; the cache is work/hub
"""


rule models:
    output:
        manifest=ensure("<work>/models.manifest.json", non_empty=True),
    log:
        "<logs>/models.log",
    benchmark:
        "<benchmarks>/models.jsonl"
    localrule: True  # needs a network, which the nodes of a cluster often have none of
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        stage=models_params,
    script:
        "../scripts/models.py"
