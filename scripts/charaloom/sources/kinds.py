"""The kinds of sources: what opens each, and where its store is."""

from collections.abc import Callable
from pathlib import Path

from charaloom.artifacts.files import digest
from charaloom.config.params import Origin, Raw
from charaloom.config.roster import BOARD, FOLDER
from charaloom.sources.boards.source import BoardSource
from charaloom.sources.folders.reader import FolderSource
from charaloom.sources.local.archive import ArchiveSource
from charaloom.sources.local.dataset import DatasetSource
from charaloom.sources.local.video import VideoSource
from charaloom.sources.posts import Rules
from charaloom.sources.source import Source


def source_of(
    params: Raw,
    origin: Origin,
    rules: Rules,
    folder: Path,
    hosts: Path,
    contact: str,
    progress: Callable[[int, int], None],
) -> Source:
    """A source, opened. `folder`: its store; `hosts`: the pace per host; `contact`: what the User-Agent names."""
    if origin.kind == BOARD:
        most = params.limit if origin.quota is None else min(params.limit, origin.quota)
        pool = params.pool if any(params.sampling.values()) else 1
        return BoardSource(origin, most * pool, rules, folder, hosts, contact, progress)
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
    key: dict[str, str | None] = {"kind": origin.kind}
    if origin.kind == BOARD:
        key |= {"dialect": origin.dialect, "root": origin.root, "query": origin.query}
    elif origin.kind != FOLDER:
        key |= {"content": origin.content}
    return work / character / f"raw-{digest(key)[:16]}"
