"""Files that load everywhere: what each program makes of the keys, and that it computes what was trained.

The rules of the programs stand in tests/foreign_loaders.py. A rule says which weights change; they are changed in a
checkpoint of the layout that the program holds, the checkpoint is loaded by diffusers, and its outputs are compared.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from charaloom.config.families import EMBEDDING_KEY, SDXL
from charaloom.diffusion.lora import bundle_weights, read_weights
from tests import foreign_loaders as foreign
from tests.unit.diffusion.test_bases import original_unet, single_file, unet_places
from tests.unit.training.trainings import STEPS, params, train_once, write_dataset

TOLERANCE = 1e-4
WORD = "hana_emb"
PROMPTS = ["hana_charaloom, 1girl, blue hair", "hana_charaloom, red hair"]


@pytest.fixture(scope="session")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base with the levels and layers of Stable Diffusion 1.x: A1111 counts on them."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    sizes = {"block_out_channels": (16, 16, 32, 32), "norm_num_groups": 8, "attention_head_dim": 2}
    pipe.unet = UNet2DConditionModel(sample_size=8, cross_attention_dim=32, **sizes)
    folder = tmp_path_factory.mktemp("layout") / "base"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def files(
    base: Path, drawn_pictures: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """LoRA and embedding as the stage writes them."""
    root = tmp_path_factory.mktemp("formats")
    chosen = params(base, clip_skip=0)  # so that every layer of the text encoder learns
    train_once(root, write_dataset(root, drawn_pictures), chosen)
    last = root / "checkpoints" / f"step-{STEPS:06d}.safetensors"
    return {"lora": last, "emb": last.with_name(f"{last.stem}_emb.safetensors")}


@pytest.fixture(scope="session")
def lora(files: dict[str, Path]) -> dict[str, Any]:
    return read_weights(files["lora"])


@pytest.fixture(scope="session")
def vectors(files: dict[str, Path]) -> Any:
    return read_weights(files["emb"])[EMBEDDING_KEY]


@pytest.fixture(scope="session")
def checkpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The base in the original one-file layout."""
    from safetensors.torch import load_file

    return load_file(single_file(base, tmp_path_factory.mktemp("single") / "base.safetensors"))


def outputs(pipe: Any) -> dict[str, Any]:
    """Text encodings [2, 77, 32] and noise predictions [2, 4, 8, 8]."""
    import torch

    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        text = pipe.encode_prompt(PROMPTS, "cpu", 1, False)[0]
        return {"text": text, "noise": pipe.unet(latents, torch.tensor([500, 20]), text).sample}


@pytest.fixture(scope="session")
def expected(base: Path, files: dict[str, Path]) -> dict[str, Any]:
    """Outputs with the LoRA in diffusers; test_other_loaders.py shows that they are those of HCP's own layers."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(base)
    plain = outputs(pipe)
    pipe.load_lora_weights(files["lora"])
    loaded = outputs(pipe)
    for part in plain:
        assert (plain[part] - loaded[part]).abs().max() > 100 * TOLERANCE, "the LoRA changes nothing"
    return loaded


def same(computed: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all((computed[part] - expected[part]).abs().max() <= TOLERANCE for part in expected)


def delta(lora: Mapping[str, Any], module: str) -> Any:
    down, up = lora[f"{module}.lora_down.weight"], lora[f"{module}.lora_up.weight"]
    return lora[f"{module}.alpha"] / down.shape[0] * up @ down


def changed(weights: Mapping[str, Any], lora: Mapping[str, Any], names: foreign.Names) -> dict[str, Any]:
    """The weights with the LoRA in them; no module is left over, none meets another's weight."""
    modules = foreign.modules_of(lora)
    assert [module for module in modules if module not in names] == [], "unmatched"
    assert len(set(names.values())) == len(modules)
    return {**weights, **{key: weights[key] + delta(lora, module) for module, key in names.items()}}


# --- LoRA


@pytest.mark.slow
@pytest.mark.parametrize("rule", [foreign.a1111, foreign.comfy], ids=["A1111", "ComfyUI and Forge"])
def test_programs_on_original_checkpoints_compute_what_was_trained(
    rule: Callable[..., foreign.Names],
    base: Path,
    lora: dict[str, Any],
    checkpoint: dict[str, Any],
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    from diffusers import StableDiffusionPipeline
    from safetensors.torch import save_file

    names = rule(foreign.modules_of(lora), checkpoint)
    save_file(changed(checkpoint, lora, names), tmp_path / "changed.safetensors")
    settings = {"config": str(base), "local_files_only": True, "safety_checker": None}
    pipe = StableDiffusionPipeline.from_single_file(str(tmp_path / "changed.safetensors"), **settings)
    assert same(outputs(pipe), expected)


@pytest.mark.slow
def test_onetrainer_computes_what_was_trained(base: Path, lora: dict[str, Any], expected: dict[str, Any]) -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(base)
    parts = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    names = foreign.onetrainer(foreign.modules_of(lora), *(linear(model) for model in parts.values()))
    held = {f"{part}.{key}": value for part, model in parts.items() for key, value in model.state_dict().items()}
    held = changed(held, lora, names)
    for part, model in parts.items():
        start = f"{part}."
        model.load_state_dict({key.removeprefix(start): held[key] for key in held if key.startswith(start)})
    assert same(outputs(pipe), expected)


def linear(model: Any) -> list[str]:
    import torch

    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]


