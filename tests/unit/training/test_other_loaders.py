"""What HCP trained is what diffusers computes with the files of the stage."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charaloom.config.families import EMBEDDING_KEY
from charaloom.diffusion.lora import bundle_weights, read_weights, write_weights
from tests.unit.training.trainings import PROMPTS, TOLERANCE, Trained, latents


@pytest.fixture(scope="session")
def outputs_of_hcp(trained: Trained, tiny_base: Path) -> dict[str, Any]:
    """Text encodings and noise predictions of HCP's own layers with the weights that HCP wrote."""
    import torch
    from hcpdiff.ckpt_manager import HCPLoraLoader
    from hcpdiff.easy import SD15_auto_loader
    from hcpdiff.models import SD15Wrapper, TEHookCFG
    from hcpdiff.models.compose import ComposeTokenizer
    from hcpdiff.models.text_emb_ex import EmbeddingPTHook
    from rainbowneko import _share

    _share.loggers = SimpleNamespace(info=print)
    wrapper = SD15Wrapper.from_pretrained(SD15_auto_loader(str(tiny_base)), TE_hook_cfg=TEHookCFG(clip_skip=1))
    wrapper.requires_grad_(False)
    for part in ("lora_unet", "lora_te"):
        HCPLoraLoader(path=str(trained.raw / f"{part}-6.safetensors")).load_to(part, model=wrapper)
    embedding = torch.nn.Parameter(read_weights(trained.raw / "hana_emb-6.safetensors")[EMBEDDING_KEY])
    EmbeddingPTHook.hook({"hana_emb": embedding}, wrapper.tokenizer, wrapper.TE, N_repeats=1)
    wrapper.post_init()
    wrapper.eval()
    settings = {"truncation": True, "padding": "max_length", "return_tensors": "pt"}
    tokens = ComposeTokenizer.tokenize_ex(wrapper.tokenizer, PROMPTS, **settings).input_ids
    with torch.no_grad():
        text = wrapper.forward_TE(tokens, None)
        noise = wrapper.forward_denoiser(latents(), tokens, text, torch.tensor([500, 20]))
    return {"text": text, "noise": noise}


@pytest.fixture(scope="session")
def outputs_of_diffusers(trained: Trained, tiny_base: Path) -> dict[str, Any]:
    """The same from diffusers, with the files of the stage: LoRA and embedding, and without them."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    outputs: dict[str, Any] = {}
    for name in ("plain", "loaded"):
        if name == "loaded":
            pipe.load_lora_weights(trained.folder / "step-000006.safetensors")
            pipe.load_textual_inversion(trained.folder / "step-000006_emb.safetensors", token="hana_emb")
        with torch.no_grad():
            text = pipe.encode_prompt(PROMPTS, "cpu", 1, False, clip_skip=1)[0]
            outputs[name] = {"text": text, "noise": pipe.unet(latents(), torch.tensor([500, 20]), text).sample}
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("part", ["text", "noise"])
def test_diffusers_computes_what_hcp_trained(
    part: str, outputs_of_hcp: dict[str, Any], outputs_of_diffusers: dict[str, Any]
) -> None:
    ours, theirs = outputs_of_hcp[part], outputs_of_diffusers["loaded"][part]
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert (ours - outputs_of_diffusers["plain"][part]).abs().max() > 100 * TOLERANCE, "the files change nothing"


@pytest.mark.slow
def test_lora_without_its_embedding_still_answers_to_the_text_trigger(
    trained: Trained, tiny_base: Path, outputs_of_hcp: dict[str, Any]
) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipe.load_lora_weights(trained.folder / "step-000006.safetensors")
    with torch.no_grad():
        text = pipe.encode_prompt(PROMPTS[1:], "cpu", 1, False, clip_skip=1)[0]
    assert (outputs_of_hcp["text"][1:] - text).abs().max() <= TOLERANCE


@pytest.mark.slow
def test_bundle_is_refused_by_diffusers(trained: Trained, tiny_base: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    lora = read_weights(trained.folder / "step-000006.safetensors")
    embedding = read_weights(trained.folder / "step-000006_emb.safetensors")[EMBEDDING_KEY]
    write_weights(tmp_path / "bundle.safetensors", bundle_weights(lora, {EMBEDDING_KEY: embedding}, "hana_emb"), {})
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    with pytest.raises(ValueError, match=r"Invalid LoRA checkpoint|have not been correctly renamed"):
        pipe.load_lora_weights(tmp_path / "bundle.safetensors")
