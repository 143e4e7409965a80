"""The demo world of a seed: its config files, its folders, its board."""

import contextlib
import os
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import canonical_json, read_json, sha256_file, write_json, write_text
from charaloom.cli.snakemake import Snakemake
from charaloom.config.layers import config_files, read_config
from charaloom.config.named_files import read_lock
from charaloom.config.schemas import CODE, Config, check
from charaloom.demo.world.serving import serving

EASY, HARD = "easy", "hard"  # values of demo.level
HARD_POSTS = 600  # of a character of a hard world
CONFIGS = [Path("config/small.yaml"), Path("config/demo.yaml")]


class World:
    """The demo world of one seed."""

    def __init__(self, overlays: list[Path]):
        files = config_files(overlays)
        config = read_config(files)
        check(config, "config", files)
        self.overlays = overlays
        self.settings: dict[str, Any] = config["demo"]
        self.results = Path(config["paths"]["results"])
        self.work = Path(config["paths"]["work"])
        self.folder = Path(config["roster"]).parent
        self.root: str = config["boards"]["demo"]["root"]

    def snakemake(self) -> Snakemake:
        return Snakemake(self.overlays, profile="demo", cores=2)

    def serving(self) -> contextlib.AbstractContextManager[None]:
        return serving(self.folder, self.root)

    def draw(self) -> None:
        """Draw the world unless the one there has these settings."""
        stamp = self.folder.with_name(f"{self.folder.name}.json")
        if (self.folder / "characters.tsv").is_file() and stamp.is_file() and read_json(stamp) == self.settings:
            return
        settings = {name: value for name, value in self.settings.items() if name != "level"}
        print(f"Drawing the demo world of seed {settings['seed']} in {self.folder}", flush=True)
        stamp.unlink(missing_ok=True)
        if self.settings["level"] == HARD:
            from charaloom.demo.hard.posts import build_hard_world

            build_hard_world(self.folder, **settings)
        else:
            from charaloom.demo.world.building import build_world

            build_world(self.folder, **settings)
        write_json(stamp, self.settings)


def prepare(seed: int | None, level: str = EASY, posts: int | None = None) -> World:
    """The drawn world of a seed. The demo runs in the folder of the code, where its models are."""
    os.chdir(CODE)
    world = World(hard_overlays(seed, posts) if level == HARD else overlays_of(seed))
    world.draw()
    return world


def overlays_of(seed: int | None) -> list[Path]:
    """Config files of the demo; a seed other than the config's gets folders of its own, named by a file in them."""
    config = read_config(config_files(CONFIGS))
    if seed is None or seed == config["demo"]["seed"]:
        return CONFIGS
    return [*CONFIGS, own_file(config, str(seed), {"demo": {"seed": seed}})]


def hard_overlays(seed: int | None, posts: int | None = None) -> list[Path]:
    """Config files of the hard world of a seed (None: the config's), and its picture models, in folders of their own.

    `posts` per character, HARD_POSTS if None.
    """
    config = read_config(config_files(CONFIGS))
    seed = config["demo"]["seed"] if seed is None else seed
    name = f"{HARD}-{seed}"
    models = Path(f"{config['paths']['work']}-{name}") / "models"
    lock = models.with_suffix(".yaml")
    write_hard_models(config, models, lock)
    own = {
        "demo": {"seed": seed, "level": HARD, "posts": posts or HARD_POSTS},
        "models": {"hub": str(models), "lock": str(lock)},
    }
    return [*CONFIGS, own_file(config, name, own)]


def write_hard_models(config: Config, folder: Path, lock: Path) -> None:
    """The demo's picture models with the hard level's tagger, written anew unless they are of the same code."""
    from charaloom.demo.hard import tagger

    stamp = folder.with_name("models.stamp.json")
    models = read_lock(config["models"]["lock"])
    source = [models, sha256_file(tagger.__file__)]
    if not (lock.is_file() and stamp.is_file() and read_json(stamp) == source):
        tagger.write_models(config["models"]["hub"], models, folder, lock)
        write_json(stamp, source)


def own_file(config: Config, name: str, more: dict[str, Any]) -> Path:
    """Write the config file of a world with folders of its own, which end in its name."""
    work = f"{config['paths']['work']}-{name}"
    targets = config["published"]["targets"]
    own = {
        **more,
        "paths": {"results": f"{config['paths']['results']}-{name}", "work": work},
        "roster": f"{work}/world/characters.tsv",
        "published": {"targets": {key: {"path": f"{target['path']}-{name}"} for key, target in targets.items()}},
    }
    path = Path(work) / "config.yaml"  # JSON is YAML
    write_text(path, canonical_json(own))
    return path