@pytest.mark.slow
def test_peft_computes_what_was_trained(base: Path, lora: dict[str, Any], expected: dict[str, Any]) -> None:
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    pipe = StableDiffusionPipeline.from_pretrained(base)
    names = foreign.onetrainer(foreign.modules_of(lora), linear(pipe.unet), linear(pipe.text_encoder))
    for part, model in {"unet": pipe.unet, "text_encoder": pipe.text_encoder}.items():
        mine = {key[len(part) + 1 : -len(".weight")]: module for module, key in names.items() if key.startswith(part)}
        (rank,) = {lora[f"{module}.lora_down.weight"].shape[0] for module in mine.values()}
        (alpha,) = {float(lora[f"{module}.alpha"]) for module in mine.values()}
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(mine)), model)
        ends = {"lora_A": "lora_down", "lora_B": "lora_up"}
        weights = {
            f"{name}.{end}.weight": lora[f"{module}.{ours}.weight"]
            for name, module in mine.items()
            for end, ours in ends.items()
        }
        result = set_peft_model_state_dict(model, weights)
        assert not result.unexpected_keys
        assert not [key for key in result.missing_keys if "lora" in key]
    assert same(outputs(pipe), expected)


# --- embedding and bundle


@pytest.mark.slow
def test_embedding_in_place_of_its_word_is_what_diffusers_computes(base: Path, files: dict[str, Path]) -> None:
    """A1111, Forge and ComfyUI put the vectors where the word stands, into the output of the embedding table."""
    import torch
    from diffusers import StableDiffusionPipeline

    vectors = foreign.one_tensor(read_weights(files["emb"]))
    pipe = StableDiffusionPipeline.from_pretrained(base)
    table = pipe.text_encoder.get_input_embeddings()
    assert vectors.shape == (3, table.embedding_dim), "Forge leaves out what has another width"
    length = pipe.tokenizer.model_max_length
    before, after = (pipe.tokenizer(text, add_special_tokens=False).input_ids for text in ("1girl,", ", blue hair"))
    start, end = pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id
    ids = [start, *before, *[end] * len(vectors), *after]
    ids = torch.tensor([ids + [end] * (length - len(ids))])

    def put(_: Any, __: Any, embedded: Any) -> Any:
        place = 1 + len(before)
        return torch.cat([embedded[:, :place], vectors[None], embedded[:, place + len(vectors) :]], dim=1)

    with torch.no_grad():
        hook = table.register_forward_hook(put)
        theirs = pipe.text_encoder(ids)[0]
        hook.remove()
        pipe.load_textual_inversion(files["emb"], token=WORD)
        ours = pipe.encode_prompt(f"1girl, {WORD}, blue hair", "cpu", 1, False)[0]
    last = 1 + len(before) + len(vectors) + len(after)  # behind the text the programs pad in their own ways
    assert (ours - theirs)[:, :last].abs().max() <= TOLERANCE


@pytest.mark.slow
def test_bundle_holds_the_same_lora_and_embedding_for_who_reads_it(
    lora: dict[str, Any], vectors: Any, checkpoint: dict[str, Any], base: Path
) -> None:
    bundle = bundle_weights(lora, {EMBEDDING_KEY: vectors}, WORD)
    assert (foreign.a1111_bundle(bundle)[WORD] == vectors).all()
    assert (foreign.comfy_bundle(bundle) == vectors).all()
    assert foreign.modules_of(bundle) == foreign.modules_of(lora)
    unmatched = [key for key in bundle if key.partition(".")[0] not in foreign.comfy_table(set(checkpoint))]
    assert unmatched == [f"bundle_emb.{WORD}.string_to_param.*"], "ComfyUI warns of it; Forge gives up above twelve"


def test_bundle_of_onetrainer_is_read_by_a1111_too() -> None:
    """OneTrainer writes `clip_l`, and takes any `bundle_emb.` for its own without reading it back."""
    import torch

    vectors = torch.ones(2, 8)
    assert foreign.a1111_bundle({f"bundle_emb.{WORD}.clip_l": vectors})[WORD] is vectors


# --- SDXL: names of kohya's files, which follow the original UNet there


