"""Ask the boards of a character again: what is new, changed and gone. Until then `raw` stays as it was crawled."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from charaloom.artifacts.locks import locked
from charaloom.artifacts.sealed import read_kept
from charaloom.config.params import Raw
from charaloom.config.project import Project
from charaloom.config.roster import BOARD, WAIFUC
from charaloom.config.stage_params import stage_params
from charaloom.errors import CharaloomError
from charaloom.runtime.progress import Progress
from charaloom.sources.boards.source import BoardSource
from charaloom.sources.kinds import machine_of, source_of, store_of
from charaloom.sources.posts import ListedPost, rules_of
from charaloom.sources.store import FAILURES
from charaloom.sources.waifuc.source import WaifucSource

LOOKED_AT = ("md5", "rating", "artists", "tags_general", "tags_character", "tags_copyright", "tags_meta")


@dataclass
class Changes:
    """Ids of posts. `beyond`: older ones for which newer ones left no room in `raw.limit`."""

    board: str
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone or self.beyond)

    def __str__(self) -> str:
        numbers = f"{len(self.new)} new, {len(self.changed)} changed, {len(self.gone)} gone"
        more = f", {len(self.beyond)} beyond raw.limit" if self.beyond else ""
        named = ", ".join(self.gone[:10]) + (" …" if len(self.gone) > 10 else "")
        return f"{self.board}: {numbers}{more}" + (f" (gone: {named})" if named else "")


def refresh(project: Project, character: str) -> list[Changes]:
    """List every board of a character anew; where something changed, the next run builds `raw` again."""
    if character not in project.characters:
        raise CharaloomError(f"{character}: is not in {project.config['roster']}")
    params = Raw.of(stage_params(project, character, "raw"))
    rules, machine = rules_of(params), machine_of(project.config)
    changes = []
    for origin in params.sources:
        if origin.kind not in (BOARD, WAIFUC):
            continue
        folder = store_of(machine.work, character, origin)
        progress = Progress(f"{character}: files from {origin.name or origin.kind}")
        with locked(folder / "lock", f"{folder}: waiting for another run that uses it"):
            source = source_of(params, origin, rules, folder, machine, progress)
            assert isinstance(source, BoardSource | WaifucSource)
            changes.append(asked_again(source, folder))
    if any(changes):
        results = Path(project.config["paths"]["results"]) / character
        (results / "raw.manifest.json").unlink(missing_ok=True)  # so that `raw` is due
    return changes


def asked_again(source: BoardSource | WaifucSource, folder: Path) -> Changes:
    """Ask a site anew and compare; the old list stays where it does not answer."""
    path = folder / source.kept_in
    before = {entry["post"]["post_id"]: entry for entry in read_kept(path).get("posts", ())}
    after = {entry.post["post_id"]: entry for entry in source.list_posts(anew=True)}
    with suppress(FileNotFoundError):
        (folder / FAILURES).unlink()
    missing = [post_id for post_id in before if post_id not in after]
    oldest = min((int(post_id) for post_id in after if post_id.isdigit()), default=0)
    beyond = [post_id for post_id in missing if post_id.isdigit() and int(post_id) < oldest and source.is_full]
    return Changes(
        source.name,
        new=[post_id for post_id in after if post_id not in before],
        changed=[
            post_id for post_id in after if post_id in before and differs(before[post_id]["post"], after[post_id])
        ],
        gone=[post_id for post_id in missing if post_id not in beyond],
        beyond=beyond,
    )


def differs(before: dict[str, object], after: ListedPost) -> bool:
    return any(before[key] != after.post[key] for key in LOOKED_AT)
