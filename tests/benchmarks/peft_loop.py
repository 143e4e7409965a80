"""LoRA training as diffusers' own examples do it (train_text_to_image_lora and its SDXL twin): diffusers, peft, a loop.

Taken over from them: adapters by peft, AdamW, gradients clipped at 1, min-SNR weights, text encoders run in every step.
Added, so that all sides do the same work: cached latents, LoRA on feed-forward and text encoders too. Left out:
accelerate, which adds nothing on one device.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import cast_training_params, compute_snr
from peft import LoraConfig
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

UNET = ["to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
TEXT_ENCODER = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
MIN_SNR_GAMMA = 5.0
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    train(parser.parse_args())


def train(options: argparse.Namespace) -> None:
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    unet = UNet2DConditionModel.from_pretrained(options.base, subfolder="unet", torch_dtype=dtype).to(DEVICE)
    vae = AutoencoderKL.from_pretrained(options.base, subfolder="vae", torch_dtype=dtype).to(DEVICE)
    text_encoders = [CLIPTextModel.from_pretrained(options.base, subfolder="text_encoder", dtype=dtype)]
    if (options.base / "text_encoder_2").is_dir():
        kind = {"subfolder": "text_encoder_2", "dtype": dtype}
        text_encoders.append(CLIPTextModelWithProjection.from_pretrained(options.base, **kind))
    schedule = DDPMScheduler.from_pretrained(options.base, subfolder="scheduler")
    models = [unet, *(encoder.to(DEVICE) for encoder in text_encoders)]
    for model in (*models, vae):
        model.requires_grad_(False)
    for model in models:
        modules = UNET if model is unet else TEXT_ENCODER
        adapter = {"r": options.rank, "lora_alpha": options.rank, "init_lora_weights": "gaussian"}
        model.add_adapter(LoraConfig(target_modules=modules, **adapter))
        model.train()
    cast_training_params(models, dtype=torch.float32)
    weights = [weight for model in models for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    data = TensorDataset(cached_latents(options.pictures, vae), tokens(options.pictures, options.base))
    loader = DataLoader(data, batch_size=options.batch, shuffle=True, drop_last=True)
    step = 0
    while step < options.steps:
        for latents, ids in loader:
            with torch.autocast(DEVICE.type, dtype, enabled=dtype != torch.float32):
                loss = weighted_loss(unet, text_encoders, schedule, latents.to(DEVICE), ids.to(DEVICE))
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            print(f"step {step}, loss {loss.detach().item():.4f}", flush=True)


def cached_latents(folder: Path, vae: Any) -> Tensor:
    """[pictures, 4, height / 8, width / 8]"""
    latents = []
    with torch.no_grad():
        for path in sorted(folder.glob("*.png")):
            pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
            latent = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.sample()
            latents.append(latent.float().cpu() * vae.config.scaling_factor)
    return torch.cat(latents)


def tokens(folder: Path, base: Path) -> Tensor:
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    captions = list(json.loads((folder.parent / "captions.json").read_text()).values())
    settings = {"max_length": tokenizer.model_max_length, "padding": "max_length", "truncation": True}
    return tokenizer(captions, return_tensors="pt", **settings).input_ids


def conditions(text_encoders: list[Any], ids: Tensor, latents: Tensor) -> dict[str, Any]:
    """Conditions of the UNet: SD 1.x takes one encoder's last states, SDXL both encoders' last but one, and sizes."""
    if len(text_encoders) == 1:
        return {"encoder_hidden_states": text_encoders[0](ids, return_dict=False)[0]}
    both = [encoder(ids, output_hidden_states=True) for encoder in text_encoders]
    height, width = (8 * side for side in latents.shape[-2:])
    sizes = torch.tensor([[height, width, 0, 0, height, width]], device=DEVICE).repeat(len(latents), 1)
    text = torch.cat([output.hidden_states[-2] for output in both], dim=-1)
    return {"encoder_hidden_states": text, "added_cond_kwargs": {"text_embeds": both[1][0], "time_ids": sizes}}


def weighted_loss(unet: Any, text_encoders: list[Any], schedule: Any, latents: Tensor, ids: Tensor) -> Tensor:
    noise = torch.randn_like(latents)
    steps = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),), device=DEVICE)
    noisy = schedule.add_noise(latents, noise, steps)
    predicted = unet(noisy, steps, **conditions(text_encoders, ids, latents), return_dict=False)[0]
    snr = compute_snr(schedule, steps)
    weight = snr.clamp(max=MIN_SNR_GAMMA) / snr
    loss = nn.functional.mse_loss(predicted.float(), noise.float(), reduction="none")
    return (loss.mean(dim=list(range(1, loss.ndim))) * weight).mean()


if __name__ == "__main__":
    main()
