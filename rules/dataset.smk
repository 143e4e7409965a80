"""The dataset repository as it will be published: the only place where pixels are cut.

READS   raw.parquet, measured.parquet, filtered.parquet, clustered.parquet, outfits.json, core.json
MAKES   dataset/            Parquet shards of training and held-out pictures with captions and provenance, outfits.json,
                            the card, on request a zip for kohya's trainers
        dataset_pictures/   the shards with their pictures, where the config keeps them out of dataset/

Of a folder only its card is declared: Snakemake would leave a time stamp inside a declared folder, and that would be
published. The manifest lists every file.
"""


rule dataset:
    input:
        upstream=[
            "<results>/{character}/clustered.manifest.json",
            "<results>/{character}/tagged.manifest.json",
            "<results>/{character}/filtered.decisions.json",
            "<results>/{character}/measured.manifest.json",
            "<results>/{character}/raw.manifest.json",
        ],
        clustered=ancient("<results>/{character}/clustered.parquet"),
        outfits=ancient("<results>/{character}/outfits.json"),
        core=ancient("<results>/{character}/core.json"),
        filtered=ancient("<results>/{character}/filtered.parquet"),
        measured=ancient("<results>/{character}/measured.parquet"),
        raw=ancient("<results>/{character}/raw.parquet"),
        made=ancient("<results>/{character}/filtered.manifest.json"),
    output:
        card=ensure("<results>/{character}/dataset/README.md", non_empty=True),
        training=ensure("<results>/{character}/dataset.training.json", non_empty=True),
        judging=ensure("<results>/{character}/dataset.judging.json", non_empty=True),
        manifest=ensure("<results>/{character}/dataset.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/dataset.log",
    benchmark:
        "<benchmarks>/{character}/dataset.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        stage=stage_params("dataset"),
    script:
        "../scripts/dataset.py"
