"""How other programs read a LoRA in kohya keys, an embedding and a bundle: their rules, told in our own words.

A LoRA's modules are names such as `lora_unet_down_blocks_0_attentions_0_...`. Each rule says which weight of the model
that the program holds is changed by a module; a module it does not know is missing from its answer. The rules were
read in A1111 (extensions-builtin/Lora/networks.py), Forge dfdcbab and ComfyUI 443393b (model_lora_keys_unet and _clip),
OneTrainer 23df383 (load_lora_util.py); weights of A1111, Forge and ComfyUI have the names of the original checkpoints.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Names = Mapping[str, str]  # module of the LoRA -> weight of the model

UNET, CLIP = "model.diffusion_model.", "cond_stage_model.transformer."
CLIP_LEAVES = [f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")] + ["mlp.fc1", "mlp.fc2"]
OPEN_CLIP = {"self_attn_": "attn_", "mlp_fc1": "mlp_c_fc", "mlp_fc2": "mlp_c_proj"}
PLACE = re.compile(r"lora_unet_(down|up)_blocks_(\d+)_attentions_(\d+)_(.+)")
LAYERS = 2  # of a level of Stable Diffusion 1.x and XL


def flat(name: str) -> str:
    return name.removesuffix(".weight").replace(".", "_")


def modules_of(lora: Iterable[str]) -> list[str]:
    """Modules of a LoRA by its keys; a bundle's embedding is none."""
    return sorted({key.partition(".")[0] for key in lora if not key.startswith("bundle_emb.")})


# --- A1111


def a1111(modules: Iterable[str], checkpoint: Iterable[str]) -> Names:
    """By arithmetic on the name alone, then looked up among the flattened names of the model in memory."""
    held = {flat(re.sub(r"^(model|cond_stage_model)\.", "", key)): key for key in checkpoint if key.endswith(".weight")}
    return {module: held[a1111_name(module)] for module in modules if a1111_name(module) in held}


def a1111_name(module: str) -> str:
    """It counts three blocks a level: fits two layers a level and nothing else. SDXL's names it takes as they are."""
    if found := PLACE.fullmatch(module):
        way, level, layer, rest = found[1], int(found[2]), int(found[3]), found[4]
        block = 3 * level + layer
        return f"diffusion_model_{f'input_blocks_{block + 1}' if way == 'down' else f'output_blocks_{block}'}_1_{rest}"
    if found := re.fullmatch(r"lora_te2_text_model_encoder_layers_(\d+)_(.+)", module):
        rest = found[2]
        for ours, theirs in OPEN_CLIP.items():
            rest = rest.replace(ours, theirs)
        return f"1_model_transformer_resblocks_{found[1]}_{rest}"
    starts = {
        "lora_unet_mid_block_attentions_0_": "diffusion_model_middle_block_1_",
        "lora_te_text_model_": "transformer_text_model_",
        "lora_te1_text_model_": "0_transformer_text_model_",
        "lora_unet_": "diffusion_model_",
    }
    start = next((start for start in starts if module.startswith(start)), "")
    return starts.get(start, "") + module.removeprefix(start)


# --- ComfyUI and Forge


def comfy(modules: Iterable[str], checkpoint: Iterable[str]) -> Names:
    """By a table of all names that each weight of the model may have in a LoRA."""
    known = comfy_table(set(checkpoint))
    return {module: known[module] for module in modules if module in known}


def comfy_table(checkpoint: set[str]) -> dict[str, str]:
    known = {}
    places = diffusers_places(checkpoint)
    for key in sorted(key for key in checkpoint if key.endswith(".weight")):
        if key.startswith(UNET):
            own = key.removeprefix(UNET)
            known[f"lora_unet_{flat(own)}"] = key  # SDXL's way
            block, _, rest = own.partition(".transformer_blocks.")
            if block in places:
                known[f"lora_unet_{flat(places[block])}_transformer_blocks_{flat(rest)}"] = key
        elif key.startswith(CLIP):
            layer, _, leaf = key.removeprefix(f"{CLIP}text_model.encoder.layers.").partition(".")
            if leaf.removesuffix(".weight") in CLIP_LEAVES:
                for prefix in ("lora_te", "lora_te1"):
                    known[f"{prefix}_text_model_encoder_layers_{layer}_{flat(leaf)}"] = key
    return known


