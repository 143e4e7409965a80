"""Charaloom: character models (LoRA + embedding) and their datasets, rebuilt by anyone from a roster.

The package holds all logic and never imports snakemake; `rules/` and `scripts/*.py` are the seam between the two.
"""

__version__ = "0.1.0"
