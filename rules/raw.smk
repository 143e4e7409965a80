"""Pictures as their source serves them, and every post they came from.

READS   a folder of the user's, or a board
MAKES   raw.parquet      one row per picture: its bytes, its posts, and what is wrong with it
        raw.files.json   the files of a folder that were not used, with the reason; no later stage but the page reads it

A folder is no input but a digest: its pictures are compared by name and content, whatever their times say.
"""


rule raw:
    output:
        table=ensure("<results>/{character}/raw.parquet", non_empty=True),
        pictures=ensure("<results>/{character}/raw.pictures.json", non_empty=True),
        files=ensure("<results>/{character}/raw.files.json", non_empty=True),
        manifest=ensure("<results>/{character}/raw.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/raw.log",
    benchmark:
        "<benchmarks>/{character}/raw.jsonl"
    localrule: True  # needs a network, which the nodes of a cluster often have none of
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **board_slots(),
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        stage=stage_params("raw"),
    script:
        "../scripts/raw.py"
