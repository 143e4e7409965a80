"""What you change, and which stages run: the table of docs/workflow.md, row by row, on a project of one character.

The changes are made one after another on the same project, each followed by `charaloom run`; the jobs are read from
Snakemake's own log.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.tables import read_table
from charaloom.config.schemas import CODE
from charaloom.demo.world.building import build_world
from tests.workflow.test_end_to_end import CONFIG, explained, write_pictures
from tests.workflow.workplace import Workplace

pytestmark = pytest.mark.slow

JOB = re.compile(r"^(?:local)?rule (\w+):", re.MULTILINE)
SEED, POSTS = 3, 32
PICTURES = ("raw", "filtered", "curation", "tagged")
TRAINING = ("checkpoints", "previews", "selection", "model", "published", "report")
BELOW_TAGS = ("clustered", "outfits", "dataset", *TRAINING)
RENDERING = ("previews", "selection", "model", "published", "report")


class Project:
    """The project, and what its last run did."""

    def __init__(self, folder: Path):
        self.place = Workplace(folder)

    @property
    def folder(self) -> Path:
        return self.place.folder

    @property
    def results(self) -> Path:
        return next(path for path in (self.folder / "results").iterdir() if path.is_dir())

    def configure(self, **sections: dict[str, Any]) -> None:
        file = self.folder / "config" / "config.yaml"
        config = read_json(file)
        for section, keys in sections.items():
            config[section] = {**config.get(section, {}), **keys}
        write_json(file, config)

    def run(self) -> set[str]:
        """The rules whose jobs `charaloom run` ran."""
        log = self.folder / "work" / "logs" / "run.log"
        log.unlink(missing_ok=True)
        result = self.place.charaloom("run", "--cores", "2", "--", "--resources", "gpu=2")
        assert result.returncode == 0, explained(result.stdout, self.place)
        return set(JOB.findall(log.read_text())) if log.exists() else set()

    def kept_sides(self) -> list[int]:
        """Short sides in pixels of the kept views, the smallest first."""
        kept = {row["view"] for row in read_table(self.results / "filtered.parquet") if row["verdict"] == "keep"}
        rows = read_table(self.results / "measured.parquet", ["view", "width", "height"])
        return sorted(min(row["width"], row["height"]) for row in rows if row["view"] in kept)

    def captions(self) -> list[str]:
        return [row["caption"] for row in read_table(self.results / "clustered.parquet", ["caption", "view"])]


@dataclass(frozen=True)
class Change:
    """One row of the table."""

    name: str
    make: Callable[[Project], None]
    runs: tuple[str, ...]


def threshold_that_moves_no_verdict(project: Project) -> None:
    side = CONFIG["filtered"]["short_side"]["picture"] + 1
    assert project.kept_sides()[0] > side
    project.configure(filtered={"short_side": {"picture": side, "person": side}})


def threshold_that_drops_one_view(project: Project) -> None:
    sides = project.kept_sides()
    side = next(small + 1 for small, large in pairwise(sides) if large > small)
    project.configure(filtered={"short_side": {"picture": side, "person": side}})


def blacklisted_tag_of_nobody(project: Project) -> None:
    project.configure(tagged={"blacklist": ["zeppelin"]})


def blacklisted_tag_of_somebody(project: Project) -> None:
    words = [word for caption in project.captions() for word in caption.split(", ")[2:]]
    common = max(sorted(set(words)), key=words.count)
    project.configure(tagged={"blacklist": ["zeppelin", common.replace(" ", "_")]})


def negative_prompt(project: Project) -> None:
    project.configure(previews={"negative": "lowres"})


def more_seeds(project: Project) -> None:
    project.configure(previews={"seeds": 2})


def selection_weight(project: Project) -> None:
    project.configure(selection={"scores": {"recognised": 1, "likeness": 5}})


def licence_text(project: Project) -> None:
    project.configure(bases={"tiny": {**CONFIG["bases"]["tiny"], "licence": "apache-2.0"}})


def reencoded_copy(project: Project) -> None:
    """A picture once more, in another format: a duplicate that is dropped."""
    kept = [row["picture"] for row in read_table(project.results / "clustered.parquet") if row["kind"] == "picture"]
    posts = read_table(project.results / "raw.parquet", ["picture", "posts"])
    name = next(row["posts"][0]["post_id"] for row in posts if row["picture"] == kept[0])
    with Image.open(project.folder / "pictures" / name) as image:
        image.convert("RGB").save(project.folder / "pictures" / "zz-copy.webp", quality=80)


def copy_renamed(project: Project) -> None:
    (project.folder / "pictures" / "zz-copy.webp").rename(project.folder / "pictures" / "zz-other.webp")


def tags_in_another_order(project: Project) -> None:
    side = sorted((project.folder / "pictures").glob("*.json"))[0]
    post = read_json(side)
    for key in ("tag_string", "tag_string_general"):
        if key in post:
            post[key] = " ".join(reversed(post[key].split()))
    side.write_text(json.dumps(post))


def removed_post(project: Project) -> None:
    views = read_table(project.results / "clustered.parquet", ["picture", "view", "split"])
    trained = next(row["picture"] for row in views if row["split"] == "train")
    removals = project.folder / "config" / "removals.yaml"
    removals.write_text(f"pictures: [{trained}]\n")
    project.configure()
    config = read_json(project.folder / "config" / "config.yaml")
    write_json(project.folder / "config" / "config.yaml", {**config, "removals": "config/removals.yaml"})


def base_renamed(project: Project) -> None:
    config = read_json(project.folder / "config" / "config.yaml")
    config["bases"]["small"] = config["bases"].pop("tiny")
    config["training"]["base"], config["previews"]["bases"] = "small", ["small"]
    write_json(project.folder / "config" / "config.yaml", config)


def threads_of_measuring(project: Project) -> None:
    project.configure(measured={"threads": 1})


def moved(project: Project) -> None:
    folder = project.folder.with_name("moved elsewhere")
    project.folder.rename(folder)
    project.place = Workplace(folder)


def touched(project: Project) -> None:
    for top in ("results", "pictures", "base", "config"):
        for path in (project.folder / top).rglob("*"):
            os.utime(path)


def script_touched(project: Project) -> None:
    """A file of Charaloom's own, as a fresh clone leaves it."""
    os.utime(CODE / "scripts" / "checkpoints.py")


