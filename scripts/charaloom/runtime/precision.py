"""The number format that a model computes in."""

import shutil

PRECISIONS = ("fp32", "bf16", "fp16")


def resolved_precision(setting: str) -> str:
    """The number format that `auto` means on this machine: bf16 where a GPU has it, else fp16 on a GPU, else fp32."""
    if setting != "auto":
        return setting
    if not shutil.which("nvidia-smi"):
        return "fp32"
    import torch

    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
