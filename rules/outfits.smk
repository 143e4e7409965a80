"""One page to judge outfits by: the character, their outfits, how often each is trained, a map of all views.

READS   outfits.json, core.json, clustered.parquet, tagged.parquet, measured.parquet (embeddings), raw.parquet
MAKES   outfits.html   self-contained, written long before training ends
"""


rule outfits:
    input:
        upstream=[
            "<results>/{character}/clustered.manifest.json",
            "<results>/{character}/tagged.manifest.json",
            "<results>/{character}/measured.manifest.json",
            "<results>/{character}/raw.pictures.json",
        ],
        clustered=ancient("<results>/{character}/clustered.parquet"),
        outfits=ancient("<results>/{character}/outfits.json"),
        tagged=ancient("<results>/{character}/tagged.parquet"),
        core=ancient("<results>/{character}/core.json"),
        measured=ancient("<results>/{character}/measured.parquet"),
        raw=ancient("<results>/{character}/raw.parquet"),
        made=ancient("<results>/{character}/raw.manifest.json"),
    output:
        page=ensure("<results>/{character}/outfits.html", non_empty=True),
        manifest=ensure("<results>/{character}/outfits.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/outfits.log",
    benchmark:
        "<benchmarks>/{character}/outfits.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        stage=stage_params("outfits"),
    script:
        "../scripts/outfits.py"
