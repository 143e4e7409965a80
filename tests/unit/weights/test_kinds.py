"""What a file is, from its header alone: families, and by name whatever else is passed as a base."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charaloom.errors import CharaloomError
from charaloom.weights.architectures import SHIPPED, part_shapes, read_config
from charaloom.weights.headers import read_header
from charaloom.weights.kinds import Statement, family_of_file, statement
from charaloom.weights.layouts import places_of
from charaloom.weights.models import PARTS, read_model
from tests.unit.weights.headers_made import sparse_file

UNET = "model.diffusion_model."
FIRST = {f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3)}
ATTENTION = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
OTHERS = [
    ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 4)}, "a LoRA"),
    ({"unet.down_blocks.0.attentions.0.to_q.lora_A.weight": (4, 4)}, "a LoRA"),
    ({"unet.mid_block.attentions.0.processor.to_q_lora.down.weight": (4, 4)}, "a LoRA"),
    ({"lora_unet_mid.hada_w1_a": (4, 4)}, "a LoRA"),
    ({"lora_te_text_model.lokr_w1": (4, 4)}, "a LoRA"),
    ({"emb_params": (4, 768)}, "an embedding"),
    ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "an embedding"),
    ({"decoder.up.0.block.0.conv1.weight": (4, 4, 3, 3)}, "a VAE alone"),
    ({"decoder.up_blocks.0.resnets.0.conv1.weight": (4, 4, 3, 3)}, "a VAE alone"),
    ({"text_model.encoder.layers.0.mlp.fc1.weight": (4, 4)}, "a text encoder alone"),
    ({"encoder.block.0.layer.0.SelfAttention.k.weight": (4, 4)}, "a text encoder alone"),
    ({"control_model.input_blocks.0.0.weight": (4, 4, 3, 3)}, "a ControlNet"),
    ({"controlnet_cond_embedding.conv_in.weight": (4, 4, 3, 3), "conv_in.weight": (4, 4, 3, 3)}, "a ControlNet"),
    ({"image_proj.proj.weight": (4, 4)}, "an IP-Adapter"),
    ({"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (4,)}, "an AnimateDiff"),
    ({f"{UNET}double_blocks.0.img_attn.norm.key_norm.scale": (4,)}, "a Flux model"),
    ({"double_blocks.0.img_attn.qkv.weight": (4, 4)}, "a Flux model"),
    ({"distilled_guidance_layer.in_proj.bias": (4,), "double_blocks.0.img_attn.qkv.weight": (4, 4)}, "a Chroma"),
    ({f"{UNET}joint_blocks.0.x_block.mlp.fc1.weight": (4, 4)}, "a Stable Diffusion 3 model"),
    ({"net.llm_adapter.blocks.0.weight": (4, 4), "net.blocks.0.self_attn.q_proj.weight": (4, 4)}, "an Anima model"),
    ({"net.blocks.0.self_attn.q_proj.weight": (4, 4)}, "a Cosmos"),
    ({f"{UNET}cap_embedder.0.weight": (4,)}, "a Lumina"),
    ({"transformer_blocks.0.img_mod.1.weight": (4, 4)}, "a Qwen-Image model"),
    ({"head.modulation": (1, 2, 4)}, "a Wan model"),
    ({"txt_in.individual_token_refiner.blocks.0.norm1.weight": (4,)}, "a HunyuanVideo model"),
    ({"t_block.1.weight": (4, 4)}, "a PixArt"),
    ({"clip_txt_mapper.weight": (4, 4)}, "a Stable Cascade model"),
    ({"cond_stage_model.model.transformer.resblocks.0.ln_1.weight": (4,), **FIRST}, "a Stable Diffusion 2.x model"),
    ({ATTENTION: (320, 1024), **FIRST}, "a Stable Diffusion 2.x model"),
    ({"conditioner.embedders.0.model.positional_embedding": (77, 1280), **FIRST}, "the refiner of SDXL"),
    ({ATTENTION: (384, 1280), **FIRST}, "the refiner of SDXL"),
    ({f"{UNET}input_blocks.0.0.weight": (320, 9, 3, 3)}, "an inpainting model"),
    ({"conv_in.weight": (320, 9, 3, 3), "time_embedding.linear_1.weight": (1280, 320)}, "an inpainting model"),
    ({f"{UNET}input_blocks.0.0.weight": (320, 8, 3, 3)}, "an InstructPix2Pix"),
    ({f"{UNET}input_blocks.0.0.weight": (320, 7, 3, 3)}, "an upscaler"),
    ({"edm_mean": (4,), **FIRST}, "a model of the EDM formulation"),
    ({f"{UNET}out.2.weight.absmax": (4,), **FIRST}, "a quantised model"),
    ({"RRDB_trunk.0.weight": (4,)}, "an upscaler"),
    ({"something": (4,)}, "no model that Charaloom knows"),
    ({}, "no model that Charaloom knows"),
]


@pytest.mark.parametrize(("shapes", "what"), OTHERS)
def test_what_is_no_base_is_named(shapes: dict[str, tuple[int, ...]], what: str, tmp_path: Path) -> None:
    header = read_header(sparse_file(tmp_path / "model.safetensors", shapes))
    with pytest.raises(CharaloomError, match=f"^model.safetensors is {what}.*: (take|it is no base)") as raised:
        family_of_file(header)
    assert "\n" not in str(raised.value)


STARTS = [
    (b"PK\x03\x04" + bytes(200), "a pickle"),
    (b"\x80\x02}q\x00." + bytes(200), "a pickle"),
    (b"GGUF\x03\x00\x00\x00" + bytes(200), "a GGUF file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "a Git LFS pointer"),
    (b"\n<!DOCTYPE html><html><body>404</body></html>" + bytes(100), "a web page"),
    (b'{"error": "Unauthorized", "message": "log in"}', "a text, as sites answer"),
    (bytes(5000), "filled with zeros"),
    (b"", "no safetensors file"),
    (b"\x00\x01", "no safetensors file"),
    (b"just some text that is longer than eight bytes", "no safetensors file"),
]


@pytest.mark.parametrize(("content", "what"), STARTS)
def test_what_is_no_safetensors_file_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CharaloomError, match=f"^model.safetensors is {what}"):
        read_header(path)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_file_of_full_size_needs_nothing_else(family: str, tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "model.safetensors", full_size(family))
    model = read_model(path)
    assert model.family == family
    assert {part: len(tensors) for part, tensors in model.parts.items()}["unet"] == {"sd15": 686, "sdxl": 1680}[family]


def full_size(family: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint of the original layout, as diffusers' conversion reads them."""
    prefixes = {
        "unet": f"{UNET}input_blocks.0.0.weight",
        "vae": "first_stage_model.decoder.conv_in.weight",
        "text_encoder": "conditioner.embedders.0.transformer.text_model."
        if family == "sdxl"
        else "cond_stage_model.transformer.text_model.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    }
    found = {}
    for part in PARTS[family]:
        config = read_config(SHIPPED / family, part)
        shapes = part_shapes(part, config)
        for name, place in (places_of(part, config, shapes, {prefixes[part]}) or {}).items():
            shape = shapes[name]
            found[place.name] = (3 * shape[0], *shape[1:]) if place.third is not None else shape
    return found


def test_a_file_says_what_it_predicts(tmp_path: Path) -> None:
    def said(*markers: str, **metadata: str) -> Statement:
        shapes = {**FIRST, **dict.fromkeys(markers, (0,))}
        return statement(read_header(sparse_file(tmp_path / "model.safetensors", shapes, **metadata)))

    spec = "modelspec.prediction_type"
    assert said() == Statement(None, None)
    assert said("v_pred") == Statement("v_prediction", False)
    assert said("v_pred", "ztsnr") == Statement("v_prediction", True)
    assert said(**{spec: "v"}) == Statement("v_prediction", None)
    assert said(**{spec: "epsilon"}) == Statement("epsilon", None)
    with pytest.raises(CharaloomError, match=r"`v_pred` says v_prediction, .* says epsilon"):
        said("v_pred", **{spec: "epsilon"})
    for written in ("V_Prediction", "v-prediction", "vpred", "velocity"):
        assert said(**{spec: written}) == Statement("v_prediction", None)
    assert said(ss_v_parameterization="True") == Statement("v_prediction", None)
    with pytest.raises(CharaloomError, match=r"predicts `flow`.*take a model that predicts epsilon or v_prediction"):
        said(**{spec: "flow"})
    with pytest.raises(CharaloomError, match="contradicts itself"):
        said(ss_v_parameterization="True", **{spec: "epsilon"})


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6))
def test_a_garbled_header_is_one_line(
    cut: int, flips: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbled.safetensors"
    sparse_file(path, {**FIRST, ATTENTION: (4, 768), "v_pred": (0,)}, **{"modelspec.prediction_type": "v"})
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place] = value
    path.write_bytes(content[: len(content) - cut])
    assert "\n" not in refusal(path)


def refusal(path: Path) -> str:
    """Why a file is refused; nothing where it is not."""
    try:
        header = read_header(path)
        statement(header)
        family_of_file(header)
    except CharaloomError as problem:
        return str(problem)
    return ""
