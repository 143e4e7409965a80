"""One bit flipped in what a training keeps in `work`: it is found and made again, and the end is the same."""

import random
import shutil
from pathlib import Path

import pytest

from charaloom.artifacts.sealed import is_whole_folder, versions, whole_files
from charaloom.training.working_directory import trained as is_trained
from tests.unit.training.trainings import Pictures, Trained, digests_of, params, train_once, write_dataset

PLACES = 20
KEPT = {  # what is flipped, by what it is
    "state": "run/state.*.pt",
    "latents": "latents/pictures.*.safetensors",
    "a prepared picture": "inputs/pictures/000000.*",
    "captions": "inputs/pictures.json",
    "LoRA": "run/ckpts/lora_unet-3.safetensors",
    "embedding": "run/ckpts/*_emb-6.safetensors",
    "list of a checkpoint": "run/ckpts/3.json",
    "losses": "run/loss.*.tsv",
}


def flip(file: Path, generator: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[generator.randrange(len(data) - 1)] ^= 1 << generator.randrange(8)
    file.write_bytes(data)


@pytest.fixture(scope="module")
def short(tiny_base: Path, drawn_pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three steps, which a longer one goes on from."""
    root = tmp_path_factory.mktemp("short")
    train_once(root, write_dataset(root, drawn_pictures), params(tiny_base, steps=3))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("kind", KEPT)
def test_c10_every_flipped_bit_of_what_a_training_keeps_is_found(trained: Trained, tmp_path: Path, kind: str) -> None:
    """At 20 places of each file."""
    workdir, generator = tmp_path / "work", random.Random(kind)
    shutil.copytree(trained.workdir, workdir, symlinks=True)
    (file,) = workdir.glob(KEPT[kind])
    whole = file.read_bytes()
    for _ in range(PLACES):
        flip(file, generator)
        if kind in ("state", "latents"):
            stem, _, ending = file.name.partition(".")
            place = file.with_name(f"{stem}.{ending.rpartition('.')[2]}")
            assert versions(place) == [file]
            from charaloom.artifacts.sealed import whole_sealed

            assert whole_sealed(place) is None
        elif file.parts[len(workdir.parts)] == "inputs":
            assert not is_whole_folder(workdir / "inputs")
        else:
            assert not is_trained(workdir, params(Path("base")))
        file.write_bytes(whole)
    assert is_trained(workdir, params(Path("base")))
    assert all(whole_files(workdir / "run" / "ckpts" / f"{step}.json") for step in (3, 6))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KEPT)
def test_c10_what_a_training_keeps_is_made_again_where_it_is_damaged(
    trained: Trained, short: Path, tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path, kind: str
) -> None:
    """A training goes on from what a shorter one has kept, of which a bit has flipped: the same bytes as without."""
    shutil.copytree(short, tmp_path, dirs_exist_ok=True, symlinks=True)
    (workdir,) = tmp_path.glob("work/hana/checkpoints-*")
    pattern = KEPT[kind].replace("_emb-6", "_emb-3")
    (file,) = workdir.glob(pattern)
    flip(file, random.Random(kind))
    inputs = write_dataset(tmp_path / "again", drawn_pictures)
    assert train_once(tmp_path, inputs, params(tiny_base)) == digests_of(trained.folder)
    assert (tmp_path / "checkpoints" / "loss.tsv").read_text() == (trained.folder / "loss.tsv").read_text()
