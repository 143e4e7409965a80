"""One page to judge the filters by: the funnel, a contact sheet and a histogram for each rule.

READS   filtered.parquet, measured.parquet (what could not be measured), raw.parquet, raw.files.json (what was not used)
MAKES   curation.html   self-contained, written long before training ends
"""


rule curation:
    input:
        upstream=[
            "<results>/{character}/measured.manifest.json",
            "<results>/{character}/raw.manifest.json",
        ],
        manifest="<results>/{character}/filtered.manifest.json",
        files="<results>/{character}/raw.files.json",
        filtered=ancient("<results>/{character}/filtered.parquet"),
        measured=ancient("<results>/{character}/measured.parquet"),
        raw=ancient("<results>/{character}/raw.parquet"),
    output:
        page=ensure("<results>/{character}/curation.html", non_empty=True),
        manifest=ensure("<results>/{character}/curation.manifest.json", non_empty=True),
    log:
        "<logs>/{character}/curation.log",
    benchmark:
        "<benchmarks>/{character}/curation.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        stage=stage_params("curation"),
    script:
        "../scripts/curation.py"
