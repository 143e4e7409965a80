"""Pipelines by family: LoRAs and embeddings side by side, number formats."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charaloom.config.families import SD15, SDXL, Family
from charaloom.config.params import PreviewBase, Previews, SelectionRule
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import NOTHING, Checkpoint, read_checkpoints
from charaloom.diffusion.pipelines import BasePipeline
from charaloom.errors import CharaloomError
from tests.unit.evaluation.test_previews import lora

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


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_unet_of_half_precision_renders_nearly_the_same(tiny_base, tmp_path, precision):
    """The adapters of a LoRA stand in the UNet's format too; text encoder and VAE stay in fp32."""
    import torch

    (tmp_path / "lora").mkdir()
    lora(tmp_path / "lora" / "step-000100.safetensors", tiny_base, 1)
    checkpoint = read_checkpoints(tmp_path / "lora")[0]
    entry = base_of(SD15, tiny_base)
    whole, half = (BasePipeline(entry, threads=1, precision=name) for name in ("fp32", precision))
    assert half.pipeline.unet.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert {half.pipeline.text_encoder.dtype, half.pipeline.vae.dtype} == {torch.float32}
    rendered = {
        (pipeline, loaded): np.asarray(pipeline.render(loaded, ["hana, solo"], [1], SETTINGS)[0], float)
        for pipeline in (whole, half)
        for loaded in (NOTHING, checkpoint.weighing(0.1))  # the LoRA is random: at weight 1 it tears the picture apart
    }
    bare, with_lora = (np.abs(rendered[whole, loaded] - rendered[half, loaded]) for _, loaded in list(rendered)[:2])
    changed = np.abs(rendered[half, NOTHING] - rendered[half, checkpoint.weighing(0.1)])
    assert bare.mean() < 4
    assert with_lora.mean() < min(4, changed.mean() / 2)


def test_a_base_in_fp16_on_disk_renders_in_fp32(tiny_base, tmp_path):
    import torch
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline.from_pretrained(tiny_base).to(torch.float16).save_pretrained(tmp_path / "half")
    pipeline = BasePipeline(base_of(SD15, tmp_path / "half"), threads=1)
    parts = (pipeline.pipeline.unet, pipeline.pipeline.vae, pipeline.pipeline.text_encoder)
    assert {part.dtype for part in parts} == {torch.float32}
    assert len(pipeline.render(NOTHING, ["hana"], [1], SETTINGS)) == 1


def test_a_base_on_velocities_renders_with_its_manners(tiny_sdxl):
    """Zero terminal SNR, Euler, rescaled guidance, a prompt of several chunks beside a short negative one."""
    base = base_of(SDXL, tiny_sdxl, clip_skip=0)
    manners = {"prediction": "v_prediction", "zero_snr": True, "rescale": 0.2, "sampler": "Euler", "schedule": "Normal"}
    pipeline = BasePipeline(replace(base, entry=replace(base.entry, **manners)), threads=1)
    long = ", ".join(f"blue girl {number}" for number in range(40))
    plain = pipeline.render(NOTHING, [long, "hana"], [1, 2], SETTINGS)
    alone = [pipeline.render(NOTHING, [text], [seed], SETTINGS)[0] for text, seed in ((long, 1), ("hana", 2))]
    for together, single in zip(plain, alone, strict=True):
        assert np.abs(np.asarray(together, float) - np.asarray(single, float)).max() <= 1
    assert np.asarray(plain[0]).std() > 0


def test_noise_that_programs_do_not_know_is_refused(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    config = tmp_path / "base" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("scaled_linear", "linear"))
    with pytest.raises(CharaloomError, match="base `tiny`: its noise schedule"):
        BasePipeline(base_of(SD15, tmp_path / "base"), threads=1)
