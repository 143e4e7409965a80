"""The stages in the order they run, and the version of each one's meaning.

Bump a version when the same inputs would now give another result: no trigger of Snakemake sees package edits.
"""

STAGE_VERSION: dict[str, int] = {
    "raw": 3,
    "measured": 5,
    "filtered": 5,
    "curation": 2,
    "tagged": 4,
    "clustered": 5,
    "outfits": 1,
    "dataset": 5,
    "checkpoints": 5,
    "previews": 3,
    "selection": 4,
    "model": 5,
    "published": 2,
    "report": 7,
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
