"""The working directory of a training in `work`: its name, its lock, and what an earlier run has left in it."""

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from charaloom.artifacts.files import digest
from charaloom.diffusion.bases import LocalBase
from charaloom.errors import CharaloomError
from charaloom.training.lengths import milestones
from charaloom.training.trainer_config import hcp_config


LOCK_SECONDS = 10.0  # a trainer whose job was killed ends within moments



def room_key(character: str, params: dict[str, Any], base: LocalBase, facts: dict[str, Any]) -> str:
    """Names what a training has in common with one of another length: all but its steps and checkpoints."""
    same = {key: value for key, value in params.items() if key not in MORE}
    source = hcp_config(character, {**params, "steps": 1, "save_every": 1}, base)
    inputs = {name: found for name, found in facts["inputs"].items() if name != "models"}
    return digest([known_params(same, base), inputs, source])[:16]



@contextmanager
def locked(room: Path) -> Iterator[TextIO]:
    """Hold the work folder of one training: a second run on it stops."""
    room.mkdir(parents=True, exist_ok=True)
    with (room / "lock").open("w") as handle:
        limit = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > limit:
                    raise CharaloomError(f"{room}: another run trains here; wait for it or stop it") from None
                time.sleep(0.2)
        yield handle



def forget_others(room: Path) -> None:
    """One room per character: give the disk of those back that other settings or another dataset left."""
    for other in room.parent.glob(f"{STAGE}-*"):
        if other == room or not other.is_dir():
            continue
        with suppress(CharaloomError, OSError), locked(other):
            for name in ("inputs", "judged", "latents", "run"):
                shutil.rmtree(other / name, ignore_errors=True)



def trained(room: Path, params: dict[str, Any]) -> bool:
    """Whether everything that these params ask for was trained before, by this or by a longer run."""
    losses = room / "run" / "loss.tsv"
    wanted = milestones(int(params["steps"]), int(params["save_every"]))
    there = all((room / "run" / "ckpts" / f"lora_unet-{step}.safetensors").exists() for step in wanted)
    return there and losses.exists() and losses.read_bytes().count(b"\n") > wanted[-1]
