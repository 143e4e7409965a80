"""`charaloom demo`: the product on a world of its own, drawn and served on this machine."""

from charaloom.cli.run import run
from charaloom.demo.commands.world import prepare


def demo(seed: int | None) -> int:
    """Draw the world of a seed where it is absent, build its characters, say where to look."""
    world = prepare(seed)
    code = run(world.snakemake(), world.serving)
    if code == 0:
        print(f"\nLook at {world.results}/<character>/report.html, model/ and dataset/; `make score` judges them.")
    return code