@pytest.fixture(scope="session")
def sdxl_unet() -> Any:
    """The levels and layers of SDXL; transformers 1, 2 and 3 deep where SDXL has 1, 2 and 10."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        attention_head_dim=(1, 2, 2),
        norm_num_groups=8,
        cross_attention_dim=32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )


def trained_modules(unet: Any) -> list[str]:
    return [name for name in linear(unet) if re.search(r"\.attn.?\.|\.ff\.", name)]


def kohya_sdxl(module: str) -> str:
    return f"lora_unet_{foreign.flat(foreign.sgm_module(module))}"


def test_sdxl_names_go_there_and_back(sdxl_unet: Any) -> None:
    modules = trained_modules(sdxl_unet)
    assert len(modules) == 10 * (2 * 2 + 2 * 3 + 3 + 3 * 3 + 3 * 2), "ten a block: down, down, middle, up, up"
    assert [foreign.diffusers_module(foreign.sgm_module(module)) for module in modules] == modules
    places = {
        "down_blocks.1.attentions.0": "input_blocks_4_1",
        "down_blocks.2.attentions.1": "input_blocks_8_1",
        "mid_block.attentions.0": "middle_block_1",
        "up_blocks.0.attentions.2": "output_blocks_2_1",
        "up_blocks.1.attentions.0": "output_blocks_3_1",
    }
    for ours, theirs in places.items():
        rest = "transformer_blocks.0.attn1.to_out.0"
        assert kohya_sdxl(f"{ours}.{rest}") == f"lora_unet_{theirs}_{foreign.flat(rest)}"


def test_sdxl_names_are_what_diffusers_takes_them_for(sdxl_unet: Any) -> None:
    import torch
    from diffusers import StableDiffusionXLPipeline

    ends = ("lora_down.weight", "lora_up.weight")
    keys = {f"{kohya_sdxl(module)}.{end}": torch.ones(1, 1) for module in trained_modules(sdxl_unet) for end in ends}
    state, _ = StableDiffusionXLPipeline.lora_state_dict(keys, unet_config=sdxl_unet.config)
    names = {re.sub(r"\.lora(_[AB]|\.down|\.up)?\.weight$|_lora\.(down|up)\.weight$", "", key) for key in state}
    names = {name.replace(".processor.", ".").removeprefix("unet.") for name in names}
    names = {f"{name}.0" if name.endswith("to_out") else name for name in names}
    assert names == set(trained_modules(sdxl_unet))


@pytest.mark.parametrize("rule", [foreign.a1111, foreign.comfy], ids=["A1111", "ComfyUI and Forge"])
def test_sdxl_modules_meet_their_weights(rule: Callable[..., foreign.Names], sdxl_unet: Any) -> None:
    """A random LoRA in the original UNet, which diffusers reads, changes exactly the modules that were meant."""
    import torch
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    places = unet_places(sdxl_unet.config)
    places |= {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    weights = sdxl_unet.state_dict()
    original = {original_unet(key, places): value for key, value in weights.items()}
    lora = {}
    for module in trained_modules(sdxl_unet):
        out, into = weights[f"{module}.weight"].shape
        parts = {"lora_down.weight": torch.randn(2, into), "lora_up.weight": torch.randn(out, 2)}
        lora |= {f"{kohya_sdxl(module)}.{end}": value for end, value in {**parts, "alpha": torch.tensor(1.0)}.items()}
    names = rule(foreign.modules_of(lora), original)
    read = convert_ldm_unet_checkpoint(changed(original, lora, names), config=dict(sdxl_unet.config))
    assert read.keys() == weights.keys()
    trained = {f"{module}.weight": kohya_sdxl(module) for module in trained_modules(sdxl_unet)}
    for key, value in weights.items():
        meant = value + delta(lora, trained[key]) if key in trained else value
        assert torch.allclose(read[key], meant), key


def test_sdxl_text_encoders_in_a1111() -> None:
    """The second text encoder is OpenCLIP there, whose q, k and v are one matrix: all four of a layer must come."""
    start = "text_model_encoder_layers_3_"
    assert foreign.a1111_name(f"lora_te1_{start}mlp_fc1") == f"0_transformer_{start}mlp_fc1"
    second = "1_model_transformer_resblocks_3_"
    leaves = {
        "self_attn_q_proj": "attn_q_proj",
        "self_attn_out_proj": "attn_out_proj",
        "mlp_fc1": "mlp_c_fc",
        "mlp_fc2": "mlp_c_proj",
    }
    for ours, theirs in leaves.items():
        assert foreign.a1111_name(f"lora_te2_{start}{ours}") == second + theirs


def test_sdxl_names_that_training_writes(sdxl_unet: Any) -> None:
    from charaloom.diffusion.lora import kohya_module

    for module in trained_modules(sdxl_unet):
        assert kohya_module("denoiser", module, SDXL) == kohya_sdxl(module)
    leaf = "text_model.encoder.layers.3.mlp.fc1"
    for number, part in enumerate(("clip_L", "clip_bigG"), 1):
        assert kohya_module("TE", f"{part}.{leaf}", SDXL) == f"lora_te{number}_{foreign.flat(leaf)}"
