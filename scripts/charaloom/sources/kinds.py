"""The kinds of sources: what opens each, and where its store is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from charaloom.artifacts.files import digest
from charaloom.config.params import Origin, Raw
from charaloom.config.roster import BOARD, DATASET, FOLDER, WAIFUC
from charaloom.config.schemas import Config
from charaloom.sources.boards.source import BoardSource
from charaloom.sources.folders.reader import FolderSource
from charaloom.sources.hub.repository import HubSource
from charaloom.sources.local.archive import ArchiveSource
from charaloom.sources.local.dataset import DatasetSource
from charaloom.sources.local.video import VideoSource
from charaloom.sources.posts import Rules
from charaloom.sources.sites import agent
from charaloom.sources.source import Source
from charaloom.sources.waifuc.source import WaifucSource


@dataclass(frozen=True)
class Machine:
    """What decides no picture: the folder `work`, what the User-Agent names as contact, the Python with waifuc."""

    work: Path
    contact: str = ""
    waifuc: str = ""

    @property
    def hosts(self) -> Path:
        """The folder of the pace per host, which all jobs of a machine share."""
        return self.work / "hosts"


def machine_of(config: Config) -> Machine:
    return Machine(Path(config["paths"]["work"]), config["contact"], config["waifuc"])


def source_of(
    params: Raw, origin: Origin, rules: Rules, folder: Path, machine: Machine, progress: Callable[[int, int], None]
) -> Source:
    """A source, opened. `folder`: its store."""
    most = params.limit if origin.quota is None else min(params.limit, origin.quota)
    if origin.kind == BOARD:
        pool = params.pool if any(params.sampling.values()) else 1
        return BoardSource(origin, most * pool, rules, folder, machine.hosts, machine.contact, progress)
    if origin.kind == WAIFUC:
        name = agent(machine.contact)
        return WaifucSource(origin, most, rules, folder, machine.hosts, machine.waifuc, name, progress)
    if origin.repo is not None:
        return HubSource(origin, rules, folder, machine.work / "hub", progress)
    assert origin.path is not None
    if origin.kind == FOLDER:
        return FolderSource(origin.path, rules, "the query, or the character's sources")
    if origin.kind == "archive":
        return ArchiveSource(origin.path, rules, folder)
    if origin.kind == "video":
        return VideoSource(origin.path, rules, folder)
    return DatasetSource(origin.path, rules, folder)


def store_of(work: Path, character: str, origin: Origin) -> Path:
    """The folder of a source's store. Its name holds what decides which files belong into it: not pace, limits or
    ratings, so that those may change."""
    decides = {
        BOARD: ("dialect", "root", "query", "mirror"),
        WAIFUC: ("waifuc",),
        DATASET: ("content", "repo", "revision", "files"),
        FOLDER: (),
    }
    key = {name: value for name in decides.get(origin.kind, ("content",)) if (value := getattr(origin, name))}
    return work / character / f"raw-{digest({'kind': origin.kind, **key})[:16]}"
