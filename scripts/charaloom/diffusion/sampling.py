"""Samplers and noise schedules as ComfyUI computes them, so that its graph of a preview renders the same picture.

Noise is measured by sigma: `x = picture + sigma * noise` (Karras et al. 2022, arXiv:2206.00364). Read in
comfy/samplers.py, comfy/model_sampling.py, comfy/k_diffusion/sampling.py and comfy_extras/nodes_model_advanced.py of
ComfyUI 0.3. A1111 takes the same sigmas, but asks the UNet for steps between whole ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from charaloom.config.bases import DPM_2M, EULER, KARRAS, NORMAL
from charaloom.config.families import V_PREDICTION
from charaloom.config.params import PreviewBase
from charaloom.errors import CharaloomError

if TYPE_CHECKING:
    from torch import Tensor

RHO = 7.0  # of the schedule of Karras et al.
# alpha-bar of the last step of a schedule that ends in pure noise: A1111 and ComfyUI both have this number for zero.
LAST_ALPHA_BAR = 4.8973451890853435e-08
COMFY_NAMES = {DPM_2M: "dpmpp_2m", EULER: "euler", KARRAS: "karras", NORMAL: "normal"}

Denoise = Callable[["Tensor", "Tensor"], "Tensor"]  # noisy latents [n, 4, h, w] and their sigma: the latents without


# --- noise


def noise_table(config: Mapping[str, Any], zero_snr: bool) -> "Tensor":
    """Sigma of each training step, [steps], rising. `config` is that of the base's scheduler.

    With `zero_snr` the table is stretched until it ends in pure noise (Lin et al. 2023, arXiv:2305.08891, algorithm 1).
    Raises CharaloomError where the base was trained on noise that other programs do not know.
    """
    import torch

    if config.get("trained_betas") is not None or config["beta_schedule"] != "scaled_linear":
        raise CharaloomError("its noise schedule is not `scaled_linear`, the one that programs render with")
    start, end, steps = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, dim=0)
    sigmas = ((1 - alphas) / alphas).sqrt().float()
    return stretched(sigmas) if zero_snr else sigmas


def stretched(sigmas: "Tensor") -> "Tensor":
    """A noise table that ends in pure noise and begins as before."""
    roots = (1 / (sigmas**2 + 1)).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    alphas = ((roots - last) * (first / (first - last))) ** 2
    alphas[-1] = LAST_ALPHA_BAR
    return ((1 - alphas) / alphas).sqrt()


def training_step(table: "Tensor", sigma: "Tensor") -> "Tensor":
    """The training step whose sigma is nearest, by its logarithm."""
    return (sigma.log() - table.log()).abs().argmin()


def karras(table: "Tensor", steps: int) -> "Tensor":
    """Sigmas from the table's highest to its lowest, evenly spaced by their seventh roots."""
    import torch

    low, high = float(table[0]) ** (1 / RHO), float(table[-1]) ** (1 / RHO)
    return (high + torch.linspace(0, 1, steps) * (low - high)) ** RHO


def normal(table: "Tensor", steps: int) -> "Tensor":
    """Sigmas of evenly spaced training steps, between whole ones interpolated by their logarithm."""
    import torch

    places = torch.linspace(len(table) - 1, 0, steps)
    logs, below, share = table.log(), places.floor().long(), places.frac()
    return ((1 - share) * logs[below] + share * logs[places.ceil().long()]).exp()


SCHEDULES: dict[str, Callable[["Tensor", int], "Tensor"]] = {KARRAS: karras, NORMAL: normal}


# --- samplers


def euler(denoise: Denoise, latents: "Tensor", sigmas: "Tensor") -> "Tensor":
    """Euler's method."""
    for now, later in pairwise(sigmas):
        latents = latents + (latents - denoise(latents, now)) / now * (later - now)
    return latents


