"""One page that sums up every stage: what was dropped and why, the outfits, the previews, the chosen checkpoint.

READS   every manifest of the character, and the files beside them
MAKES   report.html   self-contained
"""


rule report:
    input:
        upstream=collect(
            "<results>/{{character}}/{file}",
            file=["filtered.decisions.json", *(f"{stage}.manifest.json" for stage in REPORTED)],
        ),
        receipts=lambda wildcards: receipts(wildcards.character),
        made=ancient("<results>/{character}/filtered.manifest.json"),
    output:
        page=ensure("<results>/{character}/report.html", non_empty=True),
        manifest=ensure("<results>/{character}/report.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/report.log",
    benchmark:
        "<benchmarks>/{character}/report.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        stage=stage_params("report"),
    script:
        "../scripts/report.py"
