"""Noise by the base model's own schedule, sampled once for a whole batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DDPMScheduler
from hcpdiff.diffusion.sampler import DDPMSigmaScheduler, VPSampler
from hcpdiff.diffusion.sampler.sigma_scheduler import SigmaScheduler
from hcpdiff.diffusion.sampler.timer import Timer
from torch import Tensor

Noised = tuple[Tensor, Tensor, Tensor]  # noisy latents, noise, times


class WholeTimesteps(Timer):
    """Times k/n for whole k: the ones a discrete-time model was trained on."""

    def __init__(self, number: int):
        self.number = number

    def sample(self, shape: tuple[int, ...] = (1,)) -> Tensor:
        return torch.randint(0, self.number, shape) / self.number


class NoiseSchedule(DDPMSigmaScheduler):
    """The base model's own noise schedule, read from its `scheduler/`.

    `DDPMSigmaScheduler(t_shifter=x)` sets the shifter to nothing where one is given, and all loaders of hcpdiff 2.6
    give one: alpha(t) becomes sqrt(t) and sigma(t) sqrt(1 - t), noise runs backwards. The stock shifter also indexes a
    table on the CPU with times on the GPU.
    """

    def __init__(self, base: str):
        schedule = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
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
    """A sampler that uses the noise it is given, where there is some: the parts of a batch share the batch's noise."""

    def __init__(self, schedule: NoiseSchedule):
        super().__init__(schedule)
        self.noised: Noised | None = None

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
