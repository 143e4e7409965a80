"""The dataset and the model at one target, if the gate refuses nothing, and a receipt of what lies there.

READS   dataset/, model/
MAKES   published/<target>.json
"""


rule published:
    input:
        dataset="<results>/{character}/dataset.manifest.json",
        model="<results>/{character}/model.manifest.json",
        dataset_card=ancient("<results>/{character}/dataset/README.md"),
        model_card=ancient("<results>/{character}/model/README.md"),
    output:
        receipt=ensure("<results>/{character}/published/{target}.json", non_empty=True),
    log:
        "<logs>/{character}/published-{target}.log",
    benchmark:
        "<benchmarks>/{character}/published-{target}.jsonl"
    localrule: True  # needs a network, which the nodes of a cluster often have none of
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        stage=publish_params,
    script:
        "../scripts/published.py"
