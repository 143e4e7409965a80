"""Stage `checkpoints`: train a LoRA, and an embedding with it, by HCP-Diffusion 2 in a process of its own.

What must survive a kill, and what more steps later go on from (prepared inputs, latents, the trainer's checkpoints and
state), lies in `work`; the output folder appears whole at the end.
"""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import read_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.types import PathLike
from charaloom.config.recipes import settled
from charaloom.diffusion.bases import LocalBase, local_base, without_path, without_paths
from charaloom.diffusion.checkpoints import read_checkpoints
from charaloom.evaluation.previews import Sources, first_scores
from charaloom.training.export import collect
from charaloom.training.inputs import prepare
from charaloom.training.lengths import improving, lengths
from charaloom.training.process import Trainee, run_trainer
from charaloom.training.trainer_config import hcp_config
from charaloom.training.working_directory import forget_others, locked, room_key, trained

STAGE = "checkpoints"
SOFTWARE = ("torch", "hcpdiff", "rainbowneko", "diffusers", "transformers", "accelerate", "numpy", "pillow")


MORE = ("steps", "save_every", "early_stopping", "previews")  # more of the same: what was trained before counts


def train(
    character: str,
    params: dict[str, Any],
    dataset: PathLike,
    dataset_manifest: PathLike,
    outfits: PathLike,
    folder: PathLike,
    manifest: PathLike,
    work: PathLike,
    log: PathLike,
    warm_seconds: float = 0.0,
    judged_by: Sources | None = None,
) -> None:
    """Train one character and write `folder` (LoRA and embedding per milestone, config.py, loss.tsv) and its manifest.

    `params` is the config section `training` over its recipe, with seed, trigger and the `base` to train on; `work` is
    the work folder of all characters. `warm_seconds`: how long a warm process waits for the next character, 0 for none.
    `judged_by`: what the previews of early stopping are judged by, where it is on.
    Same inputs and params give the same bytes on the same kind of machine. Raises CharaloomError where the base cannot
    be used, the dataset is empty, or the trainer fails (the end of `log` is quoted).
    """
    base = local_base(params["base"], work)
    params = {**params, "precision": precision(params["precision"])}
    upstream = {"dataset": dataset_manifest, "outfits": outfits}
    upstream |= {"models": judged_by.models_manifest} if judged_by else {}
    facts = lineage(STAGE, character, known_params(params, base), upstream)
    params = settled(params, read_json(dataset_manifest)["counts"]["train"])
    room = Path(work) / character / f"{STAGE}-{room_key(character, params, base, facts)}"
    with locked(room) as lock:
        prepare(room, Path(dataset), read_json(outfits), params["regularisation"])
        regularised = (room / "inputs" / "regularisation.json").exists()
        scores: dict[str, float] = {}
        for length in lengths(params):  # one, or with early stopping one for each checkpoint
            config = hcp_config(character, length, base, regularised)
            if not trained(room, length):
                run_trainer(Trainee(room, config, base, params["threads"], Path(log), lock, warm_seconds))
            if judged_by:
                collect(character, length, base, room, config, room / "judged", facts["digest"])
                newest = read_checkpoints(room / "judged")[-1:]
                scores |= first_scores(character, params["previews"], newest, judged_by, work)
                if not improving(scores, params["early_stopping"]):
                    break
        kept = collect(character, length, base, room, config, Path(folder), facts["digest"])
        shutil.rmtree(room / "judged", ignore_errors=True)
        counts = {"pictures": len(read_json(room / "inputs" / "pictures.json")), "checkpoints": len(kept)}
        shown = {"steps": length["steps"], "rank": params["rank"], "mode": params["mode"], "recipe": params["recipe"]}
        shown |= {"early_stopping": scores} if judged_by else {}
        write_manifest(manifest, facts, {STAGE: folder}, counts, checkpoints=kept, licence=base.licence, training=shown)
    forget_others(room)


def precision(asked: str) -> str:
    """The number format that `auto` means on this machine: bf16 where a GPU has it, else fp16 on a GPU, else fp32."""
    if asked != "auto":
        return asked
    if not shutil.which("nvidia-smi"):
        return "fp32"
    import torch

    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def known_params(params: dict[str, Any], base: LocalBase) -> dict[str, Any]:
    """What decides the bytes: the base by its digest instead of its path, and the versions of the libraries."""
    named = without_path(params["base"])
    software = {name: version(name) for name in SOFTWARE}
    own = {key: value for key, value in params.items() if key != "regularisation"}  # its digest stands beside it
    if "previews" in own:
        own["previews"] = without_paths(own["previews"])
    return {**own, "base": {**named, "digest": base.digest}, "software": software}
