"""The model repository as it will be published.

READS   the checkpoints and their lineage, the previews, selection.json, outfits.json, the dataset's version
MAKES   model/   <character>.safetensors, checkpoints/ (embedding, bundle, every step), previews, training/, the card
"""


rule model:
    input:
        upstream=[
            "<results>/{character}/selection.manifest.json",
            "<results>/{character}/checkpoints.manifest.json",
            "<results>/{character}/previews.manifest.json",
            "<results>/{character}/clustered.manifest.json",
        ],
        selection=ancient("<results>/{character}/selection.json"),
        checkpoints=ancient("<results>/{character}/checkpoints/config.py"),
        trained=ancient("<results>/{character}/checkpoints.lineage.json"),
        previews=ancient("<results>/{character}/previews/scores.parquet"),
        outfits=ancient("<results>/{character}/outfits.json"),
        content="<results>/{character}/dataset.training.json",
    output:
        card=ensure("<results>/{character}/model/README.md", non_empty=True),
        manifest=ensure("<results>/{character}/model.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/model.log",
    benchmark:
        "<benchmarks>/{character}/model.jsonl"
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        stage=stage_params("model"),
    script:
        "../scripts/model.py"
