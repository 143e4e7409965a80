"""Pivotal training of the SDXL family on a tiny random model: it trains, converts, and diffusers computes the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charaloom.config.families import SDXL
from charaloom.diffusion.bases import local_base
from charaloom.diffusion.lora import read_metadata, read_weights
from charaloom.training.export import Export
from charaloom.training.inputs import prepare
from charaloom.training.process import TrainerRun, run_trainer
from charaloom.training.trainer_config import hcp_config
from charaloom.training.working_directory import locked
from tests.unit.training.trainings import OUTFITS, PROMPTS, TOLERANCE, Pictures, Trained, latents, params, write_dataset

SIZE = (96, 64, 3, 5, 64, 64)  # size condition of SDXL: height and width, top and left, height and width


@pytest.fixture(scope="module")
def trained(tiny_sdxl: Path, drawn_pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("sdxl")
    inputs, workdir = write_dataset(root, drawn_pictures), root / "workdir"
    chosen = params(tiny_sdxl, "sdxl", clip_skip=0).settled(len(drawn_pictures))
    base = local_base(chosen.base, root / "work")
    with locked(workdir) as lock:
        prepare(workdir, Path(inputs.dataset), OUTFITS, chosen, base)
        run_trainer(TrainerRun(workdir, hcp_config("hana", chosen, base), base, 1, root / "log.txt", lock))
    checkpoints = Export("hana", chosen, base, workdir, "", "of a test").write(root / "checkpoints")
    return Trained(root, workdir, root / "checkpoints", checkpoints)


@pytest.mark.slow
def test_sdxl_files_have_the_names_that_programs_read(trained: Trained) -> None:
    lora = read_weights(trained.folder / "step-000006.safetensors")
    modules = {name.rpartition(".lora_")[0].removesuffix(".alpha") for name in lora if "lora_up" in name}
    heads = {name.split("_attn")[0].split("_ff")[0].split("_mlp")[0].split("_self")[0] for name in modules}
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0" in heads
    assert "lora_unet_middle_block_1_transformer_blocks_1" in heads
    assert "lora_unet_output_blocks_5_1_transformer_blocks_0" in heads
    assert {"lora_te1_text_model_encoder_layers_0", "lora_te2_text_model_encoder_layers_0"} <= heads
    assert all(lora[name].abs().max() > 0 for name in lora if "lora_up" in name and "layers_2" not in name)
    words = read_weights(trained.folder / "step-000006_emb.safetensors")
    assert {key: tuple(value.shape) for key, value in words.items()} == {"clip_l": (3, 32), "clip_g": (3, 48)}
    metadata = read_metadata(trained.folder / "step-000006.safetensors")
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"


def of_hcp(trained: Trained, base: Path, mended: bool = True) -> dict[str, Any]:
    """What HCP's own SDXL wrapper computes with the weights that HCP wrote."""
    import torch
    from hcpdiff.ckpt_manager import HCPLoraLoader
    from hcpdiff.easy import SDXL_auto_loader
    from hcpdiff.models import SDXLWrapper, TEHookCFG
    from hcpdiff.models.compose import ComposeTokenizer
    from hcpdiff.models.text_emb_ex import EmbeddingPTHook
    from rainbowneko import _share

    from charaloom.training.hcp.captions import ChunkedSDXL, ChunkHandler
    from charaloom.training.hcp.text import WordHook, composed_text_encoder

    _share.loggers = SimpleNamespace(info=print)
    hook = TEHookCFG(clip_skip=1, clip_final_norm=False)
    models = SDXL_auto_loader(str(base), TE=composed_text_encoder(str(base), SDXL))
    wrapper = (ChunkedSDXL if mended else SDXLWrapper).from_pretrained(models, TE_hook_cfg=hook)
    wrapper.requires_grad_(False)
    raw = trained.raw
    for part in ("lora_unet", "lora_te"):
        HCPLoraLoader(path=str(raw / f"{part}-6.safetensors")).load_to(part, model=wrapper)
    words = read_weights(raw / "hana_emb-6.safetensors")
    for name, key in (("clip_L", "clip_l"), ("clip_bigG", "clip_g")):
        tokenizer, encoder = getattr(wrapper.tokenizer, name), getattr(wrapper.TE, name)
        vectors = torch.nn.Parameter(words[key])
        if mended:
            tokenizer.add_tokens(["hana_emb"])
            WordHook(encoder.get_input_embeddings(), vectors, tokenizer.convert_tokens_to_ids("hana_emb"))
            encoder.end = tokenizer.eos_token_id
        else:
            EmbeddingPTHook.hook({"hana_emb": vectors}, tokenizer, encoder, N_repeats=1)
    wrapper.post_init()
    wrapper.eval()
    settings = {"truncation": True, "padding": "max_length", "return_tensors": "pt"}
    handler = ChunkHandler(most=3, word="hana_emb", vectors=3)
    handler.tokenizer = wrapper.tokenizer
    stock = ComposeTokenizer.tokenize_ex(wrapper.tokenizer, PROMPTS, **settings).input_ids
    tokens = handler.tokens(PROMPTS) if mended else stock
    with torch.no_grad():
        text, pooled = wrapper.forward_TE(tokens, None)
        added = {"text_embeds": pooled, "time_ids": torch.tensor([SIZE, SIZE], dtype=torch.float)}
        noise = wrapper.forward_denoiser(latents(), tokens, text, torch.tensor([500, 20]), added)
    return {"text": text, "pooled": pooled, "noise": noise}


