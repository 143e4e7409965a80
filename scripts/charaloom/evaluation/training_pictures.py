"""Which training picture a preview repeats, by the same test as for duplicates on boards."""

from typing import TYPE_CHECKING

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.types import PathLike, Row
from charaloom.curation.views import read_vectors
from charaloom.images.fingerprints import thumbnail
from charaloom.images.overlay import NEIGHBOURS, fitted, read_thumbnails
from charaloom.outfits.features import unit
from charaloom.vision.model_set import ModelInput

if TYPE_CHECKING:
    import numpy as np


class TrainingPictures:
    """Thumbnails and tagger embeddings of the whole pictures of the training split."""

    def __init__(self, measured: PathLike, views: list[Row]):
        import numpy as np

        trained = {row["picture"]: row["view"] for row in views if row["split"] == "train" and row["kind"] == "picture"}
        wholes = {view: view for view in trained.values()}
        vectors = read_vectors(measured, "tag_embedding", ["picture"])
        self.thumbnails = read_thumbnails(measured, wholes)
        self.names = sorted(name for name in self.thumbnails if name in vectors)
        self.table = unit(np.stack([vectors[name] for name in self.names])) if self.names else np.zeros((0, 1))

    def nearest(self, shown: ModelInput, embedding: "np.ndarray") -> tuple[float, str | None]:
        """Likeness (0 to 1) to the training picture that `shown` repeats most, and its view.

        Only the NEIGHBOURS by the tagger's `embedding` are laid over it. (0, None) without a training picture.
        """
        import numpy as np

        if not self.names:
            return 0.0, None
        grey = thumbnail(np.asarray(shown.image.convert("L")))
        cosine = (self.table @ (embedding / max(float(np.linalg.norm(embedding)), 1e-9))).round(4)
        order = sorted(range(len(self.names)), key=lambda k: (-cosine[k], self.names[k]))[:NEIGHBOURS]
        fits = [(rounded(max(fitted(self.thumbnails[self.names[k]], grey).score, 0.0)), self.names[k]) for k in order]
        return max(fits, key=lambda fit: (fit[0], fit[1]))
