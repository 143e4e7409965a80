"""What the tests of training share: params with defaults, a dataset as the stage before writes it, one training."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charaloom.artifacts.files import sha256_file
from charaloom.artifacts.manifest import write_facet
from charaloom.artifacts.types import PathLike
from charaloom.config.params import Checkpoints
from charaloom.diffusion.bases import local_base
from charaloom.diffusion.lora import read_weights
from charaloom.training.checkpoints import TrainingInputs, train
from charaloom.training.inputs import prepare

STEPS = 6
TOLERANCE = 1e-4
WARM_SECONDS = 20.0  # longer than the pause between two trainings of the tests, and gone soon after them
SCRIPTS = Path(__file__).parents[3] / "scripts"
OUTFITS = {"trigger": "hana_charaloom", "outfits": [], "core": ["blue_hair", "${neko.eval:print(1)}"]}
PROMPTS = ["hana_emb, hana_charaloom, 1girl, blue hair", "hana_charaloom, red hair"]

Pictures = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Trained:
    """A training whose working directory is still there: `raw` holds what HCP itself wrote."""

    root: Path
    workdir: Path
    folder: Path
    checkpoints: list[dict[str, Any]]

    @property
    def raw(self) -> Path:
        return self.workdir / "run" / "ckpts"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"


def write_inputs(workdir: Path, dataset: PathLike, base: Path, least: int = 1, **other: Any) -> None:
    """What a trainer reads, in `workdir`/inputs; `other`: settings of the training."""
    chosen = params(base, **other).settled(2)
    prepare(workdir, Path(dataset), OUTFITS, chosen, local_base(chosen.base, workdir.parent / "work"), least)


def params(base: Path, family: str = "sd15", clip_skip: int = 1, **other: Any) -> Checkpoints:
    entry = {"name": "tiny", "path": str(base), "repo": None, "revision": None}
    values = {
        "base": {**entry, "family": family, "clip_skip": clip_skip, "licence": "mit"},
        "seed": 1,
        "trigger": "hana_charaloom",
        "version": 1,
        "recipe": "pivotal",
        "by_pictures": [{"from": 0, "rank": 2}, {"from": 8, "rank": 4}, {"from": 9, "rank": 8}],
        "steps": STEPS,
        "save_every": 3,
        "warmup": 0,
        "ema": 0.99,
        "min_snr": 5.0,
        "gradient_checkpointing": False,
        "optimizer": "adamw",
        "caption_tokens": 225,
        "masked_loss": False,
        "compile": False,
        "mode": "reproducible",
        "early_stopping": None,
        "regularisation": None,
        "regularisation_batch": 1,
        "regularisation_weight": 1.0,
        "batch": 2,
        "resolution": 64,
        "buckets": 3,
        "alpha": 2,
        "rate_unet": 0.01,
        "rate_text": 0.01,
        "rate_embedding": 0.1,
        "vectors": 3,
        "text_only": 0.5,
        "caption_dropout": 0.1,
        "tag_dropout": 0.0,
        "threads": 1,
        "precision": "fp32",
    }
    return Checkpoints.of({**values, **other})


def write_dataset(folder: Path, pictures: Pictures) -> TrainingInputs:
    """A dataset as the stage before writes it, the facet of what is trained on, and outfits.json."""
    rows = [
        {
            "image": {"bytes": content, "path": name},
            "caption": f"hana_charaloom, 1girl, pose {name[:3]}",
            "tags": ["1girl"],
            "repeats": 1,
        }
        for name, content in pictures
    ]
    (folder / "dataset" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "dataset" / "data" / "train-00000.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "dataset" / "data" / "held_out-00000.parquet")
    write_facet(folder / "dataset.training.json", [row["caption"] for row in rows], pictures=len(rows))
    (folder / "outfits.json").write_text(json.dumps(OUTFITS))
    return TrainingInputs(folder / "dataset", folder / "outfits.json", folder / "dataset.training.json")


def train_once(folder: Path, inputs: TrainingInputs, chosen: Checkpoints, **other: Any) -> dict[str, str]:
    """A training into `folder`/checkpoints with `folder`/work; the digests of its weights by file.

    By a warm process, which loads everything once for the tests in a row; what is compared with it was trained cold.
    """
    other = {"warm_seconds": WARM_SECONDS, **other}
    places = {"folder": folder / "checkpoints", "manifest": folder / "checkpoints.manifest.json"}
    train("hana", chosen, inputs, **places, work=folder / "work", log=folder / "log.txt", **other)
    return digests_of(folder / "checkpoints")


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of the weights in a folder, by file."""
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*.safetensors"))}


def tensors_equal(first: Path, second: Path) -> bool:
    """Whether two files hold the same tensors; the lineage in their headers differs with the number of steps."""
    ours, theirs = read_weights(first), read_weights(second)
    return ours.keys() == theirs.keys() and all((ours[key] == theirs[key]).all() for key in ours)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    yield
    os.environ.clear()
    os.environ.update(before)


def latents() -> Any:
    import torch

    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def caption_source(folder: Path, **other: Any) -> Any:
    """Captions of `folder`/captions.json as the trainer reads them."""
    from charaloom.training.hcp.data import CaptionSource

    (folder / "triggers.json").write_text('["hana_charaloom", "hana_red_kimono"]')
    (folder / "quality.json").write_text('{"prefix": "", "suffix": ""}')
    settings = {"triggers": str(folder / "triggers.json"), "quality": str(folder / "quality.json"), "word": "hana_emb"}
    settings |= {"text_only": 0.25, "dropout": 0.1, "tag_dropout": 0.0}
    return CaptionSource(str(folder), str(folder / "captions.json"), **{**settings, **other})
