"""Pipelines by family: LoRAs and embeddings side by side, number formats."""

from pathlib import Path

import numpy as np
import pytest

from charaloom.config.families import SDXL, Family
from charaloom.config.params import PreviewBase, Previews, SelectionRule
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import NOTHING, Checkpoint, read_checkpoints
from charaloom.diffusion.pipelines import BasePipeline
from charaloom.errors import CharaloomError

SETTINGS = Previews(
    version=1,
    bases=(),
    width=64,
    height=64,
    steps=2,
    seeds=1,
    scenes=1,
    weights=(1.0,),
    sweep=1.0,
    batch=2,
    rating_model=0.5,
    memorised=0.9,
    threads=1,
    precision="fp32",
    seed=1,
    selection=SelectionRule(scores={}, first=1.0, keep=0.5),
)


def base_of(family: Family, folder: Path = Path("tiny"), clip_skip: int = 1) -> LocalBase:
    entry = PreviewBase(
        name="tiny", family=family.name, clip_skip=clip_skip, negative="nsfw, (bad hands)", guidance=5.0
    )
    return LocalBase("tiny", family, folder, "abcdef0123456789", entry)


def sdxl_checkpoint(folder: Path, base: Path) -> Checkpoint:
    """A LoRA over the attention of the UNet in kohya keys, and an embedding with the two tensors of SDXL."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    generator, weights = torch.Generator().manual_seed(3), {}
    for name, module in UNet2DConditionModel.from_pretrained(base / "unet").named_modules():
        if name.endswith(("to_q", "to_v")):
            key = "lora_unet_" + name.replace(".", "_")
            weights[f"{key}.lora_down.weight"] = torch.randn(2, module.in_features, generator=generator)
            weights[f"{key}.lora_up.weight"] = torch.randn(module.out_features, 2, generator=generator)
            weights[f"{key}.alpha"] = torch.tensor(2.0)
    save_file(weights, folder / "step-000100.safetensors")
    vectors = {"clip_l": torch.randn(2, 32, generator=generator), "clip_g": torch.randn(2, 48, generator=generator)}
    save_file(vectors, folder / "step-000100_emb.safetensors")
    return read_checkpoints(folder)[0]


def test_an_sdxl_base_renders_with_lora_and_both_halves_of_an_embedding(tiny_sdxl, tmp_path):
    checkpoint = sdxl_checkpoint(tmp_path, tiny_sdxl)
    pipeline = BasePipeline(base_of(SDXL, tiny_sdxl, clip_skip=0), threads=1)

    def rendered(loaded: Checkpoint) -> np.ndarray:
        return np.stack([np.asarray(image) for image in pipeline.render(loaded, ["hana, solo"] * 2, [1, 2], SETTINGS)])

    nothing, alone, whole = rendered(NOTHING), rendered(checkpoint.by_text_alone()), rendered(checkpoint)
    assert nothing.shape == (2, 64, 64, 3)
    assert not np.array_equal(nothing, alone)
    assert not np.array_equal(alone, whole)
    assert np.array_equal(nothing, rendered(NOTHING))
    for tokenizer in (pipeline.pipeline.tokenizer, pipeline.pipeline.tokenizer_2):
        assert "step-000100_emb" in tokenizer.get_vocab()


def test_an_embedding_of_another_family_is_named(tiny_sdxl, tmp_path):
    import torch
    from safetensors.torch import save_file

    checkpoint = sdxl_checkpoint(tmp_path, tiny_sdxl)
    save_file({"emb_params": torch.ones(2, 32)}, checkpoint.embedding)
    with pytest.raises(CharaloomError, match="no tensor 'clip_l'"):
        BasePipeline(base_of(SDXL, tiny_sdxl, clip_skip=0), threads=1).load(checkpoint)
