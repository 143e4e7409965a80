"""v-prediction: schedule, target, weights and steps by the formulas of the papers; a training, and what it computes."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from charaloom.diffusion.lora import read_metadata, read_weights
from tests.unit.training.trainings import PROMPTS, TOLERANCE, Pictures, latents, params, train_once, write_dataset

pytestmark = pytest.mark.slow

GAMMA = 5.0
TIMES = (0.02, 0.5, 0.9, 0.999)  # the last of 1000 timesteps is pure noise


def sampler_of(base: Path, prediction: str = "v_prediction", zero_snr: bool = True) -> Any:
    from charaloom.training.hcp.noise import NoiseSchedule, Sampler

    return Sampler(NoiseSchedule(str(base), zero_snr), prediction)


def rescaled(base: Path) -> np.ndarray:
    """Products of alpha, [1000], of a base's schedule by algorithm 1 of Lin et al. 2023, in double precision."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2  # scaled linear, as the tiny base says
    roots = np.sqrt(np.cumprod(1 - betas))
    first, last = roots[0], roots[-1]
    return ((roots - last) * first / (first - last)) ** 2


def known(base: Path, zero_snr: bool = True) -> dict[str, Any]:
    """Latents, noise and a guess of the UNet at TIMES, with alpha and sigma [4, 1, 1, 1] by the paper's algorithm."""
    import torch

    generator = torch.Generator().manual_seed(5)
    values = {name: torch.randn(4, 4, 8, 8, generator=generator) for name in ("latent", "noise", "guess")}
    steps = [round(time * 1000) for time in TIMES]
    alpha = torch.tensor(np.sqrt(rescaled(base)[steps]), dtype=torch.float32).view(-1, 1, 1, 1)
    sigma = (1 - alpha**2).sqrt()
    noisy = alpha * values["latent"] + sigma * values["noise"]
    return {**values, "alpha": alpha, "sigma": sigma, "noisy": noisy, "times": torch.tensor(TIMES)}


def test_zero_terminal_schedule(tiny_base: Path) -> None:
    import torch

    times = torch.arange(1000) / 1000
    plain, ours = (sampler_of(tiny_base, zero_snr=zero).sigma_scheduler for zero in (False, True))
    expected = rescaled(tiny_base)
    assert np.abs(ours.alpha(times).numpy() - np.sqrt(expected)).max() <= TOLERANCE
    assert np.abs(ours.sigma(times).numpy() - np.sqrt(1 - expected)).max() <= TOLERANCE
    assert float(ours.alpha(times)[-1]) == 0.0
    assert float(plain.alpha(times)[-1]) > 0.05
    assert abs(float(ours.alpha(times)[0] - plain.alpha(times)[0])) <= 1e-6


def test_mend_target_of_velocity(tiny_base: Path) -> None:
    import torch
    from hcpdiff.diffusion.sampler import VPSampler

    facts = known(tiny_base)
    expected = facts["alpha"] * facts["noise"] - facts["sigma"] * facts["latent"]
    ours = sampler_of(tiny_base)
    given = facts["latent"], facts["noisy"], facts["times"], facts["noise"]
    assert (ours.get_target(*given) - expected).abs().max() <= TOLERANCE
    assert torch.equal(ours.get_target(*given, target_type="x0"), facts["latent"])
    assert torch.equal(ours.get_target(*given, target_type="eps"), facts["noise"])
    stock = VPSampler(ours.sigma_scheduler, pred_type="velocity", target_type="velocity")
    with pytest.raises(RuntimeError, match="must match the size"):
        stock.get_target(*given)
    square = [value[..., :4] for value in given[:2]] + [given[2], given[3][..., :4]]
    wrong = stock.get_target(*square)
    assert (wrong - expected[..., :4]).abs().max() > 0.1, "four pictures of four columns: each column has its own time"
    with pytest.raises(TypeError, match="exceptions must derive"):
        stock.get_target(*given, target_type="x0")


def test_mend_loss_and_weights_of_velocity(tiny_base: Path) -> None:
    import torch
    from hcpdiff.loss import DiffusionLossContainer, MinSNRWeight

    from charaloom.training.hcp.loss import Weights

    facts, sampler = known(tiny_base), sampler_of(tiny_base)
    snr = (facts["alpha"] / facts["sigma"]) ** 2
    weight = snr.clip(max=GAMMA) / (snr + 1)
    target = facts["alpha"] * facts["noise"] - facts["sigma"] * facts["latent"]
    expected = (weight * (facts["guess"] - target) ** 2).mean()
    pred = {"model_pred": facts["guess"], "noise": facts["noise"], "timesteps": facts["times"], "x_0": facts["latent"]}
    pred |= {"x_t": facts["noisy"], "noise_sampler": sampler}
    error = torch.nn.MSELoss(reduction="none")
    assert abs(float(DiffusionLossContainer(Weights(error, gamma=GAMMA))(dict(pred), {}) - expected)) <= TOLERANCE
    ours = Weights(error, gamma=GAMMA).get_weight(pred, {})
    assert ours.shape == (4, 1, 1, 1)
    assert (ours - weight).abs().max() <= TOLERANCE
    assert float(ours[-1]) == 0.0, "pure noise weighs nothing"
    stock = MinSNRWeight(error, gamma=GAMMA).get_weight(pred, {})
    ratios = (stock / weight)[:-1].flatten()
    assert ratios.min() < 0.6 < 1.05 < ratios.max(), "stock weights are not even in proportion"
    # of the error of the picture itself, both kinds of UNet count the same
    noise = Weights(error, gamma=GAMMA).get_weight({**pred, "noise_sampler": sampler_of(tiny_base, "epsilon")}, {})
    assert (noise[:-1] * snr[:-1] - weight[:-1] * (snr[:-1] + 1)).abs().max() <= TOLERANCE
    assert float(noise[-1]) == 1.0


