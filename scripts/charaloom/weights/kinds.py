"""What a checkpoint is, from the names and shapes of its tensors: a base model of a family, or something else."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from charaloom.errors import CharaloomError
from charaloom.weights.headers import Header, Tensor
from charaloom.weights.layouts import OPEN_CLIP_PREFIX, begun, unet_prefix

SD15, SDXL = "sd15", "sdxl"
SPEC_KEY = "modelspec.prediction_type"
V_PREDICTION = "v_prediction"
PREDICTIONS = {  # as programs spell them, without signs
    **dict.fromkeys(("epsilon", "eps", "noise", "epsilonprediction"), "epsilon"),
    **dict.fromkeys(("v", "vpred", "vprediction", "velocity"), V_PREDICTION),
}
WANTED = "a whole checkpoint of Stable Diffusion 1.x or SDXL"
TAKE = f"take {WANTED}"
Tensors = Mapping[str, Tensor]

# What else a file may hold, by a pattern that one of its tensors' names fits; the first that does decides.
# Names: comfyanonymous/ComfyUI, comfy/model_detection.py; huggingface/diffusers, loaders/single_file_utils.py.
OTHERS = [
    (
        r"(^|\.)(lora_(unet|te\d?|prior|transformer)_|hada_w\d|lokr_w\d|oft_blocks|oft_diag)"
        r"|\.(lora_(up|down|A|B|mid)|dora_scale)(\.|$)|_lora\.(up|down)\.|^bundle_emb\.",
        "a LoRA (or LyCORIS)",
        "it is no base model: name the base that it was trained on",
    ),
    (r"^(emb_params|string_to_param|string_to_token)", "an embedding (textual inversion)", TAKE),
    (
        r"(^|\.)(control_model\.|controlnet_cond_embedding|lllite_|control_add_embedding|input_hint_block)",
        "a ControlNet",
        TAKE,
    ),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter", TAKE),
    (r"motion_modules\.", "an AnimateDiff motion module", TAKE),
    (r"(^|\.)distilled_guidance_layer\.", "a Chroma model", TAKE),
    (r"(^|\.)(single_stream_modulation|double_stream_modulation_img)\.", "a FLUX.2 model", TAKE),
    (r"(^|\.)txt_in\.individual_token_refiner\.", "a HunyuanVideo model", TAKE),
    (r"(^|\.)(double_blocks|single_blocks|single_transformer_blocks)\.\d", "a Flux model", TAKE),
    (r"(^|\.)double_stream_blocks\.\d", "a HiDream model", TAKE),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 model", TAKE),
    (r"(^|\.)double_layers\.\d", "an AuraFlow model", TAKE),
    (r"(^|\.)llm_adapter\.", "an Anima model", TAKE),
    (r"(^|\.)blocks\.(\d+\.self_attn\.q_proj|block\d+\.blocks)\.", "a Cosmos (or Anima) model", TAKE),
    (r"(^|\.)cap_embedder\.", "a Lumina (or Z-Image) model", TAKE),
    (r"(^|\.)transformer_blocks\.\d+\.(img_mod|txt_mod)\.", "a Qwen-Image model", TAKE),
    (r"(^|\.)head\.modulation$", "a Wan model", TAKE),
    (r"(^|\.)(patchify_proj)\.", "an LTX-Video model", TAKE),
    (r"(^|\.)mlp_t5\.", "a HunyuanDiT model", TAKE),
    (r"(^|\.)(t_block\.1|adaln_single\.linear)\.", "a PixArt (or Sana) model", TAKE),
    (r"(^|\.)(clip_txt_mapper|clip_txt_pooled_mapper|effnet_mapper)\.", "a Stable Cascade model", TAKE),
    (r"(^|\.)time_stack\.", "a Stable Video Diffusion model", TAKE),
    (r"^cond_stage_model\.model\.", "a Stable Diffusion 2.x model", TAKE),
    (r"^conditioner\.embedders\.0\.model\.", "the refiner of SDXL", "take the base model of SDXL"),
    (r"^edm_vpred\.|^edm_mean$", "a model of the EDM formulation (CosXL, Playground v2.5)", TAKE),
    (r"\.(comfy_quant|quant_map|absmax|weight_scale|quant_state\..*)$", "a quantised model", "take its fp16 version"),
]
PARTS_ALONE = [
    (r"^(decoder|encoder)\.(mid|mid_block|up|up_blocks|down|down_blocks|middle|upsamples)\.", "a VAE alone"),
    (
        r"^(text_model\.|encoder\.layers\.|transformer\.resblocks\.|encoder\.block\.0\.|shared\.weight|model\.layers\.\d|vision_model\.)",
        "a text encoder alone",
    ),
    (r"^(clip_l|clip_g)$", "an embedding (textual inversion)"),
    (r"^(model\.\d+\.(sub\.)?|conv_first\.|RRDB|body\.\d)", "an upscaler"),
]
CHANNELS = {  # of the first convolution, where it is no plain base model
    9: ("an inpainting model", "take the normal version of this model"),
    8: ("an InstructPix2Pix (edit) model", "take the normal version of this model"),
    7: ("an upscaler", TAKE),
    5: ("a depth or upscaling model", TAKE),
}
TEXT_WIDTHS = {  # of the text that the UNet attends to
    1024: ("a Stable Diffusion 2.x model", TAKE),
    1280: ("the refiner of SDXL", "take the base model of SDXL"),
}


@dataclass(frozen=True)
class Statement:
    """What a checkpoint says of its noise; None where it says nothing."""

    prediction: str | None = None  # epsilon, v_prediction
    zero_snr: bool | None = None


def family_of_file(header: Header) -> str:
    """sd15 or sdxl. Raises CharaloomError, which names what the file is instead and what to take."""
    names = header.tensors.keys()
    for pattern, what, cure in OTHERS:
        if any(map(compiled(pattern), names)):
            raise CharaloomError(f"{header.path.name} is {what}: {cure}")
    found = unet_prefix(set(names))
    if found is None:
        for pattern, what in PARTS_ALONE:
            if any(map(compiled(pattern), names)):
                raise CharaloomError(f"{header.path.name} is {what}: {TAKE}")
        shown = ", ".join(sorted(names)[:3]) or "nothing"
        raise CharaloomError(f"{header.path.name} is no model that Charaloom knows (it holds {shown}): {TAKE}")
    prefix, original = found
    check_unet(header, prefix, original)
    sdxl = f"{prefix}label_emb.0.0.weight" if original else f"{prefix}add_embedding.linear_1.weight"
    return SDXL if sdxl in names or begun(names, OPEN_CLIP_PREFIX) else SD15


def compiled(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern).search


def check_unet(header: Header, prefix: str, original: bool) -> None:
    """Refuse a UNet of another kind, by the channels of its input and the width of the text it attends to."""
    tensors = header.tensors
    first = tensors.get(f"{prefix}{'input_blocks.0.0' if original else 'conv_in'}.weight")
    if first is not None and len(first.shape) == 4 and first.shape[1] in CHANNELS:
        what, cure = CHANNELS[first.shape[1]]
        raise CharaloomError(f"{header.path.name} is {what} (it takes {first.shape[1]} channels): {cure}")
    keys = [name for name in tensors if name.startswith(prefix) and name.endswith(".attn2.to_k.weight")]
    widths = {tensors[name].shape[-1] for name in keys if len(tensors[name].shape) == 2}
    for width in widths & TEXT_WIDTHS.keys():
        what, cure = TEXT_WIDTHS[width]
        raise CharaloomError(f"{header.path.name} is {what} (its text is {width} wide): {cure}")


def statement(header: Header) -> Statement:
    """What a file says of prediction and noise schedule: marker tensors, else ModelSpec, else kohya's metadata.

    `v_pred` and `ztsnr` are read by A1111 (AUTOMATIC1111/stable-diffusion-webui 16567) and ComfyUI
    (comfy/supported_models.py), which take a v-prediction file without `ztsnr` for one without zero terminal SNR.
    Raises CharaloomError where they contradict each other, or name a prediction that is not trained here.
    """
    said = {"its tensor `v_pred`": V_PREDICTION} if "v_pred" in header.tensors else {}
    written = header.metadata.get(SPEC_KEY, "").strip().lower()
    if written not in ("", "none", "unknown"):
        prediction = PREDICTIONS.get(re.sub(r"[\W_]", "", written))
        if prediction is None:
            raise CharaloomError(
                f"{header.path.name} predicts `{written}` (`{SPEC_KEY}`): take a model that predicts epsilon or"
                " v_prediction"
            )
        said[f"its `{SPEC_KEY}`"] = prediction
    if header.metadata.get("ss_v_parameterization", "").lower() in ("true", "1"):
        said["its `ss_v_parameterization`"] = V_PREDICTION
    if len(set(said.values())) > 1:
        words = ", ".join(f"{who} says {what}" for who, what in said.items())
        raise CharaloomError(
            f"{header.path.name} contradicts itself: {words}: fetch it again from its author, or take a diffusers"
            " folder"
        )
    prediction = next(iter(said.values()), None)
    if "ztsnr" in header.tensors:
        return Statement(prediction, True)
    return Statement(prediction, False if "v_pred" in header.tensors else None)
