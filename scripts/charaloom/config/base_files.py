"""What the files of a base model say of themselves, read from headers alone: no tensor is loaded."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from charaloom.artifacts.files import read_json

SCHEDULER = Path("scheduler", "scheduler_config.json")  # in a diffusers folder


@dataclass(frozen=True)
class BaseFacts:
    """What a file or folder says; None where it says nothing."""

    family: str | None = None  # name of a family
    prediction: str | None = None  # epsilon, v_prediction
    zero_snr: bool | None = None  # whether the noise schedule ends in pure noise


def base_facts(path: str | None) -> BaseFacts:
    """The facts of a base model's file or folder; nothing is known of what is not there."""
    if path is None or not Path(path).exists():
        return BaseFacts()
    status = Path(path).stat()
    return read_facts(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def read_facts(path: str, size: int, changed: int) -> BaseFacts:
    """The facts of a file, read once for each of its versions."""
    if not (Path(path) / SCHEDULER).is_file():
        return BaseFacts()
    scheduler = read_json(Path(path) / SCHEDULER)
    return BaseFacts(
        prediction=scheduler.get("prediction_type", "epsilon"),
        zero_snr=bool(scheduler.get("rescale_betas_zero_snr", False)),
    )
