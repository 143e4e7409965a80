"""Model families: everything that differs between them, one frozen record each. Nothing else asks which family it is.

A new family is one record here, its name in config/schemas/config.schema.yaml, and one test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charaloom.errors import CharaloomError

DIFFUSERS, SGM = "diffusers", "sgm"  # how kohya's trainer names the modules of a UNet
EPSILON, V_PREDICTION = "epsilon", "v_prediction"
PREDICTIONS = (EPSILON, V_PREDICTION)
EMBEDDING_KEY = "emb_params"  # the tensor of an embedding for the only text encoder


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """One text encoder of a family, by the names that diffusers, hcpdiff, kohya and A1111 have for it."""

    encoder: str  # part of the pipeline
    tokenizer: str  # part of the pipeline
    embedding_key: str  # its tensor in an embedding file, as A1111 and ComfyUI read it
    lora_prefix: str  # of its modules in a kohya LoRA
    trainer_name: str | None = None  # in hcpdiff's composed text encoder; None: it is the only one
    projected: bool = False  # its pooled output goes through a projection
    padding: int | None = None  # token behind the end of a prompt; None: the end token once more


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What training takes of a GPU's memory, counted tensor by tensor by `make bench-memory`.

    Activations are bytes of a step in 16 bits: per pixel of the batch those of the UNet, per picture and 75 tokens
    those of text encoders that learn; `checkpointed` with gradient checkpointing.
    """

    unet: int  # parameters
    text: int  # parameters of all text encoders
    lora_unet: int  # parameters of a LoRA for each of its ranks
    lora_text: int
    activations: float
    checkpointed: float
    text_activations: float
    text_checkpointed: float


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of base models."""

    name: str  # in the config
    title: str
    parts: tuple[str, ...]  # subfolders of a diffusers folder
    weights: Mapping[str, str]  # the weights file of each part that has one
    latent_channels: int
    resolution: int  # native, pixels of one side
    preview_size: tuple[int, int]  # width and height in pixels: upright, since most prompts show a whole figure
    predictions: tuple[str, ...]  # what the UNet of a base may predict
    clip_skip: int  # of a base that says nothing else
    text_encoders: tuple[TextEncoder, ...]
    final_norm: bool  # whether the last norm of the text encoder is applied after skipped layers
    extra_clip_skip: int = 0  # text encoder layers that the family itself skips
    pipeline: str  # class of diffusers
    pipeline_options: Mapping[str, Any]  # for the class: no safety checker, no watermark
    trainer_wrapper: str  # class of `training.hcp.captions`
    trainer_loader: str  # function of `hcpdiff.easy`
    unet_names: str  # DIFFUSERS or SGM
    architecture: str  # of its LoRA files, ModelSpec's name
    base_version: str  # kohya's name
    footprint: Footprint

    @property
    def embedding_keys(self) -> tuple[str, ...]:
        """The tensors of an embedding file."""
        return tuple(encoder.embedding_key for encoder in self.text_encoders)


DENOISER_WEIGHTS, ENCODER_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"

SD15 = Family(
    name="sd15",
    title="Stable Diffusion 1.x",
    parts=("scheduler", "text_encoder", "tokenizer", "unet", "vae"),
    weights={"unet": DENOISER_WEIGHTS, "vae": DENOISER_WEIGHTS, "text_encoder": ENCODER_WEIGHTS},
    latent_channels=4,
    resolution=512,
    preview_size=(512, 768),
    predictions=PREDICTIONS,
    clip_skip=1,  # anime models of this family descend from one that was trained so
    text_encoders=(
        TextEncoder(encoder="text_encoder", tokenizer="tokenizer", embedding_key=EMBEDDING_KEY, lora_prefix="lora_te_"),
    ),
    final_norm=True,
    pipeline="StableDiffusionPipeline",
    pipeline_options={"safety_checker": None, "requires_safety_checker": False},
    trainer_wrapper="ChunkedSD15",
    trainer_loader="SD15_auto_loader",
    unet_names=DIFFUSERS,
    architecture="stable-diffusion-v1/lora",
    base_version="sd_v1",
    footprint=Footprint(
        unet=859_520_964,
        text=123_060_480,
        lora_unet=374_016,
        lora_text=165_888,
        activations=3567,
        checkpointed=896,
        text_activations=29e6,
        text_checkpointed=1e6,
    ),
)
SDXL = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    parts=(*SD15.parts, "text_encoder_2", "tokenizer_2"),
    weights={**SD15.weights, "text_encoder_2": ENCODER_WEIGHTS},
    latent_channels=4,
    resolution=1024,
    preview_size=(832, 1216),  # a bucket that it was trained on (arXiv:2307.01952, appendix I)
    predictions=PREDICTIONS,
    clip_skip=0,
    text_encoders=(
        TextEncoder(
            encoder="text_encoder",
            tokenizer="tokenizer",
            embedding_key="clip_l",
            lora_prefix="lora_te1_",
            trainer_name="clip_L",
        ),
        TextEncoder(
            encoder="text_encoder_2",
            tokenizer="tokenizer_2",
            embedding_key="clip_g",
            lora_prefix="lora_te2_",
            trainer_name="clip_bigG",
            projected=True,
            padding=0,
        ),
    ),
    final_norm=False,
    extra_clip_skip=1,  # it was trained on the last layer but one (Podell et al. 2023, arXiv:2307.01952, section 2.1)
    pipeline="StableDiffusionXLPipeline",
    pipeline_options={"add_watermarker": False},
    trainer_wrapper="ChunkedSDXL",
    trainer_loader="SDXL_auto_loader",
    unet_names=SGM,
    architecture="stable-diffusion-xl-v1-base/lora",
    base_version="sdxl_base_v1-0",
    footprint=Footprint(
        unet=2_567_463_684,
        text=817_720_320,
        lora_unet=2_616_320,
        lora_text=903_168,
        activations=6431,
        checkpointed=524,
        text_activations=248e6,
        text_checkpointed=86e6,
    ),
)
FAMILIES = {family.name: family for family in (SD15, SDXL)}


def family_of(name: str) -> Family:
    """The record of a family. Raises CharaloomError where there is none of that name."""
    if name not in FAMILIES:
        raise CharaloomError(f"family `{name}` is not one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
