"""`charaloom score`: the demo against its ground truth."""

import json
from collections.abc import Callable
from functools import reduce
from operator import add
from pathlib import Path
from types import ModuleType
from typing import Any

from charaloom.artifacts.files import read_json, write_json
from charaloom.cli.run import build, print_failures
from charaloom.config.bases import preview_bases
from charaloom.config.params import Clustered, Filtered, Previews
from charaloom.config.project import load_project
from charaloom.config.stage_params import stage_params
from charaloom.demo.commands.world import HARD, World, prepare
from charaloom.demo.scores import filters as filter_scores
from charaloom.demo.scores import outfits as outfit_scores
from charaloom.demo.scores import previews as preview_scores
from charaloom.demo.scores.filters import FilterCounts
from charaloom.demo.scores.kinds import KindCounts, counted_kinds
from charaloom.demo.scores.outfits import OutfitCounts
from charaloom.demo.scores.stages import figures_table, score_tables, scored
from charaloom.errors import CharaloomError

CYBERHAREM = Path("config/cyberharem.yaml")
ORDERS = 20  # random orders of the same rows
REAL_SHORT_SIDE = 512  # pixels of a picture of today that `filtered.short_side` of the demo stands for; set by hand
WorldOf = Callable[[int | None], World]  # the drawn world of a seed
Comparison = Callable[[World], tuple[Any, Any]]  # counts of our config and of CyberHarem's in a world


def score(seed: int | None, world_of: WorldOf = prepare) -> int:
    """Build the demo of a seed as far as it is not built, print how good it is, write `score.json`."""
    world = world_of(seed)
    outcome = build(world.snakemake(), world.serving)
    print_failures(outcome)
    if outcome.code:
        return outcome.code
    project = load_project(world.overlays)
    scores = scored(world.results, world.folder / "truth.json", list(project.characters))
    if world.settings["level"] == HARD:
        scores["filter"]["by_kind"] = kinds_of_world(world).lines()
    write_json(world.results / "score.json", scores)
    print()
    print(score_tables(scores))
    if world.settings["level"] == HARD:
        print(f"\n{kinds_of_world(world).text()}")
    print(f"\n{world.results / 'score.json'}")
    return 0


def score_curation(seeds: list[int], world_of: WorldOf = prepare) -> int:
    """The filters alone, over the worlds of some seeds: build each up to them, print what they got right, beside what
    CyberHarem's chain makes of the same pictures."""
    return compare(seeds, "filtered", filter_scores, filters_of_world, world_of)


def score_outfits(seeds: list[int], world_of: WorldOf = prepare) -> int:
    """Tags and outfits alone, over the worlds of some seeds, beside what CyberHarem's clusters make of them."""
    return compare(seeds, "clustered", outfit_scores, outfits_of_world, world_of)


def score_previews(seeds: list[int], world_of: WorldOf = prepare) -> int:
    """The previews of the chosen checkpoints in the worlds of some seeds, by an independent classifier."""
    totals, lines = [], []
    for seed in seeds:
        world = world_of(seed)
        build_up_to("selection", world)
        project, truth = load_project(world.overlays), read_json(world.folder / "truth.json")
        bases = preview_bases(project.config)
        for name in project.characters:
            place, params = world.results / name, Previews.of(stage_params(project, name, "previews"))
            counts = preview_scores.counted(place, name, truth, params, place / "checkpoints", world.work)
            lines.append(preview_scores.figures(f"seed {seed}, {name}", counts, bases))
            totals.append(counts)
    lines.append(preview_scores.figures("all", reduce(add, totals), bases))
    print()
    print(figures_table(lines, preview_scores.columns(bases)))
    print(json.dumps(lines[-1], ensure_ascii=False))
    return 0


