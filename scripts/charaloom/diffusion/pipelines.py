"""Pipelines that render: one per base model, opened once; LoRAs and embeddings are loaded once each and switched.

A loaded checkpoint stays in the pipeline as an adapter of its own, its embedding as a word of its own, and a switch
names what counts: no file is read again, and the base's weights are never touched, so that any order of checkpoints
renders the same pictures.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.config.families import Family
from charaloom.config.params import Previews
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import Checkpoint, positive
from charaloom.errors import CharaloomError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from PIL import Image

SAMPLER, SCHEDULE = "DPM++ 2M", "Karras"


def open_pipeline(folder: Path, family: Family, threads: int) -> "DiffusionPipeline":
    """A base as a pipeline with a fixed sampler, number of threads and, on a GPU, only reproducible kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import diffusers
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()  # it reports a second LoRA beside the first as missing weights
    logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    pipeline = getattr(diffusers, family.pipeline).from_pretrained(
        folder,
        torch_dtype=torch.float32,  # transformers would keep an fp16 text encoder in fp16
        local_files_only=True,
        **family.pipeline_options,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


class BasePipeline:
    """One base's pipeline and the checkpoints that were rendered with, each loaded once."""

    def __init__(self, base: LocalBase, threads: int):
        self.pipeline = open_pipeline(base.folder, base.family, threads)
        self.base = base
        self.loaded: set[str] = set()

    def load(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint the one that counts."""
        if checkpoint.lora is None:
            if self.loaded:
                self.pipeline.disable_lora()
            return
        if f"lora/{checkpoint.name}" not in self.loaded:
            self.pipeline.load_lora_weights(
                checkpoint.lora.parent,
                weight_name=checkpoint.lora.name,
                adapter_name=checkpoint.name,
                local_files_only=True,
            )
            self.loaded.add(f"lora/{checkpoint.name}")
        if checkpoint.embedding and f"word/{checkpoint.name}" not in self.loaded:
            self.load_word(checkpoint.embedding, word_of(checkpoint))
            self.loaded.add(f"word/{checkpoint.name}")
        self.pipeline.enable_lora()
        self.pipeline.set_adapters([checkpoint.name], [checkpoint.weight])

    def load_word(self, embedding: Path, word: str) -> None:
        """An embedding as a word of every text encoder of the family."""
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
                token=word,
                text_encoder=getattr(self.pipeline, encoder.encoder),
                tokenizer=getattr(self.pipeline, encoder.tokenizer),
            )

    def render(
        self, checkpoint: Checkpoint, texts: list[str], seeds: list[int], params: Previews
    ) -> list["Image.Image"]:
        """Pictures of some prompts in one call; each has a generator of its own, on the CPU, seeded by its prompt."""
        import torch

        self.load(checkpoint)
        with torch.inference_mode():
            return self.pipeline(
                prompt=[positive(text, checkpoint, word_of(checkpoint)) for text in texts],
                negative_prompt=[self.base.manners.negative] * len(texts),
                width=params.width,
                height=params.height,
                num_inference_steps=params.steps,
                guidance_scale=self.base.manners.guidance,
                clip_skip=self.base.clip_skip or None,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            ).images


def word_of(checkpoint: Checkpoint) -> str:
    """The embedding's word in the pipeline: checkpoints that are loaded side by side need one each."""
    return f"{checkpoint.name}_emb"
