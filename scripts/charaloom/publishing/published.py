"""Stage `published`: the dataset and the model at one target, and a receipt of what lies there.

Idempotent by content: a target that already holds the same bytes is not touched, and the receipt is the same. It holds
what a target's place and a hub's clock do not change: no path, no address, no id of a commit. A weak
model is not published unless the config asks for it: its receipt says so, and the target stays as it is.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from charaloom.artifacts.files import digest, whole_folder
from charaloom.artifacts.manifest import describe, lineage, read_manifest, write_lineage
from charaloom.artifacts.sealed import SEALED_SCHEMA, write_sealed
from charaloom.artifacts.types import PathLike, Row
from charaloom.config.params import Published
from charaloom.errors import CharaloomError
from charaloom.publishing.gate import refuse_publication
from charaloom.publishing.hub.child import send_repositories
from charaloom.publishing.hub.forgetting import NO_REMOVALS
from charaloom.publishing.repos.rebuild import rebuildable

SCHEMA = SEALED_SCHEMA  # of a receipt
REMOVALS_DIGITS = 12  # of the digest of the removals, which commits on a hub name
NOT_PUBLISHED = (
    "the model is weak, so nothing was published, and what an earlier run published stays as it is; report.html says"
    " what to try. To publish it all the same, set `published.weak: true`."
)


Folders = Mapping[str, Path]  # of the dataset and of the model, by `dataset` and `model`


def to_folder(params: Published, character: str, folders: Folders) -> dict[str, Row]:
    """Copy each folder whole to `<path>/<character>/<name>`; the same bytes there stay untouched, times included."""
    assert params.target.path is not None
    copies = {name: copied(Path(params.target.path) / character / name, source) for name, source in folders.items()}
    return {name: {"folder": name, **entry(place)} for name, place in copies.items()}


def copied(place: Path, source: Path) -> Path:
    if place.is_dir() and describe(place) == describe(source):
        return place
    with whole_folder(place) as part:
        shutil.copytree(source, part, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return place


def to_hub(params: Published, character: str, folders: Folders) -> dict[str, Row]:
    """Bring each folder to its repository on a hub, in one commit where anything changed, under its tag."""
    entries = {name: {"repo": params.target.repository(name, character), **entry(at)} for name, at in folders.items()}
    places = {name: (own["repo"], folders[name], own["tag"]) for name, own in entries.items()}
    removals = (params.policy.removals if params.policy else None) or {}
    listed = {kind: sorted(names) for kind, names in removals.items() if names}
    send_repositories(
        params.target, params.private, digest(listed)[:REMOVALS_DIGITS] if listed else NO_REMOVALS, places
    )
    return entries


# By `kind` of a target: brings the folders there, returns the receipt's entry of each.
KINDS: dict[str, Callable[[Published, str, Folders], dict[str, Row]]] = {"folder": to_folder, "hub": to_hub}


def publish(
    character: str,
    params: Published,
    dataset: PathLike,
    dataset_manifest: PathLike,
    model: PathLike,
    model_manifest: PathLike,
    receipt: PathLike,
) -> None:
    """Bring both folders to the target, the dataset first, and write the receipt, named like the target.

    Of a weak model that the config does not ask for, the receipt holds only why it was withheld.

    Raises CharaloomError for a target of an unknown kind, where a folder is not what its manifest says, and where the
    gate refuses what lies in it.
    """
    target = params.target
    if target.kind not in KINDS:
        raise CharaloomError(
            f"published.targets.{Path(receipt).stem}.kind is {target.kind!r}; allowed: {', '.join(KINDS)}."
        )
    repositories = {"dataset": (Path(dataset), dataset_manifest), "model": (Path(model), model_manifest)}
    for name, (folder, manifest) in repositories.items():
        refuse_if_changed(name, folder, manifest)
    withheld = is_weak(model_manifest) and not params.weak
    if params.policy and not withheld:
        refuse_publication(character, params, Path(dataset), Path(model))
    plain = {key: value for key, value in params.plain().items() if key != "policy"}  # it decides, and adds nothing
    recorded = {**plain, "target": target.without_place()}
    upstream = [manifest for _, manifest in repositories.values()]
    facts = lineage("published", character, params.plain(), upstream, recorded)
    content = {"schema": SCHEMA, "target": {"name": Path(receipt).stem, "kind": target.kind}, "version": facts.version}
    if withheld:
        print(f"{character}: {NOT_PUBLISHED}", file=sys.stderr)
        content |= {"withheld": NOT_PUBLISHED}
    else:
        with rebuildable(Path(dataset), Path(model), params.roster or {}) as staged:
            folders = {"dataset": staged, "model": Path(model)}
            entries = KINDS[target.kind](params, character, folders)
        content |= {"tag": version_tag(facts.version), **entries}
    write_lineage(receipt, facts)
    write_sealed(receipt, content)


def is_weak(model_manifest: PathLike) -> bool:
    """Whether the stage `selection` found the model weak."""
    return bool(read_manifest(model_manifest)["counts"]["weak"])


def refuse_if_changed(name: str, folder: Path, manifest: PathLike) -> None:
    """Publish only what a stage made: a folder edited by hand would carry a version that is not its own."""
    described = describe(folder) if folder.is_dir() else None
    if described not in read_manifest(manifest)["outputs"].values():
        raise CharaloomError(
            f"{folder}: not what {manifest} says was made. Restore it, or remove that manifest so that the {name} "
            "stage makes it again."
        )


def entry(folder: Path) -> Row:
    """The receipt of one repository: what lies there."""
    files = describe(folder)["files"]
    version = digest(files)
    return {"digest": version, "files": files, "version": version, "tag": version_tag(version)}


def version_tag(version: str) -> str:
    """The short name of a version, as the revisions of a hub repository are tagged."""
    return f"v-{version[:12]}"
