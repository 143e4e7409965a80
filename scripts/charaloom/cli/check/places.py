"""Places that a run reads and writes: can they be written, is there room, does Snakemake take their names."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from charaloom.cli.check.findings import Findings, said_of
from charaloom.config.project import Project
from charaloom.config.schemas import CODE
from charaloom.errors import CharaloomError

UNSAFE = re.compile(r"[{}<>\x00-\x1f\x7f]")  # in the path of the checkout: Snakemake reads braces as its own
GB = 1e9
# Bytes that a run wants free besides what it is known to write: logs, tables, pages. Set by hand.
SPARE = 0.2 * GB
CACHES = {"XDG_CACHE_HOME": "", "TRITON_HOME": "triton"}  # of Snakemake, the hub's client, compilers; below the cache


def check_code(code: Path = CODE) -> None:
    """The checkout's path must be one that Snakemake takes; blanks, quotes and parentheses are."""
    if UNSAFE.search(str(code)):
        raise CharaloomError(
            f"{str(code)!r}: Snakemake cannot run from a folder whose path has braces, angle brackets or control"
            " characters; move the checkout to another folder, and run `make setup` there"
        )


def check_place(key: str, place: Path, cure: str) -> None:
    """A file can be written in `place`, or in the folder where it will be made. `key` names it in the config."""
    folder = nearest(place)
    if not folder.is_dir():
        raise CharaloomError(f"{key}: {folder} is a file where a folder is needed; {cure}")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".charaloom-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
    except OSError as problem:
        raise CharaloomError(f"{key}: nothing can be written to {folder}: {problem.strerror}; {cure}") from None


def nearest(place: Path) -> Path:
    """The place, or the nearest folder above it that is there."""
    place = place.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    return place


def places_of(project: Project) -> Iterator[tuple[str, Path, str]]:
    """Everything that a run writes to: what names it, where it is, what to do if it cannot be written."""
    paths = project.config["paths"]
    yield "the working directory", Path.cwd(), "start where you may write: Snakemake keeps .snakemake/ there"
    for key in ("results", "work"):
        cure = f"make room or mend its rights, or name another folder in `paths.{key}`"
        yield f"paths.{key}", Path(paths[key]), cure
        for name in project.characters:
            own = Path(paths[key]) / name
            if own.is_dir() and not os.access(own, os.W_OK | os.X_OK):
                yield f"paths.{key}", own, f"give it to this user, as with `sudo chown -R $USER {paths[key]}`"
                break
    targets = project.config["published"]["targets"]
    for name, target in {name: own for name, own in targets.items() if own["kind"] == "folder"}.items():
        key = f"published.targets.{name}.path"
        yield key, Path(target["path"]), f"make room or mend its rights, or name another folder in `{key}`"


def check_room(project: Project, sure: Mapping[str, float], likely: Mapping[str, float], findings: Findings) -> None:
    """Compare the free space below the work folder with what a run writes: bytes by what they are for.

    `sure` must fit; with less than `sure` and `likely` together, the run may end early.
    """
    folder = nearest(Path(project.config["paths"]["work"]))
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    least = sum(sure.values()) + (SPARE if sure or likely else 0)
    most = least + sum(likely.values())
    what = ", ".join(f"{name} {size / GB:.1f}" for name, size in {**sure, **likely}.items() if size >= 0.05 * GB)
    said = f"paths.work: {free / GB:.1f} GB are free in {folder}, {{}} GB are needed{f' ({what})' if what else ''}; "
    said += "free some, or name a folder on a larger disk in `paths.work`"
    if free < least:
        findings.error(said.format(f"{least / GB:.1f}"))
    elif free < most:
        findings.warning(said.format(f"up to {most / GB:.1f}"))


def use_cache_below(work: Path) -> None:
    """Let this process and what it starts keep caches in the work folder where the home cannot be written."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    try:
        check_place("cache", home, "")
    except CharaloomError:
        for variable, folder in CACHES.items():
            os.environ[variable] = str((work / "cache" / folder).absolute())


def size_of(folder: Path, names: Iterable[Path]) -> float:
    """Bytes of files below a folder, as far as they can be looked at."""
    size = 0.0
    for name in names:
        with suppress(OSError):
            size += (folder / name).stat().st_size
    return size


def check_places(project: Project, findings: Findings) -> None:
    findings.run([check_code])
    for key, place, cure in places_of(project):
        try:
            check_place(key, place, cure)
        except CharaloomError as problem:
            findings.error(str(problem))
        except OSError as problem:
            findings.error(f"{key}: {said_of(problem)}")
