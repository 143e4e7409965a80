"""What is due, by content and without Snakemake: manifests, lineages and today's params decide.

An artifact is due where a file of it is missing or not what its manifest lists, where its params are others today, or
where a file that it was made of has another content. What lies below something that is due may become due: that shows
when the former is done.

Reading the files of ten thousand characters takes minutes on a slow file system, so what they say is kept in
`work/due.json` under the sizes, times and inodes of a character's files, and only files that were touched after their
manifest are compared with it. Params are no part of it: they are compared anew, at microseconds a character.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from charaloom.artifacts.files import canonical_json, digest, read_json, sha256_bytes, sha256_file, write_text
from charaloom.artifacts.manifest import is_whole, lineage_file, output_file, read_lineage
from charaloom.artifacts.sealed import read_sealed
from charaloom.artifacts.types import Row
from charaloom.cli.facts import COPIED, REPOSITORIES, files_in, signature_of, stats
from charaloom.config.project import Project
from charaloom.config.roster import FOLDER, Character
from charaloom.config.schemas import Config
from charaloom.config.stage_params import models_params, publish_params, stage_params
from charaloom.config.stages import LOOKED_AT, STAGES
from charaloom.errors import DamagedError
from charaloom.images.files import pictures_digest
from charaloom.vision.models import MODELS, MODELS_VERSION, damaged_models

SCHEMA = 3
DIGITS = 16  # of a SHA-256, as `due.json` keeps it
STALE = "~"  # before the digest of params: a file that the artifact was made of has another content
PAGES = ("curation", "outfits")  # stages that no other reads; the receipts of `published` only the report reads
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, DamagedError)


@dataclass(frozen=True)
class Artifact:
    """What one job makes: its stage, its manifest or receipt, what a person would miss besides; below the character."""

    stage: str
    manifest: str
    pages: tuple[str, ...] = ()

    @property
    def lineage(self) -> str:
        return str(lineage_file(self.manifest))


def artifacts_of(project: Project) -> list[Artifact]:
    """The artifacts of one character, in the order of the stages."""
    targets = project.config["published"]["targets"]
    made = [Artifact(stage, f"{stage}.manifest.json", LOOKED_AT.get(stage, ())) for stage in STAGES]
    receipts = [Artifact("published", f"published/{target}.json") for target in targets]
    place = STAGES.index("published")
    return [*made[:place], *receipts, *made[place + 1 :]]


def below(first: str, second: str) -> bool:
    """Whether a stage may change what another one reads."""
    if first in PAGES or (first == "published" and second != "report"):
        return False
    return STAGES.index(first) < STAGES.index(second)


@dataclass(frozen=True)
class Plan:
    """What is due of one character: `now` whatever else happens, `later` certainly but not before something else."""

    now: tuple[Artifact, ...] = ()
    later: tuple[Artifact, ...] = ()


@dataclass
class Due:
    """What is due in a project, of the stages that are wanted."""

    project: Project
    wanted: Sequence[str] = STAGES
    records: dict[str, list[str]] = field(default_factory=dict)  # by character: signature, digests of params

    def __post_init__(self) -> None:
        self.artifacts = artifacts_of(self.project)
        names = [name for each in self.artifacts for name in (each.manifest, each.lineage, *each.pages)]
        self.deeper = [name for name in names if "/" in name]
        self.results, self.work = (Path(self.project.config["paths"][place]) for place in ("results", "work"))
        targets = self.project.config["published"]["targets"]
        self.targets = {target: Path(entry["path"]) for target, entry in targets.items() if entry["kind"] == "folder"}
        self.store = self.work / "due.json"
        kept = self.kept()
        self.records = kept["characters"]
        self.folders = Folders(kept["folders"], self.work)
        self.params = ParamDigests(self.project, self.artifacts, self.folders.digest)
        # Manifests by character, of artifacts that `look_closely` has found damaged: those not mended yet, and all.
        self.damaged: dict[str, set[str]] = {}
        self.seen_damaged: dict[str, set[str]] = {}

    def of(self, name: str, done: Collection[str] = ()) -> Plan:
        """What is due of a character; `done` are manifests that this run has made and that no longer count."""
        made, today = self.made(name), self.params.of(name)
        now, later, open_stages, uncertain = [], [], set[str](), set[str]()
        damaged = self.damaged.get(name, ())
        for artifact, before, now_digest in zip(self.artifacts, made, today, strict=True):
            stage = artifact.stage
            if stage not in self.wanted or artifact.manifest in done:
                continue
            certain = before.removeprefix(STALE) != now_digest or artifact.manifest in damaged
            above = {upper for upper in open_stages if below(upper, stage)}
            if above & uncertain or (above and not certain):
                uncertain.add(stage)
                if certain:
                    later.append(artifact)
            elif certain or before.startswith(STALE):
                now.append(artifact)
            else:
                continue
            open_stages.add(stage)
        return Plan(tuple(now), tuple(later))

    # --- what was made

    def made(self, name: str) -> list[str]:
        """For each artifact the digest of the params that it was made with; empty where a file of it is missing."""
        folder = self.results / name
        copies = [place / name / kind for place in self.targets.values() for kind in (*REPOSITORIES, *COPIED)]
        files = stats(folder, self.deeper, copies)
        if not files:
            self.records.pop(name, None)
            return [""] * len(self.artifacts)
        signature = signature_of(files)
        record = self.records.get(name)
        if record is None or record[0] != signature:
            record = self.records[name] = [signature, " ".join(self.read(folder, set(files)))]
        return record[1].split(" ")

    def read(self, folder: Path, files: set[str]) -> list[str]:
        lineages = [self.lineage(folder, artifact, files) for artifact in self.artifacts]
        digests: dict[str, str | None] = {MODELS: self.models}
        lost = set()  # stages of which a file is missing that another one was made of
        for lineage in lineages:
            for path in lineage["inputs"] if lineage else ():
                if path not in digests:
                    digests[path] = whole_sha256(folder / path)
                if digests[path] is None:
                    lost.add(stage_of(path))
        return [
            "" if lineage is None or artifact.stage in lost else made_with(lineage, digests)
            for artifact, lineage in zip(self.artifacts, lineages, strict=True)
        ]

    def lineage(self, folder: Path, artifact: Artifact, files: set[str]) -> Row | None:
        """Where an artifact came from; None where a file of it is missing or unreadable."""
        if not files.issuperset({artifact.manifest, artifact.lineage, *artifact.pages}):
            return None
        with suppress(*UNREADABLE):
            lineage = read_lineage(folder / artifact.lineage)
            if lineage and self.is_whole(folder, artifact):
                return {"params_digest": str(lineage["params_digest"]), "inputs": dict(lineage["inputs"])}
        return None

    def is_whole(self, folder: Path, artifact: Artifact, closely: bool = False) -> bool:
        """Whether every file that a manifest or a receipt lists is there as it was made. A file that was not touched
        after its manifest is read only where this looks `closely`."""
        manifest = folder / artifact.manifest
        content, since = read_sealed(manifest), None if closely else os.stat(manifest).st_ctime_ns
        if artifact.stage == "published":
            place = self.targets.get(manifest.stem)  # None: a hub, which is not asked here
            kinds = [kind for kind in REPOSITORIES if kind in content] if place else []
            return all(is_whole(place / folder.name / kind, content[kind], since) for kind in kinds if place)
        outputs = content.get("outputs", {}).items()
        return all(is_whole(output_file(manifest, name), output, since) for name, output in outputs)

    def look_closely(self, name: str) -> bool:
        """Read every file of a character; whether an artifact is damaged that was not found damaged before."""
        folder, found = self.results / name, set[str]()
        for artifact in self.artifacts:
            if (folder / artifact.manifest).is_file():
                whole = False
                with suppress(*UNREADABLE):
                    whole = self.is_whole(folder, artifact, closely=True)
                if not whole:
                    found.add(artifact.manifest)
        found |= {f"{stage_of(file.name)}.manifest.json" for file in folder.glob("*.*.json") if not whole_sha256(file)}
        seen = self.seen_damaged.setdefault(name, set())
        new = found - seen
        self.damaged[name] = found
        seen |= found
        return bool(new)

    def mended(self, name: str, manifests: Iterable[str]) -> None:
        """Artifacts of a character were to be made; what was not, or not whole, shows when it is read."""
        self.damaged.get(name, set()).difference_update(manifests)

    @cached_property
    def models(self) -> str | None:
        return whole_sha256(self.work / MODELS)

    def models_due(self) -> bool:
        """Whether the picture models must be fetched: missing, damaged, or others than those that are wanted."""
        with suppress(*UNREADABLE):
            lineage = read_lineage(self.work / "models.lineage.json")
            wanted = {**models_params(self.project), "version": MODELS_VERSION}
            made = lineage is not None and bool(lineage["params_digest"] == digest(wanted))
            return not made or next(damaged_models(self.work / MODELS, self.work / "hub"), None) is not None
        return True

    # --- what was read before

    def kept(self) -> dict[str, dict[str, list[str]]]:
        """Records of characters and of folders of pictures, as the last run left them."""
        kept: dict[str, dict[str, list[str]]] = {"characters": {}, "folders": {}}
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            content = read_json(self.store)
            if content["schema"] == SCHEMA:
                kept["folders"] = {path: record for path, record in content["folders"].items() if valid(record)}
            if content["schema"] == SCHEMA and content["read_for"] == self.read_for():
                kept["characters"] = {name: record for name, record in content["characters"].items() if valid(record)}
        return kept

    def read_for(self) -> Row:
        """What the records hold for: another list of artifacts, or other picture models, void them all."""
        return {
            "models": self.models,
            "artifacts": [[artifact.manifest, *artifact.pages] for artifact in self.artifacts],
        }

    def refresh_models(self) -> None:
        """Look at the picture models again: they were fetched."""
        before = self.models
        del self.models
        if self.models != before:
            self.records.clear()

    def keep(self) -> None:
        """Write what was read, for the next run."""
        content = {
            "schema": SCHEMA,
            "read_for": self.read_for(),
            "characters": {name: self.records[name] for name in self.project.characters if name in self.records},
            "folders": self.folders.used,
        }
        write_text(self.store, json.dumps(content, separators=(",", ":")))


class Folders:
    """Digests of folders of pictures, kept under the names, sizes, times and inodes of what lies in them."""

    def __init__(self, records: dict[str, list[str]], work: Path):
        self.records, self.work = records, work
        self.used: dict[str, list[str]] = {}

    def digest(self, folder: str) -> str:
        signature = signature_of(files_in(folder))
        record = self.records.get(folder)
        if record is None or record[0] != signature:
            record = [signature, pictures_digest(folder, self.work)]
        self.used[folder] = record
        return record[1]


def stage_of(file: str) -> str:
    """The stage that makes a file, by its name below the character's folder."""
    return re.split("[./]", file, maxsplit=1)[0]


