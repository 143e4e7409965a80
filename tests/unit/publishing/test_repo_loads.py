"""What a downloader types: `load_lora_weights` of a published repository, without the name of a file."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import files_below
from charaloom.config.params import PreviewBase
from charaloom.diffusion.checkpoints import read_checkpoints
from charaloom.diffusion.lora import write_weights
from charaloom.publishing.repos.weights import WeightsFacts, write_all_weights
from tests.servers.hub import serving

MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
PLACE = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
STEPS = (100, 200)
CHOSEN = 200
LOAD = f"""
import sys
from diffusers import StableDiffusionPipeline

base, repo, embedding = sys.argv[1:]
pipe = StableDiffusionPipeline.from_pretrained(base)
pipe.load_lora_weights(repo)
print("weight", pipe.unet.get_submodule("{PLACE}").lora_A["default_0"].weight[0, 0].item())
if embedding:
    pipe.load_textual_inversion(repo, weight_name=embedding, token="hana_emb")
    print("embedding", "hana_emb_1" in pipe.tokenizer.get_vocab())
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A repository of two steps, whose LoRAs hold the number of their step; the second was chosen."""
    import torch

    folder = tmp_path_factory.mktemp("published")
    for step in STEPS:
        path = folder / "kept" / f"step-{step:06d}.safetensors"
        write_weights(path, lora(tiny_base, float(step)), {"format": "pt"}, hashed=True)
        vectors = {"emb_params": torch.full((2, 32), float(step))}
        write_weights(path.with_name(f"{path.stem}_emb.safetensors"), vectors, {})
    kept = read_checkpoints(folder / "kept")
    outfits = {"trigger": "hana_charaloom", "outfits": []}
    base = PreviewBase(name="tiny", family="sd15", clip_skip=1)
    about = WeightsFacts("hana", base, outfits, weight=None, previews={})
    write_all_weights(about, kept, kept[STEPS.index(CHOSEN)], folder / "model")
    return folder / "model"


def lora(base: Path, value: float) -> dict[str, Any]:
    import torch
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    out, size = unet.get_submodule(PLACE).weight.shape
    return {
        f"{MODULE}.lora_down.weight": torch.full((2, size), value),
        f"{MODULE}.lora_up.weight": torch.ones(out, 2),
        f"{MODULE}.alpha": torch.tensor(1.0),
    }


def test_load_lora_weights_of_the_folder_takes_the_chosen_lora(repo: Path, tiny_base: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipe.load_lora_weights(str(repo))
    layer = pipe.unet.get_submodule(PLACE)
    assert layer.lora_A["default_0"].weight[0, 0].item() == CHOSEN
    pipe.load_textual_inversion(repo / "checkpoints/chosen/hana_emb.safetensors", token="hana_emb")
    assert "hana_emb_1" in pipe.tokenizer.get_vocab(), "two vectors"


@pytest.mark.slow
def test_load_lora_weights_of_the_repository_takes_the_chosen_lora(repo: Path, tiny_base: Path, tmp_path: Path) -> None:
    """The hub lists every file of the repository, those below `checkpoints/` first."""
    files = {str(path): (repo / path).read_bytes() for path in files_below(repo)}
    assert next(iter(files)).startswith("checkpoints/"), "and the first of them would be taken"
    with serving(files) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        environment.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-W", "ignore", "-c", LOAD, str(tiny_base), "someone/hana"]
        loaded = subprocess.run(
            [*command, "checkpoints/chosen/hana_emb.safetensors"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[-2:] == [f"weight {CHOSEN:.1f}", "embedding True"]
