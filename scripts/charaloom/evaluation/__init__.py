"""Previews, their scores, and the selection of a checkpoint."""
