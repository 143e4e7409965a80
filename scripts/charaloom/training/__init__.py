"""Training a LoRA and an embedding with HCP-Diffusion."""