def compare(seeds: list[int], stage: str, scores: ModuleType, counts_of: Comparison, world_of: WorldOf) -> int:
    """Build some worlds up to a stage and print its figures beside those of CyberHarem's config; of hard worlds also
    what became of each kind of post."""
    pairs, lines, kinds = [], [], KindCounts()
    for seed in seeds:
        world = world_of(seed)
        hard = world.settings["level"] == HARD
        build_up_to("clustered" if hard else stage, world)  # captions say what became of cosplay
        ours, theirs = counts_of(world)
        kinds += kinds_of_world(world) if hard else KindCounts()
        pairs.append((ours, theirs))
        lines += [scores.figures(f"seed {seed}", ours), scores.figures(f"seed {seed}, CyberHarem's", theirs)]
    ours, theirs = (reduce(add, counts) for counts in zip(*pairs, strict=True))
    lines += [scores.figures("all", ours), scores.figures("all, CyberHarem's", theirs)]
    print()
    print(figures_table(lines, scores.COLUMNS))
    if kinds.total:
        print(f"\n{kinds.text()}\n")
    print(json.dumps(lines[-2:], ensure_ascii=False))
    return 0


def kinds_of_world(world: World) -> KindCounts:
    truth = read_json(world.folder / "truth.json")
    return reduce(
        add, (counted_kinds(world.results / name, name, truth) for name in load_project(world.overlays).characters)
    )


def filters_of_world(world: World) -> tuple[FilterCounts, FilterCounts]:
    truth = read_json(world.folder / "truth.json")
    project, rebuilt = load_project(world.overlays), load_project([*world.overlays, scaled(world)])
    ours, theirs = FilterCounts(), FilterCounts()
    hub = world.work / "hub"
    for name in project.characters:
        folder = world.results / name
        params = Filtered.of(stage_params(project, name, "filtered"))
        counts = filter_scores.counted(folder, name, truth)
        if world.settings["level"] == HARD:
            counts.kinds = counted_kinds(folder, name, truth)
        counts.orders, counts.same = ORDERS, filter_scores.same_in_any_order(folder, name, params, hub, ORDERS)
        ours += counts
        rules = Filtered.of(stage_params(rebuilt, name, "filtered"))
        theirs += filter_scores.by_cyberharem(folder, name, rules, hub, truth, ORDERS)
    return ours, theirs


def outfits_of_world(world: World) -> tuple[OutfitCounts, OutfitCounts]:
    truth, project, hub = read_json(world.folder / "truth.json"), load_project(world.overlays), world.work / "hub"
    ours, theirs = OutfitCounts(), OutfitCounts()
    for name in project.characters:
        folder, params = world.results / name, Clustered.of(stage_params(project, name, "clustered"))
        counts = outfit_scores.counted(folder, name, truth)
        outfit_scores.count_names(counts, folder, name, params, hub)
        ours += counts
        theirs += outfit_scores.by_cyberharem(folder, name, params, hub, truth)
    return ours, theirs


def build_up_to(stage: str, world: World) -> None:
    """Build what a stage needs and the stage, where that is not done: nothing below it is built."""
    targets = [world.results / name / f"{stage}.manifest.json" for name in load_project(world.overlays).characters]
    snakemake = world.snakemake()
    log = world.work / "logs" / "score.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with world.serving():
        running = snakemake.run([str(target) for target in targets], log)
        for _ in running:
            print(f"\r{world.results}: {running.finished.total()} jobs done", end="", flush=True)
    print()
    if running.code:
        raise CharaloomError("\n".join([f"`{stage}` of the demo world could not be built:", *running.tail]))


def scaled(world: World) -> Path:
    """CyberHarem's config with its sizes in the demo's measure: what is 512 px for real pictures is 96 px there."""
    import yaml

    chain = yaml.safe_load(CYBERHAREM.read_text())
    factor = load_project(world.overlays).config["filtered"]["short_side"]["picture"] / REAL_SHORT_SIDE
    chain["filtered"]["short_side"] = {k: round(v * factor) for k, v in chain["filtered"]["short_side"].items()}
    chain["filtered"]["area"] = {k: round(v * factor**2) for k, v in chain["filtered"]["area"].items()}
    path = world.work / "cyberharem.yaml"
    write_json(path, chain)
    return path
