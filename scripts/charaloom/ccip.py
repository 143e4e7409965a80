"""CCIP's learned distance between stored embeddings: no picture is needed, only the metric model of the hub cache."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TILE = 512


def differences(ones: "np.ndarray", others: "np.ndarray") -> "np.ndarray":
    """Distances [n, m] between CCIP embeddings [n, 768] and [m, 768], inside `models.picture_models`.

    imgutils' metric takes one list and gives all pairs; asked tile by tile it needs memory for one tile only.
    """
    import numpy as np
    from imgutils.metrics import ccip_batch_differences

    result = np.empty((len(ones), len(others)), dtype=np.float32)
    for top in range(0, len(ones), TILE):
        upper = ones[top : top + TILE]
        for left in range(0, len(others), TILE):
            beside = others[left : left + TILE]
            pairs = ccip_batch_differences([*upper, *beside])
            result[top : top + TILE, left : left + TILE] = pairs[: len(upper), len(upper) :]
    return result
