"""Characters that count as finished, without a stage having run: manifests, facets, pages and lineages by hand."""

from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from charaloom.artifacts.files import canonical_json, digest, sha256_file
from charaloom.artifacts.manifest import Lineage
from charaloom.cli.due import Artifact, artifacts_of
from charaloom.config.project import Project, load_project
from charaloom.config.schemas import Config
from charaloom.config.stage_params import models_params, publish_params, stage_params
from charaloom.vision.models import MODELS_VERSION

FACETS = {
    "raw": ["raw.pictures.json", "raw.files.json"],
    "filtered": ["filtered.decisions.json"],
    "clustered": ["clustered.prompts.json"],
    "dataset": ["dataset.training.json", "dataset.judging.json"],
}
MODELS = "models.manifest.json"
# Stages whose params differ between characters of a board:
OF_CHARACTERS = ("raw", "filtered", "tagged", "clustered", "dataset", "checkpoints", "model", "published")
READS = {  # what a stage's lineage names
    "raw": [],
    "measured": ["raw.pictures.json", MODELS],
    "filtered": ["measured.manifest.json", "raw.manifest.json", MODELS],
    "curation": ["filtered.manifest.json", "raw.files.json"],
    "tagged": ["filtered.decisions.json", "raw.manifest.json", MODELS],
    "clustered": ["tagged.manifest.json", "measured.manifest.json", MODELS],
    "outfits": ["clustered.manifest.json"],
    "dataset": ["clustered.manifest.json", "filtered.decisions.json"],
    "checkpoints": ["dataset.training.json"],
    "previews": ["checkpoints.manifest.json", "clustered.prompts.json", "dataset.judging.json", MODELS],
    "selection": ["previews.manifest.json", "checkpoints.manifest.json"],
    "model": ["selection.manifest.json", "checkpoints.manifest.json", "dataset.training.json"],
    "published": ["dataset.manifest.json", "model.manifest.json"],
    "report": ["filtered.decisions.json", "model.manifest.json", "published/folder.json"],
}


def finish_models(project: Project, root: Path = Path()) -> None:
    write(root / project.config["paths"]["work"] / MODELS, '{"models": []}\n')
    trace_models(project, root)


def finish(project: Project, name: str, stages: Sequence[str] | None = None, root: Path = Path()) -> None:
    """Finish a character, or some stages of theirs. `root` is the working directory."""
    for artifact in artifacts_of(project):
        if stages is None or artifact.stage in stages:
            finish_artifact(project, name, artifact, root)


def finish_artifact(project: Project, name: str, artifact: Artifact, root: Path = Path(), content: str = "") -> None:
    folder, stage = root / project.config["paths"]["results"] / name, artifact.stage
    for file in [artifact.manifest, *FACETS.get(stage, []), *artifact.pages]:
        listed = file == "raw.files.json"  # of a folder: no content of the stage
        write(folder / file, canonical_json({"counts": {}, "content": stage if listed else f"{stage}{content}"}))
    trace(project, name, artifact, root)


def trace(project: Project, name: str, artifact: Artifact, root: Path = Path()) -> None:
    """Write the lineage of files that are there."""
    results, work = (root / project.config["paths"][place] for place in ("results", "work"))
    folder, stage = results / name, artifact.stage
    params = params_of(project, name, artifact)
    inputs = {path: sha256_file((work if path == MODELS else folder) / path) for path in READS[stage]}
    lineage = Lineage(stage, name, digest(params), params, inputs)
    write(folder / artifact.lineage, canonical_json(lineage.plain()))


def params_of(project: Project, name: str, artifact: Artifact) -> Config:
    if artifact.stage == "published":
        return publish_params(project, name, Path(artifact.manifest).stem)
    return stage_params(project, name, artifact.stage)


def trace_models(project: Project, root: Path = Path()) -> None:
    params = {**models_params(project), "version": MODELS_VERSION}
    lineage = Lineage("models", "", digest(params), params, {})
    write(root / project.config["paths"]["work"] / "models.lineage.json", canonical_json(lineage.plain()))


def finish_many(project: Project, names: Sequence[str], root: Path = Path()) -> None:
    """Finish many characters of a board quickly: the first one's files, with the digests of each one's params."""
    first, *others = names
    finish(project, first, root=root)
    results = root / project.config["paths"]["results"]
    artifacts = artifacts_of(project)
    lineages = {artifact.lineage: artifact for artifact in artifacts}
    files = {
        str(path.relative_to(results / first)): path.read_bytes()
        for path in sorted((results / first).rglob("*"))
        if path.is_file()
    }
    for name in others:
        for folder in {str(Path(file).parent) for file in files}:
            (results / name / folder).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (results / name / file).write_bytes(content)
        for lineage, artifact in lineages.items():
            if artifact.stage in OF_CHARACTERS:
                before, after = (digest(params_of(project, each, artifact)) for each in (first, name))
                (results / name / lineage).write_bytes(files[lineage].replace(before.encode(), after.encode()))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def opened(folder: Path) -> Project:
    """The project of another working directory: its paths start there."""
    with chdir(folder):
        return load_project()
