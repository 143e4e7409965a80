"""Pipelines by family, and the generation data that pictures carry."""

import json
from pathlib import Path

import numpy as np
import pytest

from charaloom.config.families import SD15, SDXL, Family
from charaloom.config.params import PreviewBase, Previews, SelectionRule
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import NOTHING, Checkpoint, read_checkpoints
from charaloom.diffusion.generation import escaped, for_a1111, for_comfyui
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


def test_parentheses_are_letters_in_other_programs():
    assert escaped("watercolor_(medium), [x]") == r"watercolor_\(medium\), \[x\]"
    text = for_a1111("hana", "hana, watercolor (medium)", 7, NOTHING, base_of(SD15), SETTINGS).splitlines()
    assert text[0] == r"hana, watercolor \(medium\)"
    assert text[1] == r"Negative prompt: nsfw, \(bad hands\)"
    assert text[2].startswith("Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 7, Size: 64x64")


def test_the_graph_for_comfyui_is_whole(tmp_path):
    """Every input that names a node names one that is there, and the picture comes out of the decoder."""
    (tmp_path / "step-000100.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (tmp_path / "step-000100_emb.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    for checkpoint in (NOTHING, read_checkpoints(tmp_path)[0].weighing(0.8)):
        graph = json.loads(json.dumps(for_comfyui("hana", "hana (x)", 7, checkpoint, base_of(SD15), SETTINGS)))
        links = [value for place in graph.values() for value in place["inputs"].values() if isinstance(value, list)]
        assert {name for name, _ in links} <= set(graph)
        assert graph["saved"]["inputs"]["images"] == ["decoded", 0]
        assert graph["skip"]["inputs"]["stop_at_clip_layer"] == -2
    assert graph["lora"]["inputs"]["strength_clip"] == 0.8
    assert graph["positive"]["inputs"]["text"] == r"embedding:hana_emb, hana \(x\)"
