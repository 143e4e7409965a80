"""What decides the bytes of a training, as its lineage holds it."""

from importlib.metadata import version

from charaloom.artifacts.types import Row
from charaloom.config.params import Checkpoints, Training
from charaloom.diffusion.bases import LocalBase, without_path, without_paths

STAGE = "checkpoints"
SOFTWARE = ("torch", "hcpdiff", "rainbowneko", "diffusers", "transformers", "accelerate", "numpy", "pillow")


def lineage_params(params: Checkpoints | Training, base: LocalBase) -> Row:
    """`params` with the digest of the base instead of its path, and the versions of the libraries."""
    plain = params.plain()
    del plain["regularisation"]  # a path; the digest of the folder stands beside it
    if "previews" in plain:
        plain["previews"] = without_paths(plain["previews"])
    software = {name: version(name) for name in SOFTWARE}
    return {**plain, "base": {**without_path(plain["base"]), "digest": base.digest}, "software": software}
