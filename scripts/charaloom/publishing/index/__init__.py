"""The index over all characters: a page, and a dataset of one row per character for a hub."""
