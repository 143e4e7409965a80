"""`charaloom demo`: the product on a world of its own, drawn and served on this machine."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from charaloom.artifacts.files import canonical_json, read_json, write_json, write_text
from charaloom.cli.run import run
from charaloom.cli.snakemake import Snakemake, environment
from charaloom.config.layers import config_files, read_config
from charaloom.config.schemas import CODE, check
from charaloom.errors import CharaloomError

CONFIG = Path("config/demo.yaml")
SECONDS_TO_ANSWER = 20.0


def demo(seed: int | None) -> int:
    """Draw the world of a seed where it is absent, build its characters, say where to look."""
    world = prepare(seed)
    code = run(world.snakemake(), world.serving)
    if code == 0:
        print(f"\nLook at {world.results}/<character>/report.html, model/ and dataset/; `make score` judges them.")
    return code


class World:
    """The demo world of one seed: its config files, its folders, its board."""

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
        return board(self.folder, self.root)

    def draw(self) -> None:
        """Draw the world unless it stands there as the config asks for it."""
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
    config = read_config(config_files([CONFIG]))
    if seed is None or seed == config["demo"]["seed"]:
        return [CONFIG]
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
    return [CONFIG, path]


@contextmanager
def board(folder: Path, root: str) -> Iterator[None]:
    """Serve a world at `root`, which must be an address of this machine, while the block runs."""
    place = urlsplit(root)
    port = place.port or 80
    if taken(port):
        raise CharaloomError(f"port {port} is in use; end the other demo, or change boards.demo.root in {CONFIG}")
    with tempfile.TemporaryDirectory(prefix="charaloom-board-") as scratch:
        ready, log = Path(scratch) / "ready", Path(scratch) / "log"
        command = [sys.executable, "-m", "charaloom.demo.world.board", "--world", str(folder), "--port", str(port)]
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--ready-file", str(ready)], stdout=output, stderr=subprocess.STDOUT, env=environment()
            )
        try:
            wait_for(ready, process, log)
            yield
        finally:
            process.terminate()
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a terminated process; one that does not go is killed."""
    try:
        process.wait(SECONDS_TO_ANSWER)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(ready: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + SECONDS_TO_ANSWER
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise CharaloomError(f"the demo board did not start: {log.read_text().strip() or 'it said nothing'}")
        time.sleep(0.05)
