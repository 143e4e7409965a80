"""Masked loss: what lies under a mask changes neither loss nor gradient; a mask follows its picture into latents."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.unit.training.trainings import (
    Pictures,
    Trained,
    params,
    tensors_equal,
    train_once,
    write_dataset,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_what_is_masked_does_not_count(tiny_base: Path, prediction: str) -> None:
    import torch
    from hcpdiff.loss import DiffusionLossContainer

    from charaloom.training.hcp.loss import MASK, Weights
    from charaloom.training.hcp.noise import NoiseSchedule, Sampler

    generator = torch.Generator().manual_seed(2)
    latent, noise, guess = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(3))
    guess.requires_grad_(True)
    mask = torch.ones(2, 8, 8)
    mask[0, 2:6, 2:8] = 0
    mask[0, 0, 0] = 0.5
    sampler, times = Sampler(NoiseSchedule(str(tiny_base)), prediction), torch.tensor([0.4, 0.7])
    loss = DiffusionLossContainer(Weights(torch.nn.MSELoss(reduction="none"), gamma=5.0))

    def computed(latent: Any, noise: Any, guess: Any, inputs: dict[str, Any]) -> Any:
        facts = {"x_0": latent, "x_t": latent, "noise": noise, "model_pred": guess, "timesteps": times}
        return loss({**facts, "noise_sampler": sampler}, inputs)

    value = computed(latent, noise, guess, {MASK: mask})
    (gradient,) = torch.autograd.grad(value, guess)
    assert (gradient[0, :, 2:6, 2:8] == 0).all()
    assert (gradient[0, :, 6:, :] != 0).all()
    other = [tensor.detach().clone() for tensor in (latent, noise, guess)]
    for tensor in other:
        tensor[0, :, 2:6, 2:8] += 100
    assert computed(*other, {MASK: mask}) == value
    # the mean of what is left, picture by picture
    target = sampler.get_target(latent, latent, times, noise)
    squares = (
        Weights(torch.nn.Identity(), gamma=5.0).of_time(
            {"noise_sampler": sampler, "timesteps": times, "model_pred": guess}
        )
        * (guess - target) ** 2
    )
    expected = ((squares * mask[:, None]).sum((1, 2, 3)) / (4 * mask.sum((1, 2)))).mean()
    assert torch.isclose(value, expected)
    assert torch.equal(computed(latent, noise, guess, {}), computed(latent, noise, guess, {MASK: torch.ones(2, 8, 8)}))
    assert computed(latent, noise, guess, {MASK: torch.zeros(2, 8, 8)}) == 0


def test_mend_masks_follow_their_picture(tmp_path: Path) -> None:
    """A picture that is black where it is masked, cropped at random, has its mask where it is black."""
    import random

    import torch
    from hcpdiff.data import LossMapHandler
    from rainbowneko.data import RatioBucket

    from charaloom.training.hcp.data import SizeHandler, cell_mask

    mask = Image.new("L", (300, 100), 255)
    mask.paste(0, (90, 20, 200, 80))
    mask.save(tmp_path / "a.png.png")
    shown = mask.convert("RGB")
    for seed in range(5):
        random.seed(seed)
        sample = SizeHandler().handle(shown, (64, 64))
        cells = cell_mask(tmp_path / "a.png.png", sample["coord"])
        assert cells.shape == (8, 8)
        seen = np.asarray(sample["image"].convert("L"), dtype=np.float32).reshape(8, 8, 8, 8).mean((1, 3)) / 255
        assert np.abs(cells.numpy() - seen).max() < 0.15, "up to how the edges were resampled"
        assert (cells.numpy()[seen == 0] == 0).all()
    assert torch.equal(cell_mask(tmp_path / "none.png", sample["coord"]), torch.ones(8, 8))
    with pytest.raises(TypeError, match="multiple values for keyword argument 'image'"):
        LossMapHandler(RatioBucket(64 * 64))({"loss_map": mask, "image_size": np.array([64, 64])})


def masked_dataset(folder: Path, pictures: Pictures, masks: bool) -> Any:
    """A dataset whose first picture has a masked half, and whose second one fades away, or none that has."""
    inputs = write_dataset(folder, pictures)
    shard = inputs.dataset / "data" / "train-00000.parquet"
    rows = [{**row, "masked": [], "opacity": None} for row in pq.read_table(shard).to_pylist()]
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(stream, "PNG")
    rows[0]["masked"], rows[1]["opacity"] = [{"kind": "head", "box": [0, 0, 32, 64]}], rows[1]["image"]
    table = pa.Table.from_pylist(rows)
    rows[0]["masked"] = rows[0]["masked"] if masks else []
    rows[1]["opacity"] = {"bytes": stream.getvalue(), "path": "a.png"} if masks else None
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), shard)
    return inputs


def test_a_training_with_masks(trained: Trained, tiny_base: Path, drawn_pictures: Pictures, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from charaloom.artifacts.sealed import whole_sealed
    from charaloom.training.hcp.data import cell_mask

    chosen, name = params(tiny_base, masked_loss=True), "step-000006.safetensors"
    for kind, masks in (("plain", False), ("masked", True)):
        (tmp_path / kind).mkdir()
        train_once(tmp_path / kind, masked_dataset(tmp_path / kind, drawn_pictures, masks), chosen)
        same = tensors_equal(tmp_path / kind / "checkpoints" / name, trained.folder / name)
        assert same != masks, "masks of nothing change nothing"
    (workdir,) = (tmp_path / "masked" / "work").glob("hana/*")
    assert sorted(path.name for path in (workdir / "inputs" / "masks").iterdir()) == [
        "000000.png.png",
        "000001.png.png",
    ]
    coords = load_file(str(whole_sealed(workdir / "latents" / "pictures.safetensors")))
    first, last = (
        cell_mask(workdir / "inputs" / "masks" / f"{picture}.png", coords[f"{picture}.coord"])
        for picture in ("000000.png", "000003.png")
    )
    assert first.tolist() == [[0.0] * 4 + [1.0] * 4] * 8
    assert set(last.flatten().tolist()) == {1.0}
