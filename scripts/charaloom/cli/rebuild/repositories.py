"""The published dataset and model that are verified: of a hub, or the folder that a target of kind `folder` holds."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charaloom.artifacts.files import digest, read_json
from charaloom.artifacts.manifest import describe
from charaloom.artifacts.types import Row
from charaloom.config.params import HUB
from charaloom.errors import CharaloomError
from charaloom.publishing.hub.remote import MAIN, OF_THE_HUB, OUR_TAG
from charaloom.publishing.layout import LINEAGE, OUTFITS, REBUILD
from charaloom.publishing.published import version_tag
from charaloom.runtime.hub import fetch_repository, list_repository, repository_folder

NAMED = re.compile(r"(?P<repo>[^/@\s]+/[^/@\s]+)@(?P<revision>[^@\s]+)")
CHARACTER = re.compile(r"[a-z0-9][a-z0-9_]*")


@dataclass(frozen=True)
class Repository:
    """A published repository on this machine, and the revision that it is."""

    kind: str  # dataset, model
    name: str
    folder: Path
    revision: str | None = None

    @property
    def files(self) -> dict[str, Row]:
        """SHA-256 and size of each file by path."""
        found: dict[str, Row] = describe(self.folder)["files"]
        return {path: own for path, own in found.items() if path not in OF_THE_HUB}

    def whole(self) -> tuple[bool, str]:
        """Whether its files are those that its tag is made of, and a line on it."""
        files = self.files
        tag = version_tag(digest(files))
        told = f"{self.kind} {self.name}: {len(files)} files"
        if self.revision is None or not OUR_TAG.fullmatch(self.revision):
            return True, f"{told}, {tag}"
        if tag == self.revision:
            return True, f"{told}, as the tag {tag} says"
        return False, f"{told}, which are {tag} and not {self.revision}: they are not those that were published"


def opened(what: str, model: str | None, cache: Path) -> tuple[Repository, Repository]:
    """The dataset and the model that `what` names: `<namespace>/<name>@<tag>` of a dataset on a hub, or a folder that
    holds `dataset` and `model`. `model` names the model's repository where it is another one.

    Raises CharaloomError where they cannot be had, or do not belong together.
    """
    named = NAMED.fullmatch(what)
    if Path(what).is_dir():
        pair = tuple(Repository(kind, f"{what}/{kind}", Path(what) / kind) for kind in ("dataset", "model"))
        dataset, trained = pair[0], pair[1]
    elif named:
        other = model or named["repo"]
        name, _, revision = other.partition("@")
        dataset = fetched("dataset", named["repo"], named["revision"], cache)
        trained = fetched("model", name, revision or MAIN, cache)
    else:
        raise CharaloomError(
            f"{what}: neither a folder nor <namespace>/<name>@<tag> of a dataset on a hub; write it as in "
            "`charaloom verify me/hana@v-0123456789ab`"
        )
    for repository, file in ((dataset, REBUILD), (dataset, OUTFITS), (trained, LINEAGE)):
        if not (repository.folder / file).is_file():
            raise CharaloomError(f"{repository.kind} {repository.name}: has no {file}; Charaloom did not publish it so")
    if read_json(trained.folder / LINEAGE) != facts_of(dataset)["checkpoints"]:
        raise CharaloomError(
            f"model {trained.name}: was not trained as {REBUILD} of the dataset says; name the revision that was, "
            "`--model <namespace>/<name>@<tag>`"
        )
    return dataset, trained


def fetched(kind: str, name: str, revision: str, cache: Path) -> Repository:
    """A repository of the hub at one revision, below the cache."""
    hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    commit, sizes = list_repository(name, kind, revision, hub)
    files = dict.fromkeys(sorted(set(sizes) - OF_THE_HUB))
    fetch_repository({"repo": name, "repo_type": kind, "revision": commit, "files": files}, hub, cache)
    return Repository(kind, name, repository_folder(cache, name, kind) / "snapshots" / commit, revision)


def facts_of(dataset: Repository) -> Mapping[str, Any]:
    """What the dataset says of its model's training. Raises CharaloomError where it says nothing that can be used."""
    facts = read_json(dataset.folder / REBUILD)
    try:
        name = facts["roster"]["character"]
        usable = CHARACTER.fullmatch(name) and isinstance(facts["checkpoints"]["params"], dict)
    except (KeyError, TypeError):
        usable = None
    if not usable:
        raise CharaloomError(f"dataset {dataset.name}: its {REBUILD} is not as Charaloom writes it")
    return facts
