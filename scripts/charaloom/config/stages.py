"""The stages in the order they run, and the version of each one's meaning.

Bump a version when the same inputs would now give another result: no trigger of Snakemake sees package edits.
"""

STAGE_VERSION: dict[str, int] = {
    "raw": 4,
    "measured": 6,
    "filtered": 6,
    "curation": 4,
    "tagged": 4,
    "clustered": 5,
    "outfits": 4,
    "dataset": 6,
    "checkpoints": 5,
    "previews": 3,
    "selection": 6,
    "model": 6,
    "published": 3,
    "report": 9,
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
