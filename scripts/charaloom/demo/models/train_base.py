"""Trains the demo's base models: latent diffusion of the SD 1.x classes that draws the demo world from tags.

Stages, each saved and continued after a stop: pictures → text encoder that learns to tell tags apart → autoencoder →
latents → UNet that learns to draw what the text says → siblings. (Learning together from nothing, the text encoder
did not learn the words: after 5,200 steps "blue hair" and "red hair" had states of cosine 0.998.)

The characters drawn here are strangers: they come from seeds that no demo configuration uses, and carry no names.

    torchrun --nproc-per-node 2 -m charaloom.demo.models.train_base --work work/demo-weights --out resources/demo/bases

The processes share the batches of the autoencoder and the UNet, one thread each (two such learn half as much again as
one of two threads); the first does all else. All weights stay below 40 MB, and it may be stopped at any time.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import cos, pi
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from charaloom.demo.world import cast
from charaloom.demo.world.drawing import draw_group
from charaloom.demo.world.words import write_tokenizer

SIZE = 128
SEED = 900_000_001  # far from the seeds of any demo world
POOL = {"cel": 11_000, "pastel": 2_500, "ink": 2_500, "watercolor": 1_500}
SHARE = {"cel": 0.85, "pastel": 0.06, "ink": 0.06, "watercolor": 0.03}  # of the main model's training pictures
SIBLINGS = {"pastel": "pastel", "ink": "ink"}
CLIP_SKIP = {"ink": 1}  # layers of the text encoder that a model does not hear: 0 where it is not named
KL_WEIGHT = 0.03  # large enough that latents keep some noise, which makes them easier to denoise


@dataclass(frozen=True)
class Recipe:
    vae_steps: int = 2_500
    vae_batch: int = 16
    vae_crop: int = 64
    text_steps: int = 600
    text_batch: int = 64
    unet_steps: int = 10_000
    unet_batch: int = 16
    sibling_steps: int = 600
    skipping_steps: int = 1_200  # of a sibling that skips layers: what it hears is new to it


def strange_picture(rng: Random, style: str) -> tuple[np.ndarray, list[str]]:
    """A picture of somebody nobody knows, uint8 [128, 128, 3], and its tags."""
    somebody = cast.draw_character(rng, "stranger", outfits=1)
    staging = cast.draw_staging(rng)
    background = rng.choice(cast.BACKGROUNDS)
    outfit = somebody.outfits[0]
    picture, _ = draw_group([(somebody, outfit, staging)], background, style, (SIZE, SIZE), rng)
    return np.asarray(picture), cast.picture_tags(somebody, outfit, staging, background, style)


def draw_pool(work: Path) -> None:
    """Draw the training pictures once: work/pool.npy and work/pool.json (style and tags of each)."""
    if (work / "pool.json").exists():
        return
    rng = Random(SEED)
    total = sum(POOL.values())
    pictures = np.lib.format.open_memmap(work / "pool.npy", "w+", np.uint8, (total, SIZE, SIZE, 3))
    facts: list[dict[str, Any]] = []
    report = progress("pictures", total)
    for style, count in POOL.items():
        for _ in range(count):
            pictures[len(facts)], tags = strange_picture(rng, style)
            facts.append({"style": style, "tags": tags})
            report(len(facts), "")
    pictures.flush()
    (work / "pool.json").write_text(json.dumps(facts))


def progress(name: str, total: int, every: float = 10.0) -> Callable[[int, str], None]:
    """A line on stderr every few seconds: how far, how fast, how long still."""
    start = last = time.monotonic()
    first: int | None = None

    def report(done: int, note: str) -> None:
        nonlocal last, first
        first = done - 1 if first is None else first
        now = time.monotonic()
        if now - last < every and done < total:
            return
        last = now
        rate = (done - first) / max(now - start, 1e-9)
        print(
            f"{name} {done}/{total} {rate:.2f}/s {(total - done) / max(rate, 1e-9) / 60:.1f} min left {note}",
            file=sys.stderr,
            flush=True,
        )

    return report


def save(path: Path, **state: Any) -> None:
    import torch

    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def cosine(step: int, total: int, peak: float, warm: int = 200) -> float:
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.02 + 0.98 * 0.5 * (1 + cos(pi * (step - warm) / max(total - warm, 1))))


def processes() -> tuple[int, int]:
    """This process's number and how many there are."""
    from torch import distributed

    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def average_gradients(parameters: list[Any]) -> None:
    """Give every process the mean of all processes' gradients."""
    import torch
    from torch import distributed

    if processes()[1] == 1:
        return
    flat = torch.cat([p.grad.reshape(-1) for p in parameters])
    distributed.all_reduce(flat)
    flat /= processes()[1]
    for parameter, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = mean.view_as(parameter)


