"""The working directory of a training in `work`: its name, its lock, and what an earlier run has left in it."""

import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

from charaloom.artifacts import locks
from charaloom.artifacts.files import digest
from charaloom.artifacts.sealed import whole_files, whole_sealed
from charaloom.artifacts.types import PathLike
from charaloom.config.params import Training
from charaloom.diffusion.bases import LocalBase
from charaloom.errors import CharaloomError
from charaloom.training.lengths import milestones
from charaloom.training.provenance import STAGE, lineage_params
from charaloom.training.trainer_config import hcp_config

LENGTH = ("steps", "save_every", "early_stopping", "previews")  # a longer training goes on from a shorter one
NAMES = ("name", "repo", "revision")  # of a base: its digest says which weights it has
CONTENTS = ("inputs", "judged", "latents", "run")
LOCK_SECONDS = 10.0  # set by hand: a trainer whose job was killed ends within moments


def working_directory(work: PathLike, character: str, params: Training, base: LocalBase, content: str) -> Path:
    """One directory for all lengths of a training; `content` is the digest of what is trained on.

    The name of the base is not in the key: the weights decide.
    """
    common = {key: value for key, value in lineage_params(params, base).items() if key not in LENGTH}
    common["base"] = {key: value for key, value in common["base"].items() if key not in NAMES}
    source = hcp_config(character, replace(params, steps=1, save_every=1), base)
    return Path(work) / character / f"{STAGE}-{digest([common, content, source])[:16]}"


def locked(workdir: Path) -> AbstractContextManager[int]:
    """Hold the working directory; yields the lock's descriptor. Raises CharaloomError where another run holds it."""
    return locks.locked(workdir / "lock", f"{workdir}: another run trains here; wait for it or stop it", LOCK_SECONDS)


def remove_others(workdir: Path) -> None:
    """Free the disk of the character's other working directories: other settings or another dataset left them."""
    for directory in workdir.parent.glob(f"{STAGE}-*"):
        if directory == workdir or not directory.is_dir():
            continue
        with suppress(CharaloomError, OSError), locked(directory):
            for name in CONTENTS:
                shutil.rmtree(directory / name, ignore_errors=True)


def trained(workdir: Path, params: Training) -> bool:
    """Whether an earlier run, this long or longer, has trained all that these params ask for."""
    losses, steps = whole_sealed(workdir / "run" / "loss.tsv"), milestones(params)
    if losses is None or losses.read_bytes().count(b"\n") <= steps[-1]:
        return False
    return all(whole_files(workdir / "run" / "ckpts" / f"{step}.json") for step in steps)
