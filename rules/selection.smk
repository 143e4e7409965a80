"""Which checkpoint is published, by the scores of its previews on the base it was trained on.

READS   previews/, outfits.json, the number of training pictures
MAKES   selection.json   the choice, the numbers of all checkpoints, the reason in words, whether the model is weak
        previews.html    every preview, curves, outfits of prompts and pictures, LoRA weights, prompts to copy
"""


rule selection:
    input:
        manifest="<results>/{character}/previews.manifest.json",
        checkpoints="<results>/{character}/checkpoints.manifest.json",
        scores=ancient("<results>/{character}/previews/scores.parquet"),
        outfits=ancient("<results>/{character}/outfits.json"),
        made=ancient("<results>/{character}/clustered.manifest.json"),
    output:
        selection=ensure("<results>/{character}/selection.json", non_empty=True),
        page=ensure("<results>/{character}/previews.html", non_empty=True),
        manifest=ensure("<results>/{character}/selection.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/selection.log",
    benchmark:
        "<benchmarks>/{character}/selection.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        stage=stage_params("selection"),
    script:
        "../scripts/selection.py"
