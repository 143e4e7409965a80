"""LoRA training as diffusers' own example does it (train_text_to_image_lora): diffusers, peft, AdamW, a loop.

Taken over from it: adapters by peft, gradients clipped at 1, min-SNR weights, the text encoder run in every step.
Added, so that all sides do the same work: cached latents, LoRA on feed-forward and text encoder too. Left out:
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
from transformers import CLIPTextModel, CLIPTokenizer

UNET = ["to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
TEXT_ENCODER = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
MIN_SNR_GAMMA = 5.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    train(parser.parse_args())


def train(options: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    unet = UNet2DConditionModel.from_pretrained(options.base, subfolder="unet", torch_dtype=dtype).to(device)
    text_encoder = CLIPTextModel.from_pretrained(options.base, subfolder="text_encoder", dtype=dtype).to(device)
    vae = AutoencoderKL.from_pretrained(options.base, subfolder="vae", torch_dtype=dtype).to(device)
    schedule = DDPMScheduler.from_pretrained(options.base, subfolder="scheduler")
    for model in (unet, text_encoder, vae):
        model.requires_grad_(False)
    adapters = {"r": options.rank, "lora_alpha": options.rank, "init_lora_weights": "gaussian"}
    unet.add_adapter(LoraConfig(target_modules=UNET, **adapters))
    text_encoder.add_adapter(LoraConfig(target_modules=TEXT_ENCODER, **adapters))
    cast_training_params([unet, text_encoder], dtype=torch.float32)
    weights = [weight for model in (unet, text_encoder) for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    data = TensorDataset(cached_latents(options.pictures, vae), tokens(options.pictures, options.base))
    loader = DataLoader(data, batch_size=options.batch, shuffle=True, drop_last=True)
    unet.train()
    text_encoder.train()
    step = 0
    while step < options.steps:
        for latents, ids in loader:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss = weighted_loss(unet, text_encoder, schedule, latents.to(device), ids.to(device))
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
            found = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.sample()
            latents.append(found.float().cpu() * vae.config.scaling_factor)
    return torch.cat(latents)


def tokens(folder: Path, base: str) -> Tensor:
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    captions = list(json.loads((folder.parent / "captions.json").read_text()).values())
    settings = {"max_length": tokenizer.model_max_length, "padding": "max_length", "truncation": True}
    return tokenizer(captions, return_tensors="pt", **settings).input_ids


def weighted_loss(unet: Any, text_encoder: Any, schedule: DDPMScheduler, latents: Tensor, ids: Tensor) -> Tensor:
    noise = torch.randn_like(latents)
    steps = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),), device=latents.device)
    noisy = schedule.add_noise(latents, noise, steps)
    predicted = unet(noisy, steps, text_encoder(ids, return_dict=False)[0], return_dict=False)[0]
    snr = compute_snr(schedule, steps)
    weight = snr.clamp(max=MIN_SNR_GAMMA) / snr
    loss = nn.functional.mse_loss(predicted.float(), noise.float(), reduction="none")
    return (loss.mean(dim=list(range(1, loss.ndim))) * weight).mean()


if __name__ == "__main__":
    main()
