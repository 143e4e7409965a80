"""How fast previews are rendered: batches on a pipeline whose LoRAs are switched, against one call per picture.

Both sides render the same prompts with the same seeds, sampler, steps, size and number of threads, on the demo's base
model with several checkpoints (LoRA of rank 8 on attention and feed-forward of UNet and text encoder, embedding of 4
vectors). The other side is the loop that diffusers' documentation shows: the pipeline is loaded once, each checkpoint
is loaded and unloaded, each picture is one call. Sides take turns; the median of the rounds counts.

    make bench-previews          # prints a table and one line of JSON: ours, theirs, ratio, ratio_cpu
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from charaloom.config.families import family_of
from charaloom.config.params import PreviewBase, Previews, SelectionRule
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import Checkpoint, positive
from charaloom.diffusion.pipelines import BasePipeline, open_pipeline

CODE = Path(__file__).resolve().parents[2]
BASE = CODE / "resources" / "demo" / "bases" / "main"
SETTINGS = Previews(
    version=1,
    bases=(),
    width=128,
    height=128,
    steps=20,
    seeds=1,
    scenes=1,
    weights=(1.0,),
    sweep=1.0,
    batch=8,
    rating_model=0.5,
    memorised=0.85,
    threads=1,
    precision="fp32",
    seed=0,
    selection=SelectionRule(scores={}, first=1.0, keep=0.5),
)
ENTRY = PreviewBase(
    name="demo",
    family="sd15",
    clip_skip=0,
    negative="nsfw, nude, lowres, bad anatomy, bad hands, text, watermark",
    guidance=4.0,
)
PROMPTS = 8
RANK, VECTORS = 8, 4
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "q_proj", "k_proj", "v_proj", "out_proj")
SCENES = ("portrait, smile", "full body, white background", "cowboy shot, outdoors", "upper body, night")


def checkpoint(folder: Path, step: int) -> Checkpoint:
    """A random LoRA in kohya keys with an embedding beside it."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextModel

    text = CLIPTextModel.from_pretrained(BASE / "text_encoder")
    models = {"lora_unet_": UNet2DConditionModel.from_pretrained(BASE / "unet"), "lora_te_": text}
    chance, weights = torch.Generator().manual_seed(step), {}
    for prefix, model in models.items():
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name.endswith(LAYERS):
                key = prefix + name.replace(".", "_")
                weights[f"{key}.lora_down.weight"] = 0.01 * torch.randn(RANK, module.in_features, generator=chance)
                weights[f"{key}.lora_up.weight"] = 0.01 * torch.randn(module.out_features, RANK, generator=chance)
                weights[f"{key}.alpha"] = torch.tensor(float(RANK))
    lora, embedding = folder / f"step-{step:06d}.safetensors", folder / f"step-{step:06d}_emb.safetensors"
    save_file(weights, lora)
    save_file({"emb_params": 0.1 * torch.randn(VECTORS, text.config.hidden_size, generator=chance)}, embedding)
    return Checkpoint(lora.stem, step, lora, embedding)


def prompts() -> list[str]:
    return [f"hana charaloom, 1girl, solo, red kimono, {SCENES[k % len(SCENES)]}" for k in range(PROMPTS)]


class Ours:
    def __init__(self, threads: int):
        base = LocalBase("demo", family_of("sd15"), BASE, "", ENTRY)
        self.pipeline = BasePipeline(base, threads)

    def render(self, steps: list[Checkpoint], seeds: list[int]) -> list[Any]:
        pictures = []
        for step in steps:
            pictures += self.pipeline.render(step, prompts(), seeds, SETTINGS)
        return pictures


class OneCallEach:
    def __init__(self, threads: int):
        from diffusers import DPMSolverMultistepScheduler

        self.pipeline = open_pipeline(BASE, family_of("sd15"), threads)
        config = self.pipeline.scheduler.config
        self.pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)

    def render(self, steps: list[Checkpoint], seeds: list[int]) -> list[Any]:
        import torch

        pictures = []
        for step in steps:
            self.pipeline.load_lora_weights(step.lora.parent, weight_name=step.lora.name)
            self.pipeline.load_textual_inversion(str(step.embedding), token="hana_emb")
            for text, seed in zip(prompts(), seeds, strict=True):
                pictures += self.pipeline(
                    prompt=positive(text, step, "hana_emb", ENTRY),
                    negative_prompt=ENTRY.negative,
                    width=SETTINGS.width,
                    height=SETTINGS.height,
                    num_inference_steps=SETTINGS.steps,
                    guidance_scale=ENTRY.guidance,
                    generator=torch.Generator("cpu").manual_seed(seed),
                ).images
            self.pipeline.unload_lora_weights()
            self.pipeline.unload_textual_inversion()
        return pictures


def apart(ours: list[Any], theirs: list[Any]) -> float:
    """The greatest difference of a pixel, of 255: both sides must render the same."""
    import numpy as np

    pairs = zip(ours, theirs, strict=True)
    return max(float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max()) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = [checkpoint(Path(folder), 100 * (k + 1)) for k in range(given.checkpoints)]
        sides = {"ours": Ours(given.threads), "theirs": OneCallEach(given.threads)}
        seeds = list(range(PROMPTS))
        first = {name: side.render(steps[:1], seeds) for name, side in sides.items()}  # warm, and compared
        rates: dict[str, list[float]] = {name: [] for name in sides}
        busy: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(given.rounds):
            for name, side in sides.items():
                began, worked = time.perf_counter(), time.process_time()
                pictures = len(side.render(steps, seeds))
                rates[name].append(pictures / (time.perf_counter() - began))
                busy[name].append(pictures / (time.process_time() - worked))
    figures = {name: round(statistics.median(values), 3) for name, values in rates.items()}
    figures["ratio"] = round(figures["ours"] / figures["theirs"], 3)
    # Processor time is comparable also on a machine that has other work.
    figures["ratio_cpu"] = round(statistics.median(busy["ours"]) / statistics.median(busy["theirs"]), 3)
    figures["pixels_apart"] = apart(first["ours"], first["theirs"])
    print(f"pictures per second, {given.threads} threads: {figures['ours']} in batches of {PROMPTS}, LoRAs switched;")
    print(f"{figures['theirs']} by one call each; at most {figures['pixels_apart']} of 255 apart")
    print(f"{figures['ratio']} times as fast by the clock, {figures['ratio_cpu']} by processor time")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
