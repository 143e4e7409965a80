"""One training in this process, and the base model it needs, loaded once where a warm process has done it before.

The base is held in the number format of the training; what is trained, and all that sums up over the steps, is fp32.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from hcpdiff import easy
from rainbowneko.parser import cfg2py, load_config_with_cli, python_cfg

from charaloom.config.families import family_of
from charaloom.training.hcp import MENDED
from charaloom.training.hcp.noise import NoiseSchedule, Sampler
from charaloom.training.hcp.text import composed_text_encoder
from charaloom.training.hcp.trainer import Trainer

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LOADED: dict[tuple[str, str], dict[str, Any]] = {}  # by real path and precision; filled by a warm process


def train_here(config: str) -> None:
    """Train by a config in the working directory; ends the process with a message where it cannot."""
    check_versions()
    skip_formatting()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
    parser, settings = load_config_with_cli(config, args_list=[])
    Trainer(parser, settings).train()


def skip_formatting() -> None:
    """rainbowneko formats its config three times before it runs it: two seconds for a file that nobody reads."""
    for module in (python_cfg, cfg2py):
        module.FormatCode = lambda code, **style: (code, False)


def check_versions() -> None:
    """The mends are tested against one version of each; another one may need others."""
    installed = {name: version(name) for name in MENDED}
    if installed != MENDED:
        sys.exit(f"training needs {MENDED}, installed is {installed}; install the versions of the environment's lock")


def base_models(base: str, family: str, precision: str, prediction: str, zero_snr: bool) -> dict[str, Any]:
    """The parts of a base model by HCP's names; a fork of a warm process has its own copy of those loaded before."""
    models = LOADED.get((str(Path(base).resolve()), precision)) or load_base(base, family, precision)
    return {**models, "noise_sampler": Sampler(NoiseSchedule(base, zero_snr), prediction)}


def load_base(base: str, family: str, precision: str = "fp32") -> dict[str, Any]:
    """Load a diffusers folder for training, without its autoencoder: nothing of it learns; each training has a sampler
    of its own."""
    record, dtype = family_of(family), DTYPES[precision]
    parts = {"TE": composed_text_encoder(base, record, dtype)} if len(record.text_encoders) > 1 else {}
    parts["vae"] = torch.nn.Identity()  # something: no other is read
    models = getattr(easy, record.trainer_loader)(ckpt_path=base, dtype=dtype, **parts)
    for part in ("denoiser", "TE"):
        models[part].requires_grad_(False)
    models["denoiser"].to(memory_format=torch.channels_last)
    return {**models, "vae": None}


def autoencoder(base: str) -> AutoencoderKL:
    """The autoencoder of a diffusers folder, in fp32: SDXL's overflows in fp16 (`force_upcast` of its config)."""
    return AutoencoderKL.from_pretrained(base, subfolder="vae", torch_dtype=torch.float32).requires_grad_(False)
