"""Training with HCP-Diffusion: a LoRA and an embedding, kept at each milestone.

READS   dataset/ (or dataset_pictures/), outfits.json, the base model; for early stopping also what previews are judged by
MAKES   checkpoints/   step-NNNNNN.safetensors in kohya keys, their embeddings, the trainer's config, the loss

The trainer's own state lives in work/, so that a killed run continues; here appears only what is finished.
"""


rule checkpoints:
    input:
        content="<results>/{character}/dataset.training.json",
        dataset=ancient("<results>/{character}/dataset/README.md"),
        outfits=ancient("<results>/{character}/outfits.json"),
        judged_by=early_stopping_inputs,
        made=ancient(
            [
                "<results>/{character}/clustered.manifest.json",
                "<results>/{character}/dataset.manifest.json",
                "<results>/{character}/measured.manifest.json",
            ]
        ),
    output:
        config=ensure("<results>/{character}/checkpoints/config.py", non_empty=True),
        lineage=ensure("<results>/{character}/checkpoints.lineage.json", non_empty=True),  # published with the model
        manifest=ensure("<results>/{character}/checkpoints.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/checkpoints.log",
    benchmark:
        "<benchmarks>/{character}/checkpoints.jsonl"
    conda:
        "../envs/train.yaml"
    threads: stage_threads("training")
    resources:
        gpu=1,
        mem_mb=growing(16000),
        runtime=growing(240),
    params:
        stage=stage_params("checkpoints"),
    script:
        "../scripts/checkpoints.py"
