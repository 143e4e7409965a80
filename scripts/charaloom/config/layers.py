"""The config in layers, later ones over earlier ones key by key.

config/config.yaml beside the code, config/config.yaml of the working directory, --configfile (where none is given,
my/config.yaml), --config; for one character on top of these characters/<name>.yaml beside the roster. Relative paths
start at the working directory and stay as written, so that no path of a machine reaches a lineage.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from charaloom.artifacts.types import PathLike
from charaloom.config.schemas import CODE, Config, as_meant, read_yaml
from charaloom.errors import CharaloomError

DEFAULTS = CODE / "config" / "config.yaml"
CONFIG_NAME = Path("config/config.yaml")
OWN_CONFIG = Path("my/config.yaml")  # of the user, which git does not track


def merged(below: Config, above: Config) -> Config:
    """`above` over `below`: mappings key by key, everything else whole. Neither is changed."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def config_files(overlays: Iterable[PathLike] = ()) -> list[Path]:
    """The config files in the order they apply: beside the code, of the working directory, then `overlays`, or without
    any the user's own."""
    local = [CONFIG_NAME] if CONFIG_NAME.exists() and not CONFIG_NAME.samefile(DEFAULTS) else []
    above = list(map(Path, overlays)) or [path for path in (OWN_CONFIG,) if path.exists()]
    return [DEFAULTS, *local, *above]


def read_config(files: Sequence[PathLike]) -> Config:
    """Merge config files; unchecked."""
    config: Config = {}
    for path in files:
        layer = read_yaml(path)
        if not isinstance(layer, dict):
            raise CharaloomError(f"{path}: holds no keys; write `key: value` lines as in config/config.yaml")
        config = merged(config, layer)
    return config


def own_file(config: Config, character: str) -> Path:
    """Where a character's own config may lie: characters/<name>.yaml, beside the roster."""
    return Path(config["roster"]).parent / "characters" / f"{character}.yaml"


def character_config(config: Config, character: str) -> Config:
    """The config of one character, its own file over all others; unchecked."""
    path = own_file(config, character)
    return merged(config, as_meant(read_yaml(path), "character")) if path.is_file() else config


def warm_seconds(config: Config, character: str) -> float:
    """How long a warm trainer waits for the next character. Read by the job itself: it changes no byte, so a param of
    the rule, which Snakemake compares, would train anew for nothing."""
    return character_config(config, character)["training"]["warm_seconds"]
