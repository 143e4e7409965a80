"""The whole workflow, small: every rule of two characters, on one core and on two, and what they made byte by byte."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from charaloom.artifacts.files import files_below, sha256_file, write_json
from charaloom.artifacts.manifest import read_manifest
from charaloom.config.params import Target
from charaloom.config.schemas import CODE
from charaloom.demo.world.board import serve
from charaloom.demo.world.building import build_world
from charaloom.publishing.published import to_hub
from tests.servers.repo_hub import User
from tests.servers.repo_hub_http import serving
from tests.unit.publishing.hub.conftest import TOKEN
from tests.workflow.workplace import Workplace

pytestmark = pytest.mark.slow

MODELS = CODE / "resources" / "demo"
RULE = re.compile(r"^rule (\w+):", re.MULTILINE)
JOB = re.compile(r"^(?:local)?rule (\w+):", re.MULTILINE)
FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)", re.MULTILINE)
SEED, POSTS = 3, 32
CONFIG = {
    "models": {"lock": str(MODELS / "models.yaml"), "hub": str(MODELS / "models")},
    "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
    "raw": {"minimum": 5},
    "filtered": {
        "short_side": {"picture": 96, "person": 96},
        "area": {"picture": 12000, "person": 12000},
        "identity_minimum": 4,
    },
    "clustered": {"minimum_support": 3, "minimum_stability": 0.3, "resamples": 4},
    "dataset": {"resolution": 64},
    "training": {
        "base": "tiny",
        "steps": 2,
        "save_every": 1,
        "batch": 2,
        "resolution": 64,
        "rank": 2,
        "alpha": 2,
        "vectors": 2,
        "warmup": 0,
    },
    "previews": {
        "bases": ["tiny"],
        "width": 64,
        "height": 64,
        "steps": 2,
        "seeds": 1,
        "scenes": 1,
        "weights": [1.0],
    },
    "published": {
        "targets": {"folder": {"path": "published"}, "second": {"kind": "folder", "path": "second"}},
        "weak": True,  # a base of random weights recognises nobody
    },
}


@dataclass
class Build:
    """A working directory after its run, and what Snakemake logged there."""

    place: Workplace
    log: str

    def artifacts(self) -> dict[str, str]:
        """SHA-256 by path of all that jobs make for people; `charaloom run` alone writes status.html, with the time."""
        tops = [self.place.folder / top for top in ("results", "published", "second")]
        paths = [top / path for top in tops for path in files_below(top) if str(path) != "status.html"]
        return {str(path.relative_to(self.place.folder)): sha256_file(path) for path in paths}


@pytest.fixture(scope="module")
def builds(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Build]]:
    """The same project built twice by number of cores: by Snakemake at once, and stage by stage by `charaloom run`."""
    root = tmp_path_factory.mktemp("end_to_end")
    build_world(root / "world", SEED, characters=2, posts=POSTS)
    with serve(root / "world") as board:
        one, two = (make_project(root / f"cores-{cores}", root / "world", board.root, tiny_base) for cores in (1, 2))
        with ThreadPoolExecutor(2) as pool:
            at_once = pool.submit(one.snakemake, "--cores", "1")
            by_stages = pool.submit(
                two.charaloom, "run", "--cores", "2", "--", "--resources", "gpu=2", "board_loopback=1"
            )
        assert at_once.result().returncode == 0, explained(at_once.result().stdout, one)
        assert by_stages.result().returncode == 0, explained(by_stages.result().stdout, two)
        log = (two.folder / "work" / "logs" / "run.log").read_text()
        yield {1: Build(one, at_once.result().stdout), 2: Build(two, log)}


def make_project(folder: Path, world: Path, board: str, base: Path) -> Workplace:
    """The world's first character is crawled from the board, its second lies in a folder; that one may stop early."""
    header, first, second = (world / "characters.tsv").read_text().splitlines()
    crawled, owned = (dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in (first, second))
    crawled["source"] = "loopback"
    owned |= {"source": "folder", "query": "pictures"}
    shutil.copytree(base, folder / "base")
    (folder / "config" / "characters").mkdir(parents=True)
    rows = ["\t".join(character.values()) for character in (crawled, owned)]
    (folder / "config" / "characters.tsv").write_text("\n".join([header, *rows]) + "\n")
    boards = {"loopback": {"dialect": "danbooru", "root": board, "seconds_between_requests": 0}}
    write_json(folder / "config" / "config.yaml", {**CONFIG, "boards": boards})
    write_json(folder / "config" / "characters" / f"{owned['character']}.yaml", {"training": {"early_stopping": 2}})
    write_pictures(folder / "pictures", world, second.split("\t")[2])
    return Workplace(folder)


def write_pictures(folder: Path, world: Path, tag: str) -> None:
    """The pictures of one tag as a downloader leaves them: each with its post beside it."""
    folder.mkdir()
    posts = [json.loads(line) for line in (world / "posts.jsonl").read_text().splitlines()]
    for post in posts:
        file = world / post.get("file_url", "nowhere").removeprefix("/")
        if tag in post["tag_string_character"].split() and file.is_file():
            shutil.copy(file, folder)
            write_json(folder / f"{file.stem}.json", post)


