"""Pipelines that render: one per base model, opened once; LoRAs and embeddings are loaded once each and switched.

A loaded checkpoint stays in the pipeline as an adapter of its own, its embedding as a word of its own, and a switch
names what counts: no file is read again, and the base's weights are never touched, so that any order of checkpoints
renders the same pictures.

What the pipeline's parts compute is put together here as other programs do it (`prompt_encoding`, `sampling`); its own
`__call__` skips no layer of the negative prompt and cuts long ones.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.config.families import Family
from charaloom.config.params import Previews
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import Checkpoint, positive
from charaloom.diffusion.prompt_encoding import PromptEncoder, TextStates, Word, batched
from charaloom.diffusion.sampling import GuidedUnet, noise_table, sampled
from charaloom.errors import CharaloomError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from PIL import Image
    from torch import Tensor

TILED_FROM = 2_000_000  # pixels from which a picture is decoded in tiles, whose seams can be seen: set by hand


def open_pipeline(folder: Path, family: Family, threads: int, precision: str = "fp32") -> "DiffusionPipeline":
    """A base as a pipeline: its UNet in `precision`, everything else in fp32, whatever its files hold; with a fixed
    number of threads and, on a GPU, only reproducible kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import diffusers
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()  # it reports a second LoRA beside the first as missing weights
    logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    formats = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    pipeline = getattr(diffusers, family.pipeline).from_pretrained(
        folder,
        torch_dtype={"unet": formats[precision], "default": torch.float32},
        local_files_only=True,
        **family.pipeline_options,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


class BasePipeline:
    """One base's pipeline and the checkpoints that were rendered with, each loaded once."""

    def __init__(self, base: LocalBase, threads: int, precision: str = "fp32"):
        self.pipeline = open_pipeline(base.folder, base.family, threads, precision)
        self.base = base
        self.encoder = PromptEncoder(self.pipeline, base.family, base.clip_skip)
        try:
            self.table = noise_table(self.pipeline.scheduler.config, base.entry.zero_snr).to(self.pipeline.device)
        except CharaloomError as problem:
            raise CharaloomError(f"base `{base.name}`: {problem}") from None
        self.loaded: set[str] = set()
        self.words: dict[str, Word] = {}  # of the loaded embeddings, by the checkpoint's name

    def load(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint the one that counts."""
        if checkpoint.lora is None:
            if self.loaded:
                self.pipeline.disable_lora()
            return
        if checkpoint.name not in self.loaded:
            self.pipeline.load_lora_weights(
                checkpoint.lora.parent,
                weight_name=checkpoint.lora.name,
                adapter_name=checkpoint.name,
                local_files_only=True,
            )
            self.loaded.add(checkpoint.name)
        if checkpoint.embedding and checkpoint.name not in self.words:
            self.words[checkpoint.name] = self.load_word(checkpoint.embedding, f"{checkpoint.name}_emb")
        self.pipeline.enable_lora()
        self.pipeline.set_adapters([checkpoint.name], [checkpoint.weight])

    def load_word(self, embedding: Path, text: str) -> Word:
        """An embedding as a word of every text encoder of the family; checkpoints side by side need one each."""
        from safetensors.torch import load_file

        vectors = load_file(embedding)
        family = self.base.family
        for encoder in family.text_encoders:
            key = encoder.embedding_key
            if key not in vectors:
                raise CharaloomError(
                    f"{embedding}: holds no tensor {key!r}, as embeddings of {family.title} do; train it again"
                )
            self.pipeline.load_textual_inversion(
                vectors[key],
                token=text,
                text_encoder=getattr(self.pipeline, encoder.encoder),
                tokenizer=getattr(self.pipeline, encoder.tokenizer),
            )
        return Word(text, len(vectors[key]))

    def render(
        self, checkpoint: Checkpoint, texts: list[str], seeds: list[int], params: Previews
    ) -> list["Image.Image"]:
        """Pictures of some prompts in one call; each has its own noise, from the CPU, by the seed of its prompt."""
        import torch

        self.load(checkpoint)
        manners = self.base.manners
        word = self.words[checkpoint.name] if checkpoint.embedding else None
        size = (params.width, params.height)
        with torch.inference_mode():
            negative = self.encoder.encode(manners.negative)
            prompts = [
                self.encoder.encode(positive(text, checkpoint, word.text if word else "", manners), word)
                for text in texts
            ]
            heard = [negative] * len(texts) + prompts
            unet = GuidedUnet(
                self.pipeline.unet, self.table, manners, batched(heard), self.added_conditions(heard, *size)
            )
            latents = sampled(unet, self.noise(seeds, *size), self.table, manners, params.steps)
            return self.decoded(latents)

    def noise(self, seeds: Sequence[int], width: int, height: int) -> "Tensor":
        """Unit noise [n, 4, h, w], of each seed as ComfyUI and A1111 (with RNG: CPU) make it."""
        import torch

        scale = self.pipeline.vae_scale_factor
        shape = (1, self.base.family.latent_channels, height // scale, width // scale)
        noise = [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
        return torch.cat(noise).to(self.pipeline.device)

    def added_conditions(self, heard: Sequence[TextStates], width: int, height: int) -> dict[str, Any] | None:
        """What SDXL hears besides: pooled states [n, width], and sizes [n, 6] of a picture that was never cropped."""
        import torch

        pooled = [prompt.pooled for prompt in heard if prompt.pooled is not None]
        if not pooled:
            return None
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(heard), device=self.pipeline.device)
        return {"text_embeds": torch.stack(pooled), "time_ids": sizes.float()}

    def decoded(self, latents: "Tensor") -> list["Image.Image"]:
        """Pictures of latents [n, 4, h, w], one after another: decoding takes more memory than the UNet."""
        import torch

        vae = self.pipeline.vae
        if latents[0, 0].numel() * self.pipeline.vae_scale_factor**2 >= TILED_FROM:
            vae.enable_tiling()
        pictures = [vae.decode(one / vae.config.scaling_factor).sample for one in latents.split(1)]
        return self.pipeline.image_processor.postprocess(torch.cat(pictures), output_type="pil")
