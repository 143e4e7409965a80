"""The number format that a model computes in."""

import shutil

from charaloom.errors import CharaloomError

PRECISIONS = ("fp32", "bf16", "fp16")


def resolved_precision(setting: str) -> str:
    """The number format that `auto` means on this machine: bf16 where a GPU has it, else fp16 on a GPU, else fp32.

    Raises CharaloomError for fp16 on a CPU, whose loss would need a scale that accelerate has for GPUs alone.
    """
    if setting not in ("auto", "fp16"):
        return setting
    if not gpu_here():
        if setting == "fp16":
            raise CharaloomError("precision: fp16 needs an NVIDIA GPU; on a CPU take fp32, bf16 or auto")
        return "fp32"
    import torch

    return "bf16" if setting == "auto" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def gpu_here() -> bool:
    """Whether torch can use a GPU; torch is not imported where there is no driver."""
    if not shutil.which("nvidia-smi"):
        return False
    import torch

    return torch.cuda.is_available()
