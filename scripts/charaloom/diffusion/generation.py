"""Generation data in a picture's file: as A1111 and Forge write it (`parameters`), and as ComfyUI's graph (`prompt`).

A1111's PNG Info reads the first, ComfyUI runs the second when the file is dropped on it. Both give parentheses and
brackets a meaning that diffusers does not know, so they are escaped.
"""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.artifacts.files import sha256_bytes, sha256_file
from charaloom.config.params import Previews
from charaloom.diffusion.bases import LocalBase
from charaloom.diffusion.checkpoints import Checkpoint, embedding_word, positive
from charaloom.diffusion.pipelines import SAMPLER, SCHEDULE

if TYPE_CHECKING:
    from PIL import Image

COMFY_SAMPLER, COMFY_SCHEDULER = "dpmpp_2m", "karras"


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
    prompt = escaped(positive(text, checkpoint, embedding_word(character)))
    facts: dict[str, Any] = {
        "Steps": params.steps,
        "Sampler": SAMPLER,
        "Schedule type": SCHEDULE,
        "CFG scale": f"{base.manners.guidance:g}",
        "Seed": seed,
        "Size": f"{params.width}x{params.height}",
        "Model hash": base.digest[:10],
        "Model": base.name,
        "Clip skip": base.clip_skip + 1,
        "RNG": "CPU",
    }
    if checkpoint.lora:
        prompt += f" <lora:{character}:{checkpoint.weight:g}>"
        facts["Lora hashes"] = f'"{character}: {tensor_hash(checkpoint.lora)[:12]}"'
    if checkpoint.embedding:
        facts["TI hashes"] = f'"{embedding_word(character)}: {sha256_file(checkpoint.embedding)[:12]}"'
    settings = ", ".join(f"{key}: {value}" for key, value in facts.items())
    return "\n".join([prompt, f"Negative prompt: {escaped(base.manners.negative)}", settings])


def for_comfyui(
    character: str, text: str, seed: int, checkpoint: Checkpoint, base: LocalBase, params: Previews
) -> dict[str, Any]:
    """The graph that renders this picture, in the form of ComfyUI's API; an output is [node, index]."""
    prompt = positive(escaped(text), checkpoint, f"embedding:{embedding_word(character)}")
    graph = {"base": node("CheckpointLoaderSimple", ckpt_name=f"{base.name}.safetensors")}
    model, clip = ["base", 0], ["base", 1]
    if checkpoint.lora:
        weights = {"strength_model": checkpoint.weight, "strength_clip": checkpoint.weight}
        graph["lora"] = node("LoraLoader", lora_name=f"{character}.safetensors", model=model, clip=clip, **weights)
        model, clip = ["lora", 0], ["lora", 1]
    if base.clip_skip:
        graph["skip"] = node("CLIPSetLastLayer", stop_at_clip_layer=-1 - base.clip_skip, clip=clip)
        clip = ["skip", 0]
    graph |= {
        "positive": node("CLIPTextEncode", text=prompt, clip=clip),
        "negative": node("CLIPTextEncode", text=escaped(base.manners.negative), clip=clip),
        "empty": node("EmptyLatentImage", width=params.width, height=params.height, batch_size=1),
        "sampler": node(
            "KSampler",
            seed=seed,
            steps=params.steps,
            cfg=base.manners.guidance,
            sampler_name=COMFY_SAMPLER,
            scheduler=COMFY_SCHEDULER,
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


def escaped(text: str) -> str:
    """A prompt whose parentheses and brackets are letters: bare ones weigh words in A1111 and ComfyUI."""
    return re.sub(r"([()\[\]])", r"\\\1", text)


def tensor_hash(path: Path) -> str:
    """SHA-256 of a safetensors file behind its header: what A1111 and Civitai know a LoRA by."""
    data = path.read_bytes()
    return sha256_bytes(data[8 + int.from_bytes(data[:8], "little") :])
