"""Early stopping: each new checkpoint gets its score from the previews of the first round."""

from collections.abc import Callable

from charaloom.artifacts.types import PathLike
from charaloom.config.params import Previews
from charaloom.diffusion.checkpoints import Checkpoint
from charaloom.evaluation.previews import Sources, local_bases, open_renderer
from charaloom.evaluation.prompts import read_prompts
from charaloom.evaluation.rounds import part_of
from charaloom.evaluation.scores import numbers


def first_round_judge(
    character: str, params: Previews, sources: Sources, work: PathLike
) -> Callable[[Checkpoint], float]:
    """A function that scores one checkpoint by the first round alone; the store keeps its pictures for the rounds."""

    def judge(checkpoint: Checkpoint) -> float:
        prompts = read_prompts(sources.outfits, character, params)
        first = prompts[: part_of(prompts, params.selection.first)]
        local = local_bases(params, work, most=1)
        with open_renderer(character, params, sources, local, work) as renderer:
            batches = renderer.batches(renderer.params.bases[0], checkpoint, first, 1)
            renderer.render(batches)
            rows = [row for batch in batches for row in renderer.rows(batch)]
            return numbers(rows, params.selection, renderer.judge.threshold)["score"] or 0.0

    return judge