# ------------------------------------------------------------------------------------------------------ autoencoder


def new_vae() -> Any:
    import torch
    from diffusers import AutoencoderKL

    channels = (16, 32, 64, 64)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )
    keep_signal(vae)
    return vae.to(memory_format=torch.channels_last)


def keep_signal(vae: Any) -> None:
    """Start from convolutions that keep a signal's size: torch's own start shrinks it by each of some fifteen, and the
    colours took thousands of steps to come through (measured: L1 0.29 after 150 steps, 0.22 with this)."""
    import torch

    for name, module in vae.named_modules():
        if not isinstance(module, torch.nn.Conv2d):
            continue
        torch.nn.init.orthogonal_(module.weight, gain=0.1 if name.endswith("conv2") else 1.0)
        torch.nn.init.zeros_(module.bias)
    torch.nn.init.dirac_(vae.quant_conv.weight)
    torch.nn.init.dirac_(vae.post_quant_conv.weight)
    torch.nn.init.constant_(vae.quant_conv.bias[4:], -4.0)  # log variance: latents start with little noise


def crops(pictures: np.ndarray, rng: np.random.Generator, batch: int, size: int) -> Any:
    """Random crops [batch, 3, size, size] in -1..1, mirrored half of the time."""
    import torch

    index = rng.integers(len(pictures), size=batch)
    corner = rng.integers(0, (SIZE - size) // 8 + 1, size=(batch, 2)) * 8
    cut = np.stack([pictures[k, y : y + size, x : x + size] for k, (y, x) in zip(index, corner, strict=True)])
    mirrored = rng.random(batch) < 0.5
    cut[mirrored] = cut[mirrored, :, ::-1]
    return torch.from_numpy(cut).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def train_vae(work: Path, recipe: Recipe) -> None:
    """L1, squared error and L1 of gradients on random crops, a tiny KL; state in work/vae.pt."""
    import torch

    torch.manual_seed(SEED)
    vae, path = new_vae(), work / "vae.pt"
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-3)
    average = {name: value.detach().clone() for name, value in vae.state_dict().items()}
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        vae.load_state_dict(state["vae"]), optimizer.load_state_dict(state["optimizer"])
        start, average = state["step"], state["average"]
    pictures = np.load(work / "pool.npy", mmap_mode="r")
    report = progress("autoencoder", recipe.vae_steps)
    for step in range(start, recipe.vae_steps):
        # Seeded by the step, so that a stopped run continues with the same crops.
        torch.manual_seed(SEED + step)
        batch = crops(pictures, np.random.default_rng(SEED + step), recipe.vae_batch, recipe.vae_crop)
        number, count = processes()
        batch = batch[number::count]
        loss, note = vae_loss(vae, batch.contiguous(memory_format=torch.channels_last))
        optimizer.param_groups[0]["lr"] = cosine(step, recipe.vae_steps, 1.5e-3)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(list(vae.parameters()))
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        follow(average, vae, min(0.998, step / (step + 10)))
        if number:
            continue
        report(step + 1, note)
        if (step + 1) % 250 == 0 or step + 1 == recipe.vae_steps:
            save(path, vae=vae.state_dict(), optimizer=optimizer.state_dict(), average=average, step=step + 1)


def follow(average: dict[str, Any], model: Any, decay: float) -> None:
    """Exponential moving average of a model's weights."""
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - decay)


def vae_loss(vae: Any, batch: Any) -> tuple[Any, str]:
    posterior = vae.encode(batch).latent_dist
    drawn = vae.decode(posterior.sample()).sample
    l1 = (drawn - batch).abs().mean()
    edges = sum((drawn.diff(dim=d) - batch.diff(dim=d)).abs().mean() for d in (2, 3))
    kl = posterior.kl().mean() / batch[0].numel()
    # The squared error pulls colours right early, the edges sharpen late.
    squared = ((drawn - batch) ** 2).mean()
    return (
        l1 + 0.5 * edges + 2 * squared + KL_WEIGHT * kl,
        f"l1 {l1.item():.4f} edges {edges.item():.4f} kl {kl.item():.2f}",
    )


def finished_vae(work: Path) -> Any:
    import torch

    vae = new_vae()
    vae.load_state_dict(torch.load(work / "vae.pt", weights_only=True)["average"])
    if (work / "latents.json").exists():
        vae.register_to_config(scaling_factor=json.loads((work / "latents.json").read_text())["scaling_factor"])
    return vae.eval()


