"""The optimisers of a recipe: each trains, and a state is gone on from to the same bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

from charaloom.diffusion.bases import local_base
from charaloom.training.trainer_config import hcp_config
from tests.unit.training.trainings import SCRIPTS, Pictures, params, tensors_equal, train_once, write_dataset

MANY = {"steps": 40, "save_every": 40, "precision": "bf16"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "other"),
    [("adamw8bit", {"rank": 64, "alpha": 32, "by_pictures": []}), ("prodigy", {}), ("adamw", {"rate_text": 0})],
)
def test_each_goes_on_to_the_same_bytes(
    optimizer: str, other: dict[str, object], tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    """A rank of 64: bitsandbytes keeps the moments of less than 4,096 numbers in 32 bits."""
    chosen = {**MANY, "optimizer": optimizer, **other}
    inputs = write_dataset(tmp_path, drawn_pictures)
    for name, lengths in (("straight", [40]), ("stopped", [20, 40])):
        for steps in lengths:
            train_once(tmp_path / name, inputs, params(tiny_base, **{**chosen, "steps": steps}))
    assert "going on after step 20 of 40" in (tmp_path / "stopped" / "log.txt").read_text()
    files = sorted((tmp_path / "straight" / "checkpoints").glob("*.safetensors"))
    assert files
    for path in files:
        assert tensors_equal(path, tmp_path / "stopped" / "checkpoints" / path.name), path.name
    first, *_, last = (tmp_path / "straight" / "checkpoints" / "loss.tsv").read_text().splitlines()[1:]
    grown = float(last.split("\t")[2]) / float(first.split("\t")[2])
    assert (grown > 10) == (optimizer == "prodigy"), "it finds the rate itself, and the table shows it"


def test_prodigy_takes_of_the_rates_only_what_learns(tiny_base: Path, tmp_path: Path) -> None:
    chosen = params(tiny_base, optimizer="prodigy", rate_text=0).settled(8)
    source = hcp_config("hana", chosen, local_base(chosen.base, tmp_path))
    assert "from prodigyopt import Prodigy" in source
    assert "lr=1.0," in source
    assert "lora_te" not in source


@pytest.mark.slow
def test_the_warm_process_imports_nothing_that_touches_the_gpu() -> None:
    """bitsandbytes asks each GPU for its kind as soon as it is imported, which peft does."""
    code = """
import sys
from charaloom.training.hcp.warm import import_everything
import_everything()
assert "peft" in sys.modules
assert not [name for name in sys.modules if name.startswith("bitsandbytes")]
import bitsandbytes
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env={"PYTHONPATH": str(SCRIPTS)}, check=True)
