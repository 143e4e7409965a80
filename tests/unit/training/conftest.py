"""One training that several files look at."""

from pathlib import Path

import pytest

from charaloom.artifacts.manifest import lineage
from charaloom.diffusion.bases import local_base
from charaloom.training.export import Export
from charaloom.training.inputs import prepare
from charaloom.training.process import TrainerRun, run_trainer
from charaloom.training.provenance import lineage_params
from charaloom.training.trainer_config import hcp_config
from charaloom.training.working_directory import locked
from tests.unit.training.trainings import OUTFITS, Pictures, Trained, environment, params, write_dataset


@pytest.fixture(scope="session")
def trained(tiny_base: Path, drawn_pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One training step by step, in an unfriendly place and with secrets around."""
    root = tmp_path_factory.mktemp("first") / "with spaces $HOME {a}"
    inputs = write_dataset(root, drawn_pictures)
    chosen = params(tiny_base)
    base, settled = local_base(chosen.base, root / "work"), chosen.settled(len(drawn_pictures))
    workdir = root / "work" / "hana" / "directory"
    facts = lineage("checkpoints", "hana", chosen.plain(), [inputs.content], lineage_params(chosen, base))
    config = hcp_config("hana", settled, base)
    with environment(HF_TOKEN="hf_canary", AWS_SECRET="canary"), locked(workdir) as lock:
        prepare(workdir, Path(inputs.dataset), OUTFITS, settled, base)
        run_trainer(TrainerRun(workdir, config, base, 1, root / "log.txt", lock))
    checkpoints = Export("hana", settled, base, workdir, config, facts.version).write(root / "checkpoints")
    return Trained(root, workdir, root / "checkpoints", checkpoints)