def encode_pool(work: Path) -> None:
    """Latents of the whole pool, float32 [n, 4, 16, 16] before scaling, and the scaling factor that makes them unit."""
    import torch

    if (work / "latents.json").exists():
        return
    vae, pictures = finished_vae(work), np.load(work / "pool.npy", mmap_mode="r")
    latents = np.lib.format.open_memmap(
        work / "latents.npy", "w+", np.float32, (len(pictures), 4, SIZE // 8, SIZE // 8)
    )
    report = progress("latents", len(pictures))
    for start in range(0, len(pictures), 32):
        batch = torch.from_numpy(pictures[start : start + 32].copy()).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        with torch.inference_mode():
            mean = vae.encode(batch.contiguous(memory_format=torch.channels_last)).latent_dist.mean
        latents[start : start + len(mean)] = mean.numpy()
        report(start + len(mean), "")
    latents.flush()
    factor = round(1 / float(np.std(latents)), 5)
    (work / "latents.json").write_text(json.dumps({"scaling_factor": factor}))


# ------------------------------------------------------------------------------------------- UNet and text encoder


def new_text_encoder(tokens: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        projection_dim=96,
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=tokens - 1,
    )
    return CLIPTextModel(config)


def new_unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 96, 128),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=96,
        attention_head_dim=2,  # heads, as SD 1.x's configuration misnames them
        norm_num_groups=8,
    )


def new_scheduler() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def caption(tags: list[str], rng: np.random.Generator) -> str:
    """Tags with spaces, in any order, some left out; one in ten captions is empty."""
    if rng.random() < 0.1:
        return ""
    keep = rng.choice((1.0, 0.75, 0.5))
    kept = [tag.replace("_", " ") for tag in tags if rng.random() < keep]
    return ", ".join(kept[k] for k in rng.permutation(len(kept)))


def tag_places(tokenizer: Any, tags: list[str]) -> tuple[list[int], list[int]]:
    """Token ids of a caption of these tags, and the place of each tag's last token among them."""
    ids: list[int] = [tokenizer.bos_token_id]
    places: list[int] = []
    comma = tokenizer(",").input_ids[1:-1]
    for tag in tags:
        ids += (comma if places else []) + tokenizer(tag.replace("_", " ")).input_ids[1:-1]
        places.append(len(ids) - 1)
    return ids, places


def shuffled_captions(
    tokenizer: Any, facts: list[list[str]], number: int, rng: np.random.Generator
) -> tuple[Any, list[tuple[int, int, str]]]:
    """Token ids [number, 77] of captions whose tags are shuffled and partly left out, and (caption, token, tag) of
    every tag in them."""
    import torch

    batch = torch.full((number, 77), tokenizer.pad_token_id)
    tag_ends: list[tuple[int, int, str]] = []
    for row, index in enumerate(rng.integers(len(facts), size=number)):
        keep = rng.choice((1.0, 0.75, 0.5))
        tags = [tag for tag in facts[index] if rng.random() < keep]
        tags = [tags[k] for k in rng.permutation(len(tags))]
        ids, places = tag_places(tokenizer, tags)
        end = min(len(ids), 76)
        batch[row, :end] = torch.tensor(ids[:end])
        batch[row, end] = tokenizer.eos_token_id
        tag_ends += [(row, at, tag) for at, tag in zip(places, tags, strict=True) if at < end]
    return batch, tag_ends


def train_text(work: Path, recipe: Recipe) -> None:
    """Teach the text encoder to tell from the state of a tag's last token which tag it is; state in work/text.pt.

    What pretraining gives CLIP: "blue" and "hair" meet in one state, which a UNet can read.
    """
    import torch
    from torch.nn import functional
    from transformers import CLIPTokenizer

    path = work / "text.pt"
    if path.exists():
        return
    torch.manual_seed(SEED)
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    facts = [fact["tags"] for fact in json.loads((work / "pool.json").read_text())]
    names = sorted({tag for tags in facts for tag in tags})
    text, answers = new_text_encoder(len(tokenizer)), torch.nn.Linear(96, len(names))
    place = {name: index for index, name in enumerate(names)}
    optimizer = torch.optim.AdamW([*text.parameters(), *answers.parameters()], lr=2e-3, weight_decay=1e-2)
    report, right = progress("text", recipe.text_steps), 0.0
    for step in range(recipe.text_steps):
        rng = np.random.default_rng([SEED, 9, step])
        batch, tag_ends = shuffled_captions(tokenizer, facts, recipe.text_batch, rng)
        rows, tokens, tags_there = torch.tensor([(row, at, place[tag]) for row, at, tag in tag_ends]).T
        logits = answers(text(batch)[0][rows, tokens])
        loss = functional.cross_entropy(logits, tags_there)
        optimizer.param_groups[0]["lr"] = cosine(step, recipe.text_steps, 2e-3)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(text.parameters(), 1.0)
        optimizer.step()
        right = 0.98 * right + 0.02 * float((logits.argmax(1) == tags_there).float().mean())
        report(step + 1, f"loss {loss.item():.3f} right {right:.3f}")
    save(path, text=text.state_dict())


