"""`charaloom score`: the demo against its ground truth."""

import json
from pathlib import Path

from charaloom.commands.demo import World, prepare
from charaloom.commands.run import build, print_failures
from charaloom.config import DEFAULTS, Project, load_project, read_config, stage_params
from charaloom.errors import CharaloomError
from charaloom.files import read_json, write_json
from charaloom.filter_scores import FilterCounts, counted, decided_anew, figures, same_in_any_order, table_of
from charaloom.scoring import score_tables, scored

CYBERHAREM = Path("config/cyberharem.yaml")
ORDERS = 20


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


def score_curation(seeds: list[int]) -> int:
    """The filters alone, over the worlds of some seeds: build each up to them, print what they got right, beside what
    CyberHarem's chain makes of the same pictures."""
    ours, theirs, lines = FilterCounts(), FilterCounts(), []
    for seed in seeds:
        world = prepare(seed)
        own, other = score_world(world)
        ours, theirs = ours + own, theirs + other
        lines += [figures(f"seed {seed}", own), figures(f"seed {seed}, CyberHarem's chain", other)]
    lines += [figures("all", ours), figures("all, CyberHarem's chain", theirs)]
    print()
    print(table_of(lines))
    print(json.dumps(lines[-2:], ensure_ascii=False))
    return 0


def score_world(world: World) -> tuple[FilterCounts, FilterCounts]:
    build_filters(world)
    truth = read_json(world.folder / "truth.json")
    projects = load_project(world.overlays), load_project([*world.overlays, scaled(world)])
    ours, theirs = FilterCounts(), FilterCounts()
    hub = world.work / "hub"
    for name in projects[0].characters:
        folder = world.results / name
        own = counted(folder, name, truth)
        own.orders, own.same = ORDERS, same_in_any_order(folder, name, params_of(projects[0], name), hub, ORDERS)
        ours += own
        theirs += decided_anew(folder, name, params_of(projects[1], name), hub, truth)
    return ours, theirs


def build_filters(world: World) -> None:
    """Crawl, measure and decide where that is not done: nothing below is built."""
    targets = [world.results / name / "filtered.manifest.json" for name in load_project(world.overlays).characters]
    snakemake = world.snakemake()
    log = world.work / "logs" / "score.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with world.serving():
        running = snakemake.run([str(target) for target in targets], log)
        for done, steps in running:
            print(f"\r{world.results}: {done} of {steps} jobs", end="", flush=True)
    print()
    if running.code:
        raise CharaloomError("\n".join(["the filters of the demo world could not be built:", *running.tail]))


def params_of(project: Project, character: str) -> dict:
    return stage_params(project, character, "filtered")


def scaled(world: World) -> Path:
    """CyberHarem's config with its sizes in the demo's measure: what is 512 px for real pictures is 96 px there."""
    import yaml

    chain = yaml.safe_load(CYBERHAREM.read_text())
    real = read_config([DEFAULTS])["filtered"]["short_side"]["picture"]
    factor = load_project(world.overlays).config["filtered"]["short_side"]["picture"] / real
    chain["filtered"]["short_side"] = {k: round(v * factor) for k, v in chain["filtered"]["short_side"].items()}
    chain["filtered"]["area"] = {k: round(v * factor**2) for k, v in chain["filtered"]["area"].items()}
    path = world.work / "cyberharem.yaml"
    write_json(path, chain)
    return path
