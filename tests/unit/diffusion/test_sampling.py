"""Noise tables, schedules and samplers against formulas, against diffusers, and on known pictures."""

from dataclasses import replace
from math import exp, log, sqrt

import pytest
import torch

from charaloom.config.bases import DPM_2M, EULER, KARRAS, NORMAL
from charaloom.config.families import EPSILON, V_PREDICTION
from charaloom.config.params import PreviewBase
from charaloom.diffusion import sampling
from charaloom.errors import CharaloomError

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
MANNERS = PreviewBase(name="tiny", family="sd15", clip_skip=0, sampler=EULER, schedule=NORMAL, guidance=4.0)
TABLE, PURE = (sampling.noise_table(CONFIG, zero_snr) for zero_snr in (False, True))


class Linear:
    """A UNet that answers with its input times the first of its text states."""

    dtype = torch.float32

    def __init__(self):
        self.asked: list[tuple[torch.Tensor, int]] = []

    def __call__(self, latents, step, encoder_hidden_states, added_cond_kwargs):
        self.asked.append((latents, int(step)))
        answer = latents * encoder_hidden_states[:, 0, 0].reshape(-1, 1, 1, 1)
        return type("Output", (), {"sample": answer})()


def denoiser(manners: PreviewBase, table: torch.Tensor, states: tuple[float, float] = (0.4, 0.9)):
    heard = torch.tensor(states).reshape(2, 1, 1)
    return sampling.GuidedUnet(Linear(), table, manners, heard, None)


def test_the_table_begins_and_ends_as_other_programs_have_it():
    assert float(TABLE[0]) == pytest.approx(0.0292, abs=1e-4)  # k-diffusion's numbers for Stable Diffusion
    assert float(TABLE[-1]) == pytest.approx(14.6146, abs=1e-4)
    assert float(PURE[0]) == pytest.approx(float(TABLE[0]), rel=1e-4)
    assert float(PURE[-1]) == pytest.approx(sqrt(1 / 4.8973451890853435e-08 - 1), rel=1e-5)
    assert (PURE.diff() > 0).all()


def test_a_stretched_table_is_that_of_diffusers_but_for_its_end():
    from diffusers import DDPMScheduler

    alphas = DDPMScheduler(**CONFIG, rescale_betas_zero_snr=True).alphas_cumprod
    ours = 1 / (PURE**2 + 1)
    assert (ours - alphas).abs().max() < 1e-5


def test_other_noise_is_refused():
    with pytest.raises(CharaloomError, match="scaled_linear"):
        sampling.noise_table({**CONFIG, "beta_schedule": "squaredcos_cap_v2"}, False)


def test_karras_is_the_formula_of_the_paper():
    high, low = float(PURE[-1]), float(PURE[0])
    wanted = [(high ** (1 / 7) + k / 9 * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for k in range(10)]
    assert sampling.karras(PURE, 10).tolist() == pytest.approx(wanted, rel=1e-4)


def test_normal_interpolates_logarithms_of_sigma():
    sigmas = sampling.normal(TABLE, 11)
    assert (float(sigmas[0]), float(sigmas[-1])) == pytest.approx((float(TABLE[-1]), float(TABLE[0])))
    place = 999 * 0.9  # 899.1
    between = exp(0.9 * log(float(TABLE[899])) + 0.1 * log(float(TABLE[900])))
    assert place == pytest.approx(899.1)
    assert float(sigmas[1]) == pytest.approx(between, rel=1e-4)
    assert int(sampling.training_step(TABLE, sigmas[1])) == 899


@pytest.mark.parametrize(("prediction", "table"), [(EPSILON, TABLE), (V_PREDICTION, PURE)])
def test_one_step_of_euler_is_the_formula(prediction, table):
    """x' = x + (x - x0) / sigma * (sigma' - sigma), with x0 from the guided prediction."""
    manners = replace(MANNERS, prediction=prediction)
    model, noise = denoiser(manners, table), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    sigma, later = float(sampling.normal(table, 5)[1]), float(sampling.normal(table, 5)[2])
    latents = sigma * noise
    stepped = sampling.euler(model, latents, torch.tensor([sigma, later]))
    scaled = latents.double() / sqrt(sigma**2 + 1)
    output = 0.4 * scaled + 4.0 * (0.9 * scaled - 0.4 * scaled)
    alpha, spread = 1 / sqrt(sigma**2 + 1), sigma / sqrt(sigma**2 + 1)
    clean = alpha * scaled - spread * output if prediction == V_PREDICTION else (scaled - spread * output) / alpha
    wanted = latents.double() + (latents.double() - clean) / sigma * (later - sigma)
    assert ((stepped - wanted) / wanted.abs().clamp(min=1)).abs().max() <= 1e-4
    heard, step = model.unet.asked[0]
    assert (heard[:1] - scaled).abs().max() <= 1e-5
    assert step == 749


@pytest.mark.parametrize("sampler", [DPM_2M, EULER])
@pytest.mark.parametrize("schedule", [KARRAS, NORMAL])
@pytest.mark.parametrize("table", [TABLE, PURE], ids=["usual", "zero SNR"])
def test_a_perfect_denoiser_ends_at_its_picture(sampler, schedule, table):
    picture = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    manners = replace(MANNERS, sampler=sampler, schedule=schedule)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(sampling.sampled(lambda *_: picture, noise, table, manners, 12), picture, atol=1e-4)


def test_dpm_2m_is_that_of_diffusers():
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(**CONFIG, use_karras_sigmas=True)
    scheduler.set_timesteps(15)
    theirs = noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    steps = []
    for step in scheduler.timesteps:
        steps.append(int(step))
        theirs = scheduler.step((theirs * 0.3).tanh() * 2, step, theirs).prev_sample
    manners = replace(MANNERS, sampler=DPM_2M, schedule=KARRAS)

    def denoise(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert int(sampling.training_step(TABLE, sigma)) == steps.pop(0)
        return latents - sigma * ((latents / (sigma**2 + 1).sqrt() * 0.3).tanh() * 2)

    ours = sampling.sampled(denoise, noise, TABLE, manners, 15)
    assert (ours - theirs).abs().max() <= 1e-4


def test_rescaled_guidance_is_that_of_the_paper_on_velocities():
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    generator = torch.Generator().manual_seed(5)
    latents, theirs, ours = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(3))
    sigma = torch.tensor(3.0)
    clean = [sampling.without_velocity(latents, sigma, velocity) for velocity in (theirs, ours)]
    assert torch.allclose(sampling.velocity_of(latents, sigma, clean[0]), theirs, atol=1e-5)
    rescaled = rescale_noise_cfg(theirs + 5.0 * (ours - theirs), ours, guidance_rescale=0.7)
    wanted = sampling.without_velocity(latents, sigma, rescaled)
    assert torch.allclose(sampling.guided(latents, sigma, *clean, 5.0, 0.7), wanted, atol=1e-4)
    plain = sampling.guided(latents, sigma, *clean, 5.0, 0.0)
    assert torch.allclose(plain, clean[0] + 5.0 * (clean[1] - clean[0]), atol=1e-5)