def dpm_2m(denoise: Denoise, latents: "Tensor", sigmas: "Tensor") -> "Tensor":
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095): the first step and the last one, which ends at sigma 0, are
    of first order."""
    before: Tensor | None = None
    times = -sigmas.log()
    for step, (now, later) in enumerate(pairwise(sigmas)):
        clean = denoise(latents, now)
        ahead = times[step + 1] - times[step]
        aim = clean
        if before is not None and later > 0:
            ratio = (times[step] - times[step - 1]) / ahead
            aim = (1 + 1 / (2 * ratio)) * clean - 1 / (2 * ratio) * before
        latents = later / now * latents - (-ahead).expm1() * aim
        before = clean
    return latents


SAMPLERS: dict[str, Callable[[Denoise, "Tensor", "Tensor"], "Tensor"]] = {DPM_2M: dpm_2m, EULER: euler}


def sampled(denoise: Denoise, noise: "Tensor", table: "Tensor", manners: PreviewBase, steps: int) -> "Tensor":
    """Latents without noise, from unit `noise` [n, 4, h, w], by the base's sampler and schedule."""
    import torch

    sigmas = torch.cat([SCHEDULES[manners.schedule](table, steps), torch.zeros(1)]).to(noise.device)
    return SAMPLERS[manners.sampler](denoise, noise * (1 + sigmas[0] ** 2).sqrt(), sigmas)


# --- the UNet


@dataclass(frozen=True)
class GuidedUnet:
    """A UNet that hears a negative and a positive prompt; it computes in its own number format, all else in fp32."""

    unet: Any
    table: "Tensor"  # sigma of each training step, on the UNet's device
    manners: PreviewBase
    states: "Tensor"  # [2n, tokens, width]: of the negative prompts, then of the positive ones
    added: Mapping[str, "Tensor"] | None  # of SDXL: pooled states and sizes

    def __call__(self, latents: "Tensor", sigma: "Tensor") -> "Tensor":
        """The latents [n, 4, h, w] without their noise."""
        both = self.predicted(latents.repeat(2, 1, 1, 1), sigma)
        negative, positive = both.chunk(2)
        return guided(latents, sigma, negative, positive, self.manners.guidance, self.manners.rescale)

    def predicted(self, latents: "Tensor", sigma: "Tensor") -> "Tensor":
        """What each prompt by itself makes of the latents [2n, 4, h, w]."""
        dtype = self.unet.dtype
        output = self.unet(
            (latents / (sigma**2 + 1).sqrt()).to(dtype),
            training_step(self.table, sigma),
            encoder_hidden_states=self.states.to(dtype),
            added_cond_kwargs=self.added,
        ).sample.float()
        if self.manners.prediction == V_PREDICTION:
            return without_velocity(latents, sigma, output)
        return latents - sigma * output


def without_velocity(latents: "Tensor", sigma: "Tensor", velocity: "Tensor") -> "Tensor":
    """Latents without noise, from a velocity (Salimans and Ho 2022, arXiv:2202.00512) of latents of variance 1."""
    return latents / (sigma**2 + 1) - velocity * sigma / (sigma**2 + 1).sqrt()


def velocity_of(latents: "Tensor", sigma: "Tensor", clean: "Tensor") -> "Tensor":
    """The inverse of `without_velocity`."""
    return (latents / (sigma**2 + 1) - clean) * (sigma**2 + 1).sqrt() / sigma


def guided(
    latents: "Tensor", sigma: "Tensor", negative: "Tensor", positive: "Tensor", guidance: float, rescale: float
) -> "Tensor":
    """Classifier-free guidance between latents without noise, [n, 4, h, w] each.

    `rescale` brings the velocity's spread so far back to that of the positive prompt (Lin et al. 2023, equations 15 and
    16); ComfyUI's RescaleCFG does so whatever the UNet predicts.
    """
    if not rescale:
        return negative + guidance * (positive - negative)
    ours, theirs = (velocity_of(latents, sigma, clean) for clean in (positive, negative))
    far = theirs + guidance * (ours - theirs)
    near = far * (ours.std((1, 2, 3), keepdim=True) / far.std((1, 2, 3), keepdim=True))
    return without_velocity(latents, sigma, rescale * near + (1 - rescale) * far)
