"""Base models, pipelines, LoRA files and generation data."""
