"""`charaloom verify`: the same character twice, in two places and with two numbers of cores, compared byte by byte."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

from charaloom.artifacts.files import canonical_json, files_below, sha256_file, write_text
from charaloom.cli.snakemake import Snakemake, environment
from charaloom.cli.text import table
from charaloom.config.schemas import CODE
from charaloom.demo.commands.world import CONFIGS, World, prepare
from charaloom.errors import CharaloomError

CORES = (1, 2)
PUBLISHED = "published"


def verify(seed: int | None) -> int:
    """Build the first demo character in two fresh folders with 1 and 2 cores; 0 where every artifact is equal."""
    world = prepare(seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="charaloom-verify-") as scratch:
        places = [Path(scratch) / f"cores-{cores}" for cores in CORES]
        with world.serving():
            for place, cores in zip(places, CORES, strict=True):
                set_up(place, world)
                build(place, cores)
        first, second = (digests(place) for place in places)
    names = sorted({*first, *second})
    different = [name for name in names if first.get(name) != second.get(name)]
    print(equality_table(names, set(different)))
    for name in different:
        print(f"different: {name}")
    print(
        json.dumps(
            {
                "files": len(names),
                "equal": len(names) - len(different),
                "different": different,
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    )
    return 1 if different or not names else 0


def set_up(place: Path, world: World) -> None:
    """A working directory that holds nothing but links to the demo's models, and a roster of one character."""
    place.mkdir()
    (place / "resources").symlink_to(CODE / "resources")
    header, first, *_ = (world.folder / "characters.tsv").read_text(encoding="utf-8").splitlines()
    write_text(place / "characters.tsv", f"{header}\n{first}\n")
    own = {
        "paths": {"results": "results", "work": "work"},
        "roster": "characters.tsv",
        "published": {"targets": {"folder": {"path": PUBLISHED}}},
    }
    write_text(place / "verify.yaml", canonical_json(own))


def build(place: Path, cores: int) -> None:
    """One plain Snakemake run of everything."""
    print(f"Building with --cores {cores} in {place}", flush=True)
    overlays = [*(CODE / path for path in CONFIGS), place / "verify.yaml"]
    command = Snakemake(overlays, profile="demo", cores=cores, folder=place).command(["all"])
    log = place / "snakemake.log"
    with log.open("w") as output:
        result = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment())
    if result.returncode:
        print("\n".join(log.read_text(errors="replace").splitlines()[-40:]))
        raise CharaloomError(f"the build with --cores {cores} failed; the end of its log is above")


def digests(place: Path) -> dict[str, str]:
    """SHA-256 by name of every artifact: all files below results and what was published. Logs lie below work."""
    return {
        f"{top}/{name}": sha256_file(place / top / name)
        for top in ("results", PUBLISHED)
        for name in files_below(place / top)
    }


def equality_table(names: list[str], different: set[str]) -> str:
    """One row per artifact: the folder or file below the character's results."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("/".join(Path(name).parts[:3]), []).append(name)
    rows = [
        {
            "artifact": group,
            "files": str(len(members)),
            "equal": str(sum(name not in different for name in members)),
            "": "" if different.isdisjoint(members) else "DIFFERENT",
        }
        for group, members in groups.items()
    ]
    return table(rows, ("artifact", "files", "equal", ""))
