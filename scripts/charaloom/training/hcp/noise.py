"""Noise by the base model's own schedule, sampled once for a whole batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DDPMScheduler
from hcpdiff.diffusion.sampler import DDPMSigmaScheduler, VPSampler
from hcpdiff.diffusion.sampler.sigma_scheduler import SigmaScheduler
from hcpdiff.diffusion.sampler.timer import Timer
from rainbowneko.utils import add_dims
from torch import Tensor

from charaloom.config.families import EPSILON, V_PREDICTION

TARGETS = {EPSILON: "eps", V_PREDICTION: "velocity"}  # what a UNet predicts, by hcpdiff's names

Noised = tuple[Tensor, Tensor, Tensor]  # noisy latents, noise, times


class WholeTimesteps(Timer):
    """Times k/n for whole k: the ones a discrete-time model was trained on."""

    def __init__(self, number: int):
        self.number = number

    def sample(self, shape: tuple[int, ...] = (1,)) -> Tensor:
        return torch.randint(0, self.number, shape) / self.number


class NoiseSchedule(DDPMSigmaScheduler):
    """The base model's own noise schedule, read from its `scheduler/`.

    `zero_snr`: rescaled, so that the last timestep is pure noise (Lin et al. 2023, arXiv:2305.08891, algorithm 1).

    `DDPMSigmaScheduler(t_shifter=x)` sets the shifter to nothing where one is given, and all loaders of hcpdiff 2.6
    give one: alpha(t) becomes sqrt(t) and sigma(t) sqrt(1 - t), noise runs backwards. The stock shifter also indexes a
    table on the CPU with times on the GPU.
    """

    def __init__(self, base: str, zero_snr: bool = False):
        schedule = DDPMScheduler.from_pretrained(base, subfolder="scheduler", rescale_betas_zero_snr=zero_snr)
        self.number = schedule.config.num_train_timesteps
        self.alphas_cumprod = schedule.alphas_cumprod
        SigmaScheduler.__init__(self, timer=WholeTimesteps(self.number))
        self.pred_type = "eps"

    def shift(self, t: Tensor, **states: Any) -> Tensor:
        steps = (t * self.number).round().long().clip(0, self.number - 1)
        return self.alphas_cumprod.to(t.device)[steps]

    def c_noise(self, t: Tensor) -> Tensor:
        return (t * self.number).round()


class Sampler(VPSampler):
    """What the UNet of a base predicts and is compared with: noise, or v = alpha noise - sigma picture (Salimans & Ho
    2022, arXiv:2202.00512, appendix D). Uses the noise it is given, where there is some: the parts of a batch share the
    batch's noise.

    The stock sampler multiplies alpha and sigma [batch] by latents [batch, channels, height, width], which fails or, in
    a batch as large as latents are wide, weighs columns; and it raises the picture where that is the target.
    """

    def __init__(self, schedule: NoiseSchedule, prediction: str = EPSILON):
        super().__init__(schedule, pred_type=TARGETS[prediction], target_type=TARGETS[prediction])
        self.noised: Noised | None = None

    def get_target(
        self, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor | None = None, target_type: str | None = None
    ) -> Tensor:
        if (target_type or self.target_type) == "x0":
            return x_0
        return super().get_target(x_0, x_t, add_dims(t, x_0.ndim - 1), eps, target_type)

    def pred_for_target(
        self, pred: Tensor, x_t: Tensor, t: Tensor, eps: Tensor | None = None, target_type: str | None = None
    ) -> Tensor:
        return super().pred_for_target(pred, x_t, add_dims(t, pred.ndim - 1), eps, target_type)

    @contextmanager
    def given(self, noised: Noised) -> Iterator[None]:
        """Inside, `add_noise_rand_t` gives back `noised`."""
        self.noised = noised
        try:
            yield
        finally:
            self.noised = None

    def add_noise_rand_t(self, x: Tensor, **states: Any) -> Noised:
        return self.noised or super().add_noise_rand_t(x, **states)
