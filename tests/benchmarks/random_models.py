"""Models of the size of Stable Diffusion 1.5 and XL with random weights: they cost the same as real ones."""

import shutil
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import whole_folder
from tests.conftest import tokenizer_files

NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32}
SD15_UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def sd15(folder: Path) -> Path:
    """4 GB, written once."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    def build(tokenizer: Any) -> Any:
        parts = {"tokenizer": tokenizer, "text_encoder": CLIPTextModel(clip(tokenizer, CLIP_L, "quick_gelu"))}
        unet = UNet2DConditionModel(**SD15_UNET)
        none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return StableDiffusionPipeline(unet=unet, **parts, **common(sample_size=512), **none)

    return written(folder, build)


def sdxl(folder: Path) -> Path:
    """14 GB, written once."""
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    def build(tokenizer: Any) -> Any:
        first = CLIPTextModel(clip(tokenizer, CLIP_L, "quick_gelu"))
        second = CLIPTextModelWithProjection(clip(tokenizer, CLIP_G, "gelu"))
        parts = {"tokenizer": tokenizer, "tokenizer_2": tokenizer, "text_encoder": first, "text_encoder_2": second}
        unet = UNet2DConditionModel(**SDXL_UNET)
        return StableDiffusionXLPipeline(unet=unet, **parts, **common(sample_size=1024, scaling_factor=0.13025))

    return written(folder, build)


def clip(tokenizer: Any, sizes: dict[str, int], activation: str) -> Any:
    from transformers import CLIPTextConfig

    marks = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("bos", "eos", "pad")}
    width = sizes["hidden_size"]
    return CLIPTextConfig(**sizes, **marks, vocab_size=49408, projection_dim=width, hidden_act=activation)


def common(**other: Any) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDPMScheduler

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return {"vae": AutoencoderKL(**VAE, **blocks, **other), "scheduler": DDPMScheduler(**NOISE, clip_sample=False)}


def written(folder: Path, build: Any) -> Path:
    if folder.is_dir():
        return folder
    import torch
    from transformers import CLIPTokenizer

    print(f"writing a model of real size with random weights to {folder}", flush=True)
    torch.manual_seed(0)
    with whole_folder(folder) as part:
        vocabulary = tokenizer_files(part / "source")
        pipe = build(CLIPTokenizer(*vocabulary, model_max_length=77))
        pipe.save_pretrained(part)
        for name in (name for name in pipe.components if name.startswith("tokenizer")):
            for file in vocabulary:  # transformers 5 leaves them out, older ones need them
                shutil.copy(file, part / name)
        shutil.rmtree(part / "source")
    return folder
