"""CCIP's learned distance between stored embeddings: no picture is needed, only the metric model of the hub cache."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.types import PathLike
from charaloom.vision.models import hub_file, open_session

if TYPE_CHECKING:
    import numpy as np

METRIC = ("deepghs/ccip_onnx", "ccip-caformer-24-randaug-pruned/model_metrics.onnx")
TILE = 512


class CcipMetric:
    """The metric model of the hub cache `hub`; importing imgutils for it would cost seconds and half a gigabyte."""

    def __init__(self, hub: PathLike):
        self.session = open_session(hub_file(Path(hub), *METRIC))

    def differences(self, ones: "np.ndarray", others: "np.ndarray") -> "np.ndarray":
        """Distances [n, m] between embeddings [n, 768] and [m, 768], as imgutils' ccip_batch_differences.

        The model takes one list and gives all pairs; asked tile by tile it needs memory for one tile only.
        """
        import numpy as np

        result = np.empty((len(ones), len(others)), dtype=np.float32)
        for top in range(0, len(ones), TILE):
            upper = ones[top : top + TILE]
            for left in range(0, len(others), TILE):
                beside = others[left : left + TILE]
                given = np.concatenate([upper, beside]).astype(np.float32, copy=False)
                (pairs,) = self.session.run(["output"], {"input": given})
                result[top : top + TILE, left : left + TILE] = pairs[: len(upper), len(upper) :]
        return result
