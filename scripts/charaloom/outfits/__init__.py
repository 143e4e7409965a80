"""Outfits: grouping, names, prompts, repeats."""
