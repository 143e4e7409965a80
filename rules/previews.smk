"""Pictures rendered with each checkpoint, in rounds that the weaker ones leave, on several base models.

READS   checkpoints/, outfits.json (its prompts), dataset/ or dataset_pictures/ (the held-out pictures), measured.parquet and clustered.parquet
        (the outfits and the training pictures as the picture models see them), the base models, the picture models
MAKES   previews/   <base>/<checkpoint>/<prompt>-<seed>.png and scores.parquet
"""


rule previews:
    input:
        manifest="<results>/{character}/checkpoints.manifest.json",
        prompts="<results>/{character}/clustered.prompts.json",
        judged_by=[
            "<results>/{character}/dataset.judging.json",
            "<work>/models.manifest.json",
        ],
        checkpoints=ancient("<results>/{character}/checkpoints/config.py"),
        outfits=ancient("<results>/{character}/outfits.json"),
        dataset=ancient("<results>/{character}/dataset/README.md"),
        measured=ancient("<results>/{character}/measured.parquet"),
        clustered=ancient("<results>/{character}/clustered.parquet"),
        made=ancient(
            [
                "<results>/{character}/clustered.manifest.json",
                "<results>/{character}/dataset.manifest.json",
                "<results>/{character}/measured.manifest.json",
            ]
        ),
    output:
        scores=ensure("<results>/{character}/previews/scores.parquet", non_empty=True),
        manifest=ensure("<results>/{character}/previews.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/previews.log",
    benchmark:
        "<benchmarks>/{character}/previews.jsonl"
    conda:
        "../envs/train.yaml"
    threads: stage_threads("previews")
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=growing(120),
    params:
        stage=stage_params("previews"),
    script:
        "../scripts/previews.py"