def of_diffusers(trained: Trained, base: Path, loaded: bool) -> dict[str, Any]:
    import torch
    from diffusers import StableDiffusionXLPipeline

    pipe = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    if loaded:
        pipe.load_lora_weights(trained.folder / "step-000006.safetensors")
        words = read_weights(trained.folder / "step-000006_emb.safetensors")
        for key, encoder, tokenizer in (
            ("clip_l", pipe.text_encoder, pipe.tokenizer),
            ("clip_g", pipe.text_encoder_2, pipe.tokenizer_2),
        ):
            pipe.load_textual_inversion(words[key], token="hana_emb", text_encoder=encoder, tokenizer=tokenizer)
    with torch.no_grad():
        text, _, pooled, _ = pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
        added = {"text_embeds": pooled, "time_ids": torch.tensor([SIZE, SIZE], dtype=torch.float)}
        noise = pipe.unet(latents(), torch.tensor([500, 20]), text, added_cond_kwargs=added).sample
    return {"text": text, "pooled": pooled, "noise": noise}


@pytest.mark.slow
def test_diffusers_computes_what_hcp_trained(trained: Trained, tiny_sdxl: Path) -> None:
    ours, theirs = of_hcp(trained, tiny_sdxl), of_diffusers(trained, tiny_sdxl, loaded=True)
    plain = of_diffusers(trained, tiny_sdxl, loaded=False)
    stock = of_hcp(trained, tiny_sdxl, mended=False)
    assert (stock["pooled"] - theirs["pooled"]).abs().max() > 100 * TOLERANCE, "pools a place before the end"
    for part in ("text", "pooled", "noise"):
        assert (ours[part] - theirs[part]).abs().max() <= TOLERANCE, part
        assert (ours[part] - plain[part]).abs().max() > 100 * TOLERANCE, f"the files change no {part}"


@pytest.mark.slow
def test_mend_the_second_text_encoder(tiny_sdxl: Path) -> None:
    import torch
    from hcpdiff.models.compose.sdxl import CLIPTextModelWithProjection_Align

    from charaloom.training.hcp.text import ProjectedTextEncoder

    tokens = torch.zeros(1, 77, dtype=torch.long)
    stock = CLIPTextModelWithProjection_Align.from_pretrained(tiny_sdxl, subfolder="text_encoder_2")
    with pytest.raises(TypeError, match="positional arguments"):
        stock(tokens, output_hidden_states=True)
    ours = ProjectedTextEncoder.from_pretrained(tiny_sdxl, subfolder="text_encoder_2")
    assert ours(tokens).pooler_output.shape == (1, 48)


@pytest.mark.slow
def test_mend_the_size_sdxl_is_told() -> None:
    from PIL import Image
    from rainbowneko.data import AutoSizeHandler

    from charaloom.training.hcp.data import SizeHandler

    picture = Image.new("RGB", (300, 100))
    stock = AutoSizeHandler().handle(picture, (64, 64))["coord"].tolist()
    assert stock[:2] == [192, 64], "width and height of the scaled picture"
    sample = SizeHandler().handle(picture, (64, 64))
    height, width, top, left, *bucket = sample["coord"].tolist()
    assert (height, width, top, bucket) == (100, 300, 0, [64, 64])
    assert 0 <= left <= 128
    assert sample["image"].size == (64, 64)