def diffusers_places(checkpoint: set[str]) -> dict[str, str]:
    """Original attention blocks of a UNet -> those of diffusers, by walking through the blocks that are there."""
    own = {key.removeprefix(UNET) for key in checkpoint if key.startswith(UNET)}
    places = {"middle_block.1": "mid_block.attentions.0"}
    level = layer = 0
    for block in range(1, blocks(own, "input_blocks")):
        if f"input_blocks.{block}.0.op.weight" in own:
            level, layer = level + 1, 0
            continue
        places[f"input_blocks.{block}.1"] = f"down_blocks.{level}.attentions.{layer}"
        layer += 1
    level = layer = 0
    for block in range(blocks(own, "output_blocks")):
        places[f"output_blocks.{block}.1"] = f"up_blocks.{level}.attentions.{layer}"
        layer += 1
        if any(f"output_blocks.{block}.{part}.conv.weight" in own for part in (1, 2)):
            level, layer = level + 1, 0
    return places


def blocks(names: set[str], kind: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in names if name.startswith(f"{kind}."))


# --- OneTrainer


def onetrainer(modules: Iterable[str], unet: Iterable[str], text_encoder: Iterable[str]) -> Names:
    """By the flattened names of the diffusers modules it trains; answers with `unet.` and `text_encoder.` weights."""
    known = {f"lora_unet_{flat(name)}": f"unet.{name}.weight" for name in unet}
    known |= {f"lora_te_{flat(name)}": f"text_encoder.{name}.weight" for name in text_encoder}
    return {module: known[module] for module in modules if module in known}


# --- kohya's names for SDXL


def sgm_module(module: str) -> str:
    """Attention module of an SDXL UNet in diffusers' names -> in the original's: down_blocks.1.attentions.0.x ->
    input_blocks.4.1.x."""
    if module.startswith("mid_block.attentions.0."):
        return module.replace("mid_block.attentions.0.", "middle_block.1.", 1)
    way, level, layer, rest = re.fullmatch(r"(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.(.+)", module).groups()
    block = (LAYERS + 1) * int(level) + int(layer)
    return f"input_blocks.{block + 1}.1.{rest}" if way == "down" else f"output_blocks.{block}.1.{rest}"


def diffusers_module(module: str) -> str:
    """The way back of `sgm_module`."""
    if module.startswith("middle_block.1."):
        return module.replace("middle_block.1.", "mid_block.attentions.0.", 1)
    way, block, rest = re.fullmatch(r"(input|output)_blocks\.(\d+)\.1\.(.+)", module).groups()
    level, layer = divmod(int(block) - (way == "input"), LAYERS + 1)
    return f"{'down' if way == 'input' else 'up'}_blocks.{level}.attentions.{layer}.{rest}"


# --- embeddings and bundles


def one_tensor(file: Mapping[str, Any]) -> Any:
    """An embedding as A1111, Forge and ComfyUI take it from safetensors: the only tensor, whatever its key."""
    (vectors,) = file.values()
    return vectors


def a1111_bundle(file: Mapping[str, Any]) -> dict[str, Any]:
    """Embeddings of a bundle by word, A1111 1.7 and newer: `bundle_emb.<word>.string_to_param.*` or one bare key."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in file.items():
        start, _, rest = key.partition(".")
        if start == "bundle_emb":
            word, _, part = rest.partition(".")
            found.setdefault(word, {})[part.removeprefix("string_to_param.")] = value
    return {word: one_tensor(parts) for word, parts in found.items()}


def comfy_bundle(file: Mapping[str, Any], text_encoder: str = "clip_l") -> Any:
    """ComfyUI, where a bundle lies in `embeddings/`: what ends in `string_to_param.*`, else in the encoder's key."""
    for ending in (r"string_to_param\.\*", text_encoder):
        found = [file[key] for key in file if re.fullmatch(rf"bundle_emb\..+\.{ending}", key)]
        if found:
            return found[0]
    raise KeyError(text_encoder)


def onetrainer_embedding(file: Mapping[str, Any], sdxl: bool) -> list[Any]:
    """An embedding as OneTrainer asks for it in safetensors (StableDiffusion*EmbeddingLoader.py)."""
    return [file[key] for key in (("clip_l", "clip_g") if sdxl else ("emp_params",))]


FORGE_UNMATCHED = 12  # keys of a LoRA that Forge does not know, above which it leaves the LoRA out