class Denoiser:
    """A UNet that learns, with its moving average, and the text encoder it listens to, which stays as it is.

    `clip_skip`: layers of the text encoder that are skipped.
    """

    def __init__(self, work: Path, clip_skip: int = 0):
        import torch
        from transformers import CLIPTokenizer

        torch.manual_seed(SEED)
        self.tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        self.text, self.unet, self.scheduler = new_text_encoder(len(self.tokenizer)), new_unet(), new_scheduler()
        self.text.load_state_dict(torch.load(work / "text.pt", weights_only=True)["text"])
        self.text.requires_grad_(False)
        self.clip_skip = clip_skip
        self.learning = list(self.unet.parameters())
        self.optimizer = torch.optim.AdamW(self.learning, lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-2)
        self.average = self.weights()
        self.step = 0

    def weights(self) -> dict[str, Any]:
        return {name: value.detach().clone() for name, value in self.unet.state_dict().items()}

    def save(self, path: Path) -> None:
        if processes()[0]:
            return
        save(path, unet=self.weights(), average=self.average, optimizer=self.optimizer.state_dict(), step=self.step)

    def load(self, path: Path) -> None:
        import torch

        state = torch.load(path, weights_only=True)
        self.unet.load_state_dict(state["unet"])
        self.average, self.step = state["average"], state["step"]
        self.optimizer.load_state_dict(state["optimizer"])

    def start_from(self, average: dict[str, Any]) -> None:
        self.unet.load_state_dict(average)
        self.average = self.weights()

    def learn(self, latents: Any, captions: list[str], rate: float) -> float:
        """One step on latents [n, 4, h, w] (scaled) and their captions, of which each process takes its share; epsilon
        loss, min-SNR 5. Returns the loss on this process's share."""
        import torch

        noise = torch.randn_like(latents)
        when = torch.randint(0, 1000, (len(latents),))
        number, count = processes()
        latents, noise, when, captions = (batch[number::count] for batch in (latents, noise, when, captions))
        ids = self.tokenizer(
            captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            skipped = self.text(ids, output_hidden_states=True).hidden_states[-1 - self.clip_skip]
            states = self.text.text_model.final_layer_norm(skipped)
        with torch.autocast("cpu", torch.bfloat16):  # a quarter faster where the CPU knows it
            predicted = self.unet(self.scheduler.add_noise(latents, noise, when), when, states).sample.float()
        alpha = self.scheduler.alphas_cumprod[when]
        snr = alpha / (1 - alpha)
        loss = (((predicted - noise) ** 2).mean((1, 2, 3)) * snr.clamp(max=5) / snr).mean()
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.learning)
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimizer.step()
        self.step += 1
        follow(self.average, self.unet, min(0.999, self.step / (self.step + 10)))
        return loss.item()


def drawn_batches(work: Path, share: dict[str, float], batch: int, salt: int) -> Callable[[int], tuple[Any, list[str]]]:
    """A function from the step to its latents and captions; styles are drawn by share."""
    import torch

    facts = json.loads((work / "pool.json").read_text())
    latents = np.load(work / "latents.npy", mmap_mode="r")
    factor = json.loads((work / "latents.json").read_text())["scaling_factor"]
    members = {style: [k for k, fact in enumerate(facts) if fact["style"] == style] for style in share}
    styles, weights = list(share), list(share.values())

    def draw(step: int) -> tuple[Any, list[str]]:
        rng = np.random.default_rng([SEED, salt, step])
        torch.manual_seed(SEED + 7 * step + salt)
        chosen = [members[style][rng.integers(len(members[style]))] for style in rng.choice(styles, batch, p=weights)]
        # A sibling has its style in its weights, no prompt names it: its tag is left out.
        hidden = {tag for style in share for tag in cast.STYLE_TAGS[style]} if len(share) == 1 else set()
        captions = [caption([tag for tag in facts[k]["tags"] if tag not in hidden], rng) for k in chosen]
        return torch.from_numpy(np.stack([latents[k] for k in chosen])) * factor, captions

    return draw