CHANGES = [
    Change("nothing", lambda project: None, ()),
    Change("a threshold that moves no verdict", threshold_that_moves_no_verdict, ("filtered", "curation")),
    Change("a blacklisted tag that nobody has", blacklisted_tag_of_nobody, ("tagged",)),
    Change("`measured.threads`", threads_of_measuring, ()),
    Change("the working directory moved", moved, ()),
    Change("times of files", touched, ()),
    Change("times of the code", script_touched, ()),
    Change("a side file's tags in another order", tags_in_another_order, ("raw",)),
    Change("the licence of a base", licence_text, ("model", "published", "report")),
    Change("the negative prompt", negative_prompt, RENDERING),
    Change("the number of preview seeds", more_seeds, RENDERING),
    Change("a weight of the selection", selection_weight, RENDERING),
    Change(
        "a new picture that is a duplicate",
        reencoded_copy,
        (*PICTURES, "measured", "clustered", "outfits", "dataset", "published", "report"),
    ),
    Change("the same picture renamed", copy_renamed, (*PICTURES, "dataset", "report")),
    Change("a base renamed", base_renamed, TRAINING),
    Change("a blacklisted tag that somebody has", blacklisted_tag_of_somebody, ("tagged", *BELOW_TAGS)),
    Change("a threshold that drops one view", threshold_that_drops_one_view, (*PICTURES[1:], *BELOW_TAGS)),
    Change("a picture removed", removed_post, (*PICTURES, "measured", *BELOW_TAGS)),
]


@pytest.fixture(scope="module")
def jobs(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The jobs of each change, by its name."""
    root = tmp_path_factory.mktemp("consequences")
    build_world(root / "world", SEED, characters=1, posts=POSTS)
    project = make_project(root / "project", root / "world", tiny_base)
    project.run()
    ran = {}
    for change in CHANGES:
        change.make(project)
        ran[change.name] = project.run()
        print(change.name, sorted(ran[change.name]), flush=True)
    return ran


def make_project(folder: Path, world: Path, base: Path) -> Project:
    """One character whose pictures lie in a folder, each with its post beside it."""
    header, row = (world / "characters.tsv").read_text().splitlines()
    character = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    tag = character["query"]
    character |= {"source": "folder", "query": "pictures"}
    shutil.copytree(base, folder / "base")
    (folder / "config").mkdir()
    (folder / "config" / "characters.tsv").write_text("\n".join([header, "\t".join(character.values())]) + "\n")
    published = {"targets": {"folder": {"path": "published"}}, "weak": True}
    write_json(folder / "config" / "config.yaml", {**CONFIG, "published": published})
    write_pictures(folder / "pictures", world, tag)
    return Project(folder)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_runs_what_depends_on_it_and_nothing_else(change: Change, jobs: dict[str, set[str]]) -> None:
    assert jobs[change.name] - {"models", "all"} == set(change.runs)
