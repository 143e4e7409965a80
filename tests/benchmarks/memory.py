"""make bench-memory: memory of one training step on a GPU, reckoned tensor by tensor without one.

    make bench-memory                      the counts behind `Footprint` and docs/memory.md: seven minutes
    make bench-memory ARGS="--only sd15"   of one family

The models have the sizes of Stable Diffusion 1.5 and XL and the trainer's own LoRA, but their tensors have no memory:
torch computes only shapes (FakeTensorMode). A step runs forward, loss and backward, and each storage counts from the
operation that makes it to the moment it is freed. What counts is what a CPU's operations keep for the backward pass,
attention without the whole matrix as flash attention. What CUDA itself takes and what is lost between allocations is in
no tensor: `training.memory.CUDA_BYTES` and `LOST` stand for it.
"""

import argparse
import sys
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "scripts"))


LAYERS = {"denoiser": [r"re:denoiser.*\.attn.?$", r"re:denoiser.*\.ff$"], "TE": [r"re:TE.*self_attn$", r"re:TE.*mlp$"]}


@dataclass(frozen=True)
class Case:
    family: str
    resolution: int
    batch: int
    rank: int
    checkpointing: bool
    text: bool  # whether the text encoder learns

    def __str__(self) -> str:
        ways = [way for way, on in (("checkpointing", self.checkpointing), ("text encoder learns", self.text)) if on]
        return ", ".join([f"{self.family} {self.resolution} px, batch {self.batch}, rank {self.rank}", *ways])


class Live(TorchDispatchMode):
    """Bytes of the storages that are alive besides `others`, and their peak."""

    def __init__(self, others: Iterable[Tensor]) -> None:
        super().__init__()
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in others}
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for value in tree_flatten(result)[0]:
            if isinstance(value, Tensor):
                self.note(value.untyped_storage())
        return result

    def note(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self.free, key)

    def free(self, key: int) -> None:
        self.bytes -= self.sizes.pop(key, 0)


def models(family: str) -> Any:
    """UNet and text encoder of a family as the trainer's wrapper has them, in bf16; without memory."""
    from diffusers import UNet2DConditionModel
    from hcpdiff.models import SD15Wrapper, SDXLWrapper, TEHookCFG
    from hcpdiff.models.compose import SDXLTextEncoder
    from transformers import CLIPTextModel

    from charaloom.training.hcp.text import ProjectedTextEncoder
    from tests.benchmarks.random_models import CLIP_G, CLIP_L, SD15_UNET, SDXL_UNET, clip

    tokenizer = SimpleNamespace(bos_token_id=49406, eos_token_id=49407, pad_token_id=49407, model_max_length=77)
    if family == "sd15":
        denoiser, encoder = UNet2DConditionModel(**SD15_UNET), CLIPTextModel(clip(tokenizer, CLIP_L, "quick_gelu"))
        hooks = TEHookCFG(clip_skip=1)
        wrapper = SD15Wrapper(denoiser, encoder, None, None, tokenizer, TE_hook_cfg=hooks)
    else:
        first, second = clip(tokenizer, CLIP_L, "quick_gelu"), clip(tokenizer, CLIP_G, "gelu")
        encoder = SDXLTextEncoder({"clip_L": CLIPTextModel(first), "clip_bigG": ProjectedTextEncoder(second)})
        tokenizer.tokenizer_names, tokenizer.clip_L, tokenizer.clip_bigG = ["clip_L", "clip_bigG"], tokenizer, tokenizer
        hooks = TEHookCFG(clip_skip=1, clip_final_norm=False)
        wrapper = SDXLWrapper(UNet2DConditionModel(**SDXL_UNET), encoder, None, None, tokenizer, TE_hook_cfg=hooks)
    return wrapper.requires_grad_(False)


def add_lora(wrapper: Any, rank: int, text: bool) -> None:
    """The LoRA of the trainer's config on the UNet and, where it learns, on the text encoders."""
    from functools import partial

    from rainbowneko.parser import CfgWDPluginParser

    from charaloom.training.hcp.layers import Lora

    parts = {
        part: partial(Lora.wrap_model, lr=1e-4, rank=rank, alpha=rank, layers=layers) for part, layers in LAYERS.items()
    }
    if not text:
        del parts["TE"]
    CfgWDPluginParser(cfg_plugin=parts).get_params_group(wrapper)


def step(case: Case) -> dict[str, int]:
    """Bytes of each part, and the peak of a step."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_dtype(torch.bfloat16)
        wrapper = models(case.family)
        torch.set_default_dtype(torch.float32)
        sizes = {"UNet": size_of(wrapper.denoiser.parameters()), "text encoders": size_of(wrapper.TE.parameters())}
        add_lora(wrapper, case.rank, case.text)
        wrapper.post_init()
        if case.checkpointing:
            wrapper.enable_gradient_checkpointing()
        wrapper.train()
        learning = wrapper.trainable_parameters
        sizes |= {"LoRA": size_of(learning)}
        batch = inputs(case)
        with Live([*wrapper.parameters(), *wrapper.buffers(), *tree_flatten(batch)[0]]) as live:
            loss = forward(wrapper, batch)
            kept = live.bytes
            loss.backward()
            del loss
    peak = live.peak  # the gradients that are there at that moment are part of it
    return {**sizes, "kept after forward": kept, "peak": peak}


def size_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def inputs(case: Case) -> dict[str, Any]:
    side, pictures = case.resolution // 8, case.batch
    tokens = torch.zeros(pictures, 77, dtype=torch.long)
    text = {"clip_L": tokens, "clip_bigG": tokens} if case.family == "sdxl" else tokens
    latent = torch.zeros(pictures, 4, side, side)
    return {"text": text, "latent": latent, "time": torch.zeros(pictures), "size": torch.zeros(pictures, 6)}


def forward(wrapper: Any, batch: dict[str, Any]) -> Tensor:
    """Loss of a batch by the wrapper's own parts."""
    text = wrapper.forward_TE(batch["text"], None)
    noisy = batch["latent"].to(torch.bfloat16)
    if isinstance(text, tuple):
        added = {"text_embeds": text[1], "time_ids": batch["size"]}
        predicted = wrapper.forward_denoiser(noisy, None, text[0], batch["time"], added)
    else:
        predicted = wrapper.forward_denoiser(noisy, None, text, batch["time"])
    return (predicted.float() - batch["latent"]).square().mean()


CASES = [
    Case(family, resolution, batch, 16, checkpointing, text)
    for family, sizes in (("sd15", ((512, 1), (512, 2), (768, 1))), ("sdxl", ((1024, 1), (1024, 2), (768, 1))))
    for checkpointing in (False, True)
    for text in (True, False)
    for resolution, batch in sizes
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("sd15", "sdxl"))
    options = parser.parse_args()
    for case in CASES:
        if options.only in (None, case.family):
            parts = step(case)
            print(case, *(f"{name} {size / 1e9:.3f} GB" for name, size in parts.items()), sep="; ", flush=True)
            if case.text:
                continue
            print(f"    {parts['peak'] / case.batch / case.resolution**2:.0f} bytes per pixel", flush=True)


if __name__ == "__main__":
    main()
