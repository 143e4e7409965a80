"""`charaloom score`: the demo against its ground truth."""

from charaloom.commands.demo import prepare
from charaloom.commands.run import build, print_failures
from charaloom.config import load_project
from charaloom.files import write_json
from charaloom.scoring import score_tables, scored


def score(seed: int | None) -> int:
    """Build the demo of a seed as far as it is not built, print how good it is, write `score.json`."""
    world = prepare(seed)
    outcome = build(world.snakemake(), world.serving)
    print_failures(outcome)
    if outcome.code:
        return outcome.code
    project = load_project(world.overlays)
    found = scored(world.results, world.folder / "truth.json", list(project.characters))
    write_json(world.results / "score.json", found)
    print()
    print(score_tables(found))
    print(f"\n{world.results / 'score.json'}")
    return 0
