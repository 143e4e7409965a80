"""How much each picture, and each place of it, counts in the loss."""

from typing import Any

from hcpdiff.loss import MinSNRWeight
from rainbowneko.utils import add_dims
from torch import Tensor

MASK = "loss_mask"  # of a batch: [batch, height / 8, width / 8], the share of each cell that trains


class Weights(MinSNRWeight):
    """Min-SNR weights (Hang et al. 2023, arXiv:2303.09556), times the mask of a picture that has one.

    min(SNR, gamma) / SNR for noise, min(SNR, gamma) / (SNR + 1) for v: either way an error of the picture counts
    min(SNR, gamma), so that a recipe means the same for both. So pure noise, the last timestep of a zero-terminal
    schedule, weighs nothing for v, in the paper and in kohya's trainer as well; for noise it weighs 1.

    The stock weights of v are 0.5 to 1.75 times that (gamma 5).
    """

    def get_weight(self, pred: dict[str, Any], inputs: dict[str, Any]) -> Tensor:
        """[batch, 1, 1, 1], with masks [batch, 1, height / 8, width / 8]."""
        weight = self.of_time(pred)
        return weight * of_place(inputs[MASK]) if MASK in inputs else weight

    def of_time(self, pred: dict[str, Any]) -> Tensor:
        sampler, times = pred["noise_sampler"], pred["timesteps"]
        if sampler.target_type == "eps":
            return super().get_weight(pred, {})
        snr = (sampler.sigma_scheduler.alpha(times) / sampler.sigma_scheduler.sigma(times)) ** 2
        return add_dims((snr.clip(max=self.gamma) / (snr + 1)).float(), pred["model_pred"].ndim - 1)


def of_place(mask: Tensor) -> Tensor:
    """Weights [batch, 1, height, width] whose mean over each picture is 1: the loss is the mean over what trains.

    A picture that is masked as a whole weighs nothing.
    """
    share = mask.mean(dim=(1, 2), keepdim=True)
    return (mask / share.where(share > 0, 1.0)).unsqueeze(1)
