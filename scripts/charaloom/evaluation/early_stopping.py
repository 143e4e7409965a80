"""Early stopping: each new checkpoint gets its score from the previews of the first round."""

from collections.abc import Callable

from charaloom.artifacts.types import PathLike
from charaloom.config.params import Previews
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.evaluation.previews import Sources, first_scores


def first_round_judge(
    character: str, params: Previews, sources: Sources, work: PathLike
) -> Callable[[Checkpoint], float]:
    """A function that renders and scores the first round of one checkpoint; the previews stage finds the pictures."""

    def judge(checkpoint: Checkpoint) -> float:
        return first_scores(character, params, [checkpoint], sources, work)[checkpoint.name]

    return judge
