"""The demo world of a seed: its config files, its folders, its board."""

import contextlib
import os
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import canonical_json, read_json, write_json, write_text
from charaloom.cli.snakemake import Snakemake
from charaloom.config.layers import config_files, read_config
from charaloom.config.schemas import CODE, check
from charaloom.demo.world.serving import serving

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
        from charaloom.demo.world.building import build_world

        print(f"Drawing the demo world of seed {self.settings['seed']} in {self.folder}", flush=True)
        stamp.unlink(missing_ok=True)
        build_world(self.folder, **self.settings)
        write_json(stamp, self.settings)


def prepare(seed: int | None) -> World:
    """The drawn world of a seed. The demo runs in the folder of the code, where its models are."""
    os.chdir(CODE)
    world = World(overlays_of(seed))
    world.draw()
    return world


def overlays_of(seed: int | None) -> list[Path]:
    """Config files of the demo; a seed other than the config's gets folders of its own, named by a file in them."""
    config = read_config(config_files(CONFIGS))
    if seed is None or seed == config["demo"]["seed"]:
        return CONFIGS
    work = f"{config['paths']['work']}-{seed}"
    own = {
        "demo": {"seed": seed},
        "paths": {"results": f"{config['paths']['results']}-{seed}", "work": work},
        "roster": f"{work}/world/characters.tsv",
        "published": {
            "targets": {
                name: {"path": f"{target['path']}-{seed}"} for name, target in config["published"]["targets"].items()
            }
        },
    }
    path = Path(work) / "config.yaml"  # JSON is YAML
    write_text(path, canonical_json(own))
    return [*CONFIGS, path]