def explained(output: str, place: Workplace) -> str:
    """What a failed run printed, and how its jobs' logs end."""
    logs = sorted((place.folder / "work" / "logs").rglob("*.log"))
    return "\n".join([output, *(f"--- {log}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)])


@pytest.mark.parametrize("cores", [1, 2])
def test_every_rule_ran_once_for_every_character(builds: dict[int, Build], cores: int) -> None:
    rules = {name for file in (CODE / "rules").glob("*.smk") for name in RULE.findall(file.read_text())}
    assert {script.stem for script in (CODE / "scripts").glob("*.py")} <= rules
    expected = {**dict.fromkeys(rules, 2), "models": 1, "published": 4}
    for pattern in (JOB, FINISHED):
        jobs = Counter(pattern.findall(builds[cores].log))
        assert {rule: count for rule, count in jobs.items() if rule in rules} == expected
        assert {rule for rule in jobs.keys() - rules if not rule.startswith("stage_")} <= {"all"}


@pytest.mark.parametrize("cores", [1, 2])
def test_every_stage_left_its_manifest(builds: dict[int, Build], cores: int) -> None:
    place = builds[cores].place.folder
    stages = {script.stem for script in (CODE / "scripts").glob("*.py")} - {"models", "published"}
    characters = [path for path in (place / "results").iterdir() if path.is_dir()]
    assert len(characters) == 2
    for folder in characters:
        assert {path.name for path in folder.glob("*.manifest.json")} == {f"{stage}.manifest.json" for stage in stages}
        assert all(read_manifest(path)["counts"] is not None for path in folder.glob("*.manifest.json"))
        receipts = {f"{target}{ending}" for target in ("folder", "second") for ending in (".json", ".lineage.json")}
        assert {path.name for path in (folder / "published").iterdir()} == receipts
        assert {path.name for path in folder.glob("*.lineage.json")} == {f"{stage}.lineage.json" for stage in stages}
    assert (place / "work" / "models.manifest.json").is_file()


def test_a_small_run_still_does_what_each_stage_is_for(builds: dict[int, Build]) -> None:
    """Without this, an empty dataset or a training of nothing would pass as well."""
    for folder in (builds[1].place.folder / "results").iterdir():
        counts = {path.name.split(".")[0]: read_manifest(path)["counts"] for path in folder.glob("*.manifest.json")}
        assert counts["filtered"]["kept"] > 0
        assert counts["clustered"]["outfits"] > 0
        assert counts["dataset"]["train"] > 0
        assert len(list((folder / "checkpoints").glob("step-*[0-9].safetensors"))) == 2
        assert list((folder / "previews").rglob("*.png"))
        assert list((folder / "model").glob("*.safetensors"))


def test_one_core_and_two_make_the_same_bytes(builds: dict[int, Build]) -> None:
    one, two = (builds[cores].artifacts() for cores in (1, 2))
    assert {path.split("/")[0] for path in one} == {"results", "published", "second"}
    assert one.keys() == two.keys()
    assert [path for path in one if one[path] != two[path]] == []


def test_a_second_run_has_nothing_to_do(builds: dict[int, Build]) -> None:
    before = builds[2].artifacts()
    again = builds[2].place.charaloom("run", "--cores", "2")
    assert again.returncode == 0, again.stdout
    assert again.stdout.startswith("Nothing to be done")
    assert builds[1].place.planned() == {}
    assert builds[2].artifacts() == before


def test_a_published_dataset_trains_the_published_model_again(builds: dict[int, Build]) -> None:
    """Of the character whose training may stop early, too; from the folder that a target is."""
    place = builds[1].place
    for folder in sorted((place.folder / "published").iterdir()):
        result = place.charaloom("verify", f"published/{folder.name}")
        assert result.returncode == 0, explained(result.stdout, place)
        numbers = json.loads(result.stdout.splitlines()[-1])
        assert numbers["equal"] == numbers["files"] >= 5
        assert numbers["as_tagged"]


def test_a_dataset_on_a_hub_trains_the_model_on_another_machine(
    builds: dict[int, Build], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh working directory that knows nothing but the repository's name and where the base model lies."""
    published = builds[1].place.folder / "published"
    name = min(folder.name for folder in published.iterdir())
    with serving(xet=tmp_path / "xet") as server:
        server.hub.users = {TOKEN: User("ann")}
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        names = {"dataset": "{character}-data", "model": "{character}"}
        target = Target(kind="hub", endpoint=server.address, namespace="ann", **names)
        folders = {kind: published / name / kind for kind in ("dataset", "model")}
        receipt = to_hub(target, name, folders, private=True)
        other = Workplace(tmp_path / "elsewhere")
        other.folder.mkdir()
        what = ["verify", f"ann/{name}-data@{receipt['dataset']['tag']}", "--base", str(tiny_base)]
        missing = other.charaloom(*what)
        assert missing.returncode == 1
        assert f"ann/{name}-data (model, revision main) could not be fetched" in missing.stdout
        result = other.charaloom(*what, "--model", f"ann/{name}")
        assert result.returncode == 0, explained(result.stdout, other)
        assert f"as the tag {receipt['dataset']['tag']} says" in result.stdout
        lora = receipt["model"]["files"][f"{name}.safetensors"]["sha256"]
        assert re.search(rf"^{name}.safetensors +{lora[:12]} +{lora[:12]} +equal$", result.stdout, re.MULTILINE)
