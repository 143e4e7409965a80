"""Every random number of a training is a function of (seed, purpose, step)."""

import random

import numpy as np
import torch

from charaloom.artifacts.seeds import derive_seed


def seed_all(seed: int, purpose: str, step: int = 0) -> None:
    """Seed every generator that hcpdiff uses."""
    number = derive_seed(seed, purpose, str(step))
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