def test_one_step_of_denoising(tiny_base: Path) -> None:
    """From a velocity to picture and noise, and on to an earlier time: as diffusers' DDIM does it (without noise)."""
    import torch
    from diffusers import DDIMScheduler

    facts, sampler = known(tiny_base), sampler_of(tiny_base)
    settings = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    theirs = DDIMScheduler.from_pretrained(tiny_base, subfolder="scheduler", clip_sample=False, **settings)
    theirs.set_timesteps(10)
    given = facts["guess"], facts["noisy"], facts["times"]
    picture, noise = (sampler.pred_for_target(*given, target_type=target) for target in ("x0", "eps"))
    for row, time in enumerate(TIMES):
        step, earlier = round(time * 1000), round(time * 1000) - 100
        if earlier < 0:
            continue
        before = torch.tensor([earlier / 1000])
        ours = sampler.sigma_scheduler.alpha(before) * picture[row] + sampler.sigma_scheduler.sigma(before) * noise[row]
        expected = theirs.step(facts["guess"][row], step, facts["noisy"][row]).prev_sample
        assert (ours - expected).abs().max() <= TOLERANCE


# --- a training


def velocity(base: Path, **other: Any) -> Any:
    chosen = params(base, **other).plain()
    return type(params(base)).of({**chosen, "base": chosen["base"] | {"prediction": "v_prediction", "zero_snr": True}})


@pytest.fixture(scope="module")
def velocity_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as one that predicts v, by what its scheduler says."""
    folder = tmp_path_factory.mktemp("velocity_base") / "tiny"
    shutil.copytree(tiny_base, folder)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | said))
    return folder


@pytest.fixture(scope="module")
def trained_velocity(velocity_base: Path, drawn_pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("velocity")
    train_once(root, write_dataset(root, drawn_pictures), velocity(velocity_base))
    return root


def test_a_resumed_training_has_the_same_bytes(
    trained_velocity: Path, velocity_base: Path, drawn_pictures: Pictures, tmp_path: Path
) -> None:
    inputs = write_dataset(tmp_path, drawn_pictures)
    train_once(tmp_path, inputs, velocity(velocity_base, steps=3))
    train_once(tmp_path, inputs, velocity(velocity_base))
    assert "going on after step 3 of 6" in (tmp_path / "log.txt").read_text()
    for path in (trained_velocity / "checkpoints").iterdir():
        assert path.read_bytes() == (tmp_path / "checkpoints" / path.name).read_bytes(), path.name
    metadata = read_metadata(tmp_path / "checkpoints" / "step-000006.safetensors")
    assert (metadata["modelspec.prediction_type"], metadata["ss_zero_terminal_snr"]) == ("v", "True")


def test_it_learns_something_else_than_noise(trained_velocity: Path, trained: Any) -> None:
    name = "step-000006.safetensors"
    ours, theirs = (read_weights(folder / name) for folder in (trained_velocity / "checkpoints", trained.folder))
    assert any((ours[key] != theirs[key]).any() for key in ours if key.endswith("lora_up.weight"))


def test_diffusers_computes_what_hcp_trained(trained_velocity: Path, tiny_base: Path) -> None:
    """The velocity of HCP's own layers, and the latents after one step of Euler's method from it."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
    from hcpdiff.ckpt_manager import HCPLoraLoader
    from hcpdiff.easy import SD15_auto_loader
    from hcpdiff.models import SD15Wrapper, TEHookCFG
    from rainbowneko import _share

    _share.loggers = SimpleNamespace(info=print)
    (raw,) = trained_velocity.glob("work/hana/*/run/ckpts")
    wrapper = SD15Wrapper.from_pretrained(SD15_auto_loader(str(tiny_base)), TE_hook_cfg=TEHookCFG(clip_skip=1))
    wrapper.requires_grad_(False)
    for part in ("lora_unet", "lora_te"):
        HCPLoraLoader(path=str(raw / f"{part}-6.safetensors")).load_to(part, model=wrapper)
    wrapper.post_init()
    wrapper.eval()
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipe.load_lora_weights(trained_velocity / "checkpoints" / "step-000006.safetensors")
    settings = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    euler = EulerDiscreteScheduler.from_pretrained(tiny_base, subfolder="scheduler", **settings)
    euler.set_timesteps(4)
    time = euler.timesteps[1]
    tokens = wrapper.tokenizer(PROMPTS[1:], padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        text = wrapper.forward_TE(tokens, None)
        ours = wrapper.forward_denoiser(latents()[:1], tokens, text, time)
        theirs = pipe.unet(latents()[:1], time, pipe.encode_prompt(PROMPTS[1:], "cpu", 1, False, clip_skip=1)[0]).sample
    assert (ours - theirs).abs().max() <= TOLERANCE
    sigma, following = euler.sigmas[1], euler.sigmas[2]
    noisy = latents()[:1] * (sigma**2 + 1).sqrt()  # what Euler's method calls the latents of this time
    alpha = 1 / (sigma**2 + 1).sqrt()
    picture = alpha * latents()[:1] - (1 - alpha**2).sqrt() * ours  # of the trained model's velocity, by the paper
    expected = noisy + (noisy - picture) / sigma * (following - sigma)
    euler.is_scale_input_called = True
    assert (euler.step(theirs, time, noisy).prev_sample - expected).abs().max() <= TOLERANCE * float(noisy.abs().max())
