"""Generation data in a picture's file: as A1111 and Forge write it (`parameters`), and as ComfyUI's graph (`prompt`).

A1111's PNG Info reads the first, ComfyUI runs the second when the file is dropped on it. Letters that have a meaning in
the prompts of one of them are escaped for it, so that both read the text that was rendered. Field names are those of
modules/shared_options.py and modules/processing.py of A1111 1.10; `CFG Rescale` is that of the extension
Seshelle/CFG_Rescale_webui, since A1111 itself cannot rescale.
"""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import sha256_bytes, sha256_file
from charaloom.config.families import V_PREDICTION
from charaloom.config.params import Previews
from charaloom.config.roster import embedding_word
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import Checkpoint, positive
from charaloom.diffusion.sampling import COMFY_NAMES

if TYPE_CHECKING:
    from PIL import Image

ZERO_SNR = "Zero Terminal SNR"


def png(picture: "Image.Image", texts: dict[str, str]) -> bytes:
    """PNG with texts by their keys; no clock, no software."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    buffer = BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def generation_texts(
    character: str, text: str, seed: int, checkpoint: Checkpoint, base: LocalBase, params: Previews
) -> dict[str, str]:
    """Both forms of one picture's generation data, by the PNG keys they stand under."""
    return {
        "parameters": for_a1111(character, text, seed, checkpoint, base, params),
        "prompt": json.dumps(for_comfyui(character, text, seed, checkpoint, base, params), sort_keys=True),
    }


def for_a1111(character: str, text: str, seed: int, checkpoint: Checkpoint, base: LocalBase, params: Previews) -> str:
    manners = base.manners
    prompt = escaped_for_a1111(positive(text, checkpoint, embedding_word(character), manners))
    facts: dict[str, Any] = {
        "Steps": params.steps,
        "Sampler": manners.sampler,
        "Schedule type": manners.schedule,
        "CFG scale": f"{manners.guidance:g}",
        "Seed": seed,
        "Size": f"{params.width}x{params.height}",
        "Model hash": base.digest[:10],
        "Model": base.name,
        "Clip skip": base.clip_skip + 1,
        "RNG": "CPU",
    }
    if manners.rescale:
        facts["CFG Rescale"] = f"{manners.rescale:g}"
    if manners.zero_snr:
        facts["Noise Schedule"] = ZERO_SNR
    if checkpoint.lora:
        prompt += f" <lora:{character}:{checkpoint.weight:g}>"
        facts["Lora hashes"] = f'"{character}: {tensor_hash(checkpoint.lora)[:12]}"'
    if checkpoint.embedding:
        facts["TI hashes"] = f'"{embedding_word(character)}: {sha256_file(checkpoint.embedding)[:12]}"'
    settings = ", ".join(f"{key}: {value}" for key, value in facts.items())
    return "\n".join([prompt, f"Negative prompt: {escaped_for_a1111(manners.negative)}", settings])


def for_comfyui(
    character: str, text: str, seed: int, checkpoint: Checkpoint, base: LocalBase, params: Previews
) -> dict[str, Any]:
    """The graph that renders this picture, in the form of ComfyUI's API; an output is [node, index]."""
    manners = base.manners
    prompt = positive(text, checkpoint, f"embedding:{embedding_word(character)}", manners)
    graph = {"base": node("CheckpointLoaderSimple", ckpt_name=f"{base.name}.safetensors")}
    model, clip = ["base", 0], ["base", 1]
    if checkpoint.lora:
        weights = {"strength_model": checkpoint.weight, "strength_clip": checkpoint.weight}
        graph["lora"] = node("LoraLoader", lora_name=f"{character}.safetensors", model=model, clip=clip, **weights)
        model, clip = ["lora", 0], ["lora", 1]
    if base.clip_skip:
        layer = -1 - base.clip_skip - base.family.extra_clip_skip
        graph["skip"] = node("CLIPSetLastLayer", stop_at_clip_layer=layer, clip=clip)
        clip = ["skip", 0]
    if manners.prediction == V_PREDICTION or manners.zero_snr:
        sampling = "v_prediction" if manners.prediction == V_PREDICTION else "eps"
        graph["noise"] = node("ModelSamplingDiscrete", sampling=sampling, zsnr=manners.zero_snr, model=model)
        model = ["noise", 0]
    if manners.rescale:
        graph["rescaled"] = node("RescaleCFG", multiplier=manners.rescale, model=model)
        model = ["rescaled", 0]
    graph |= {
        "positive": node("CLIPTextEncode", text=escaped_for_comfyui(prompt), clip=clip),
        "negative": node("CLIPTextEncode", text=escaped_for_comfyui(manners.negative), clip=clip),
        "empty": node("EmptyLatentImage", width=params.width, height=params.height, batch_size=1),
        "sampler": node(
            "KSampler",
            seed=seed,
            steps=params.steps,
            cfg=manners.guidance,
            sampler_name=COMFY_NAMES[manners.sampler],
            scheduler=COMFY_NAMES[manners.schedule],
            denoise=1.0,
            model=model,
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["empty", 0],
        ),
        "decoded": node("VAEDecode", samples=["sampler", 0], vae=["base", 2]),
        "saved": node("SaveImage", filename_prefix=character, images=["decoded", 0]),
    }
    return graph


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def escaped_for_comfyui(text: str) -> str:
    """A prompt that ComfyUI reads as letters. It knows `\\(` and `\\)` alone; any other backslash is a letter
    (comfy/sd1_clip.py)."""
    return re.sub(r"([()])", r"\\\1", text)


def escaped_for_a1111(text: str) -> str:
    """A prompt that A1111 and Forge read as letters (modules/prompt_parser.py, modules/extra_networks.py).

    A backslash before any other letter disappears there, but what it parts has no meaning any more: `AND`, `BREAK`, a
    number behind a colon (the weight of a prompt or of parentheses), `<name:` (an extra network). Nothing escapes `#`,
    behind which A1111 1.8 and newer see a comment.
    """
    escaped = re.sub(r"([\\()\[\]])", r"\\\1", text)
    escaped = re.sub(r"\b(AN|BREA)(D|K)\b", r"\1\\\2", escaped)
    escaped = re.sub(r":(\s*)(?=[-+.\d])", r":\1\\", escaped)
    return re.sub(r"<(?=\w+:)", r"<\\", escaped)


def tensor_hash(path: Path) -> str:
    """SHA-256 of a safetensors file behind its header: what A1111 and Civitai know a LoRA by."""
    data = path.read_bytes()
    return sha256_bytes(data[8 + int.from_bytes(data[:8], "little") :])