def valid(record: object) -> bool:
    return isinstance(record, list) and len(record) == 2 and all(isinstance(part, str) for part in record)


def made_with(lineage: Row, digests: dict[str, str | None]) -> str:
    """The digest of the params that an artifact was made with, marked where it was made of other files."""
    fits = all(digests[path] == before for path, before in lineage["inputs"].items())
    return ("" if fits else STALE) + lineage["params_digest"][:DIGITS]


def whole_sha256(path: Path) -> str | None:
    """The SHA-256 of a manifest, facet or receipt; None where it is missing or damaged."""
    with suppress(OSError, DamagedError):
        read_sealed(path)
        return sha256_file(path)
    return None


# --- today's params

ANYBODY = Character("name-of-anybody", "", "query-of-anybody", "trigger-of-anybody", "")
Text = list[str | Callable[[Character], str]]  # of canonical JSON: what is the same for all, and what differs


class ParamDigests:
    """Digests of today's params of each artifact, as a lineage has them.

    Most characters have no config of their own: their params differ in name, query, trigger and folder alone, which are
    put into a text that is made once for each source and age.
    """

    def __init__(
        self, project: Project, artifacts: Sequence[Artifact], folder_digest: Callable[[str], str] = pictures_digest
    ):
        self.project, self.artifacts, self.folder_digest = project, artifacts, folder_digest
        self.texts: dict[tuple[str, str], list[Text | str]] = {}

    def of(self, name: str) -> list[str]:
        character = self.project.characters[name]
        if name in self.project.special:
            return [digest(params)[:DIGITS] for params in self.params(self.project, name)]
        kind = (character.source, character.age)
        if kind not in self.texts:
            anybody = replace(ANYBODY, source=character.source, age=character.age)
            project = replace(self.project, characters={anybody.name: anybody})
            self.texts[kind] = [self.text_of(params, anybody) for params in self.params(project, anybody.name)]
        return [text if isinstance(text, str) else filled(text, character) for text in self.texts[kind]]

    def params(self, project: Project, name: str) -> Iterator[Config]:
        for artifact in self.artifacts:
            if artifact.stage == "published":
                yield publish_params(project, name, Path(artifact.manifest).stem)
            else:
                yield stage_params(project, name, artifact.stage)

    def text_of(self, values: Config, anybody: Character) -> Text | str:
        """Canonical JSON of params, cut at what differs between characters; its digest where nothing does."""
        varying: dict[str, Callable[[Character], str]] = {
            anybody.query: lambda character: inner_json(character.query),
            anybody.trigger: lambda character: inner_json(character.trigger),
            anybody.name: lambda character: inner_json(character.name),  # in the names of repositories on a hub
        }
        if anybody.source == FOLDER:
            varying[pictures_digest(anybody.query)] = lambda character: self.folder_digest(character.query)
        pieces = re.split(f"({'|'.join(varying)})", canonical_json(values))
        if len(pieces) == 1:
            return sha256_bytes(pieces[0].encode())[:DIGITS]
        return [varying.get(piece, piece) for piece in pieces]


def filled(text: Text, character: Character) -> str:
    """The digest of a character's params."""
    pieces = (piece if isinstance(piece, str) else piece(character) for piece in text)
    return sha256_bytes("".join(pieces).encode())[:DIGITS]


def inner_json(text: str) -> str:
    """A text as it stands inside another one in canonical JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
