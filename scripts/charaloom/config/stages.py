"""The stages in the order they run, and the version of each one's meaning.

Bump a version when the same inputs would now give another result: no trigger of Snakemake sees package edits.
"""

STAGE_VERSION: dict[str, int] = {
    "raw": 1,
    "measured": 4,
    "filtered": 3,
    "curation": 1,
    "tagged": 2,
    "clustered": 3,
    "outfits": 1,
    "dataset": 4,
    "checkpoints": 4,
    "previews": 2,
    "selection": 2,
    "model": 3,
    "published": 1,
    "report": 5,
}

STAGES: tuple[str, ...] = tuple(STAGE_VERSION)

PASSES: tuple[str, ...] = ("models", *STAGES)  # what `charaloom run` asks for, one after another

LOOKED_AT: dict[str, tuple[str, ...]] = {  # what a person would miss beside a stage's manifest
    "curation": ("curation.html",),
    "outfits": ("outfits.html",),
    "dataset": ("dataset/README.md",),
    "selection": ("previews.html",),
    "model": ("model/README.md",),
    "report": ("report.html",),
}