def train_denoiser(model: Denoiser, path: Path, draw: Callable[[int], Any], steps: int, peak: float, name: str) -> None:
    if path.exists():
        model.load(path)
    report, smooth = progress(name, steps), 0.0
    while model.step < steps:
        latents, captions = draw(model.step)
        loss = model.learn(latents, captions, cosine(model.step, steps, peak))
        smooth = loss if not smooth else 0.98 * smooth + 0.02 * loss
        if processes()[0] == 0:
            report(model.step, f"loss {smooth:.4f}")
        if model.step % 250 == 0 or model.step == steps:
            model.save(path)


def train_main(work: Path, recipe: Recipe) -> None:
    draw = drawn_batches(work, SHARE, recipe.unet_batch, salt=1)
    train_denoiser(Denoiser(work), work / "main.pt", draw, recipe.unet_steps, 1e-3, "main")


def train_sibling(work: Path, recipe: Recipe, name: str) -> None:
    import torch

    skip = CLIP_SKIP.get(name, 0)
    steps = recipe.skipping_steps if skip else recipe.sibling_steps
    model = Denoiser(work, skip)
    model.start_from(torch.load(work / "main.pt", weights_only=True)["average"])
    draw = drawn_batches(work, {SIBLINGS[name]: 1.0}, recipe.unet_batch, salt=2 + list(SIBLINGS).index(name))
    train_denoiser(model, work / f"{name}.pt", draw, steps, 5e-4, name)


# ------------------------------------------------------------------------------------------------------------ export


def pipeline(work: Path, name: str) -> Any:
    """The diffusers pipeline of a trained model, from its moving average."""
    import torch
    from diffusers import StableDiffusionPipeline

    model = Denoiser(work)
    model.start_from(torch.load(work / f"{name}.pt", weights_only=True)["average"])
    return StableDiffusionPipeline(
        vae=finished_vae(work),
        text_encoder=model.text.eval(),
        tokenizer=model.tokenizer,
        unet=model.unet.eval(),
        scheduler=model.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(work: Path, model: str, folder: Path) -> None:
    """Write a diffusers folder in fp16, whole or not at all."""
    import torch

    from charaloom.artifacts.files import whole_folder

    with whole_folder(folder) as part:
        pipeline(work, model).to(dtype=torch.float16).save_pretrained(part, safe_serialization=True)
        # transformers 5 leaves these two out, and older programs read nothing else.
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(work / "tokenizer" / name, part / "tokenizer" / name)
        for config in sorted(part.rglob("*.json")):
            config.write_text(without_paths(config.read_text()))
        for file in part.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)


def without_paths(text: str) -> str:
    """A saved configuration without the folder it was loaded from."""
    facts = json.loads(text)
    for key in ("_name_or_path", "name_or_path"):
        facts.pop(key, None) if isinstance(facts, dict) else None
    return json.dumps(facts, indent=2, sort_keys=True) + "\n"


def stages(work: Path, out: Path, recipe: Recipe) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every stage's name and what it does; the processes share those of `SHARED`."""
    yield "tokenizer", lambda: write_tokenizer(work / "tokenizer")
    yield "pool", lambda: draw_pool(work)
    yield "text", lambda: train_text(work, recipe)
    yield "vae", lambda: train_vae(work, recipe)
    yield "latents", lambda: encode_pool(work)
    yield "main", lambda: train_main(work, recipe)
    yield "export main", lambda: export(work, "main", out / "main")
    for name in SIBLINGS:
        yield name, lambda name=name: train_sibling(work, recipe, name)  # type: ignore[misc]
        yield f"export {name}", lambda name=name: export(work, name, out / name)  # type: ignore[misc]


SHARED = {"vae", "main", *SIBLINGS}


def main() -> None:
    import torch
    from torch import distributed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/demo-weights"))
    parser.add_argument("--out", type=Path, default=Path("resources/demo/bases"))
    parser.add_argument("--until", help="stop after this stage")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # more threads wait for each other at every operation
    if "WORLD_SIZE" in os.environ:  # set by torchrun
        distributed.init_process_group("gloo", timeout=timedelta(days=1))
    number, count = processes()
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name, run in stages(arguments.work, arguments.out, Recipe()):
        if number == 0 or name in SHARED:
            run()
        if count > 1:
            distributed.barrier()
        if name == arguments.until:
            break
    if count > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
