"""CCIP's learned distance between stored embeddings: only the metric model of the hub cache runs, on no picture."""

from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.types import PathLike
from charaloom.runtime.hub import hub_file
from charaloom.vision.models import open_session

if TYPE_CHECKING:
    import numpy as np

METRIC = ("deepghs/ccip_onnx", "ccip-caformer-24-randaug-pruned/model_metrics.onnx")
TILE = 512  # embeddings per side of one model call, set by hand: bounds the memory of a call


class CcipMetric:
    """The metric model of the hub cache `hub`, without imgutils, whose import costs seconds and half a gigabyte."""

    def __init__(self, hub: PathLike):
        self.session = open_session(hub_file(Path(hub), *METRIC))

    def differences(self, queries: "np.ndarray", references: "np.ndarray") -> "np.ndarray":
        """Distances [n, m] between embeddings [n, 768] and [m, 768], as imgutils' ccip_batch_differences.

        The model maps one list of embeddings to the distances of all its pairs; it runs on a tile of both at a time.
        """
        import numpy as np

        distances = np.empty((len(queries), len(references)), dtype=np.float32)
        for top in range(0, len(queries), TILE):
            rows = queries[top : top + TILE]
            for left in range(0, len(references), TILE):
                columns = references[left : left + TILE]
                batch = np.concatenate([rows, columns]).astype(np.float32, copy=False)
                (pairs,) = self.session.run(["output"], {"input": batch})
                distances[top : top + TILE, left : left + TILE] = pairs[: len(rows), len(rows) :]
        return distances
