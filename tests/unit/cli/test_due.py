"""What is due, by content: of a character whose manifests and lineages are written by hand."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import digest, read_json, write_json
from charaloom.artifacts.manifest import describe
from charaloom.artifacts.sealed import write_sealed
from charaloom.cli import due as module
from charaloom.cli import slices
from charaloom.cli.due import DIGITS, Due, ParamDigests, Plan, artifacts_of, below
from charaloom.cli.slices import Queue, jobs_of, stages_of, targets_of
from charaloom.config.project import Project, load_project
from charaloom.config.stage_params import publish_params, stage_params
from charaloom.config.stages import STAGES
from charaloom.images.files import pictures_digest
from tests.finished import finish, finish_artifact, finish_models, trace
from tests.small_bases import write_base

ROSTER = """character	source	query	trigger	age
hana	folder	pictures/hana	hana_"girl"	adult
mei	danbooru	mei_(x)	mei_charaloom	unknown
rin	danbooru	rin_(ü)	rin_charaloom	adult
"""
CONFIG = {
    "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
    "training": {"base": "tiny"},
    "previews": {"bases": ["tiny"]},
    "published": {"targets": {"second": {"kind": "folder", "path": "second"}}},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: Any) -> Project:
    """Everybody is finished."""
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures/hana", "config"):
        (tmp_path / folder).mkdir(parents=True)
    write_base(tmp_path / "base")
    (tmp_path / "pictures/hana/1.png").write_text("x")
    (tmp_path / "config/characters.tsv").write_text(ROSTER)
    write_json(tmp_path / "config/config.yaml", CONFIG)
    loaded = load_project()
    finish_models(loaded)
    for name in loaded.characters:
        finish(loaded, name)
    return loaded


def changed(path: str = "config/config.yaml", **keys: dict[str, Any]) -> Project:
    """The project with some keys of its config changed."""
    file = Path(path)
    file.parent.mkdir(exist_ok=True)
    config = json.loads(file.read_text()) if file.exists() else {}
    write_json(file, config | {section: {**config.get(section, {}), **values} for section, values in keys.items()})
    return load_project()


def due(project: Project, name: str = "mei", done: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Stages that are due now, and those that are due later."""
    plan = Due(project).of(name, done)
    return [artifact.stage for artifact in plan.now], [artifact.stage for artifact in plan.later]


def test_what_is_finished_is_not_due(project: Project) -> None:
    assert [due(project, name) for name in project.characters] == [([], [])] * 3
    assert not Due(project).models_due()


def test_nothing_there_is_due_all_at_once(project: Project) -> None:
    shutil.rmtree("results/mei")
    every = [artifact.stage for artifact in artifacts_of(project)]
    assert every.count("published") == 2
    assert due(project) == (every, [])


def test_a_setting_makes_its_stage_due_and_the_next_waits_for_what_comes_out(project: Project) -> None:
    assert due(changed(filtered={"short_side": {"picture": 201}})) == (["filtered"], [])


def test_settings_of_two_stages_are_due_one_after_the_other(project: Project) -> None:
    after = changed(filtered={"short_side": {"picture": 201}}, training={"steps": 77})
    assert due(after) == (["filtered"], ["checkpoints"])
    assert due(after, done=("filtered.manifest.json",)) == (["checkpoints"], [])


def test_neighbours_are_due_together(project: Project) -> None:
    after = changed(filtered={"short_side": {"picture": 201}}, tagged={"core_forbid": ["hat"]})
    assert due(after) == (["filtered", "tagged"], [])


def test_another_content_makes_due_what_was_made_of_it(project: Project) -> None:
    decisions = Path("results/mei/filtered.decisions.json")
    write_json(decisions, {"digest": "other"})
    assert due(project)[0] == ["tagged"]
    write_json(Path("results/mei/filtered.manifest.json"), {"other": 1})
    assert due(project)[0] == ["curation", "tagged"]


def test_a_page_that_only_the_report_reads_holds_up_nothing(project: Project) -> None:
    Path("results/mei/curation.html").unlink()
    assert due(changed(tagged={"core_forbid": ["hat"]})) == (["curation", "tagged"], [])


def test_what_is_lost_is_made_again(project: Project) -> None:
    folder = Path("results/mei")
    for lost, stage in (
        ("selection.manifest.json", "selection"),
        ("tagged.lineage.json", "tagged"),
        ("published/second.json", "published"),
        ("filtered.decisions.json", "filtered"),
        ("dataset/README.md", "dataset"),
    ):
        content = (folder / lost).read_bytes()
        (folder / lost).unlink()
        assert due(project)[0][0] == stage, lost
        (folder / lost).write_bytes(content)
    assert due(project) == ([], [])


def test_c10_a_file_that_a_manifest_lists_is_made_again_where_it_is_lost_or_another(project: Project) -> None:
    """Also those of a folder, and the published copies."""
    folder = Path("results/mei")
    files = {"stage": "model", "file": folder / "model" / "mei.safetensors"}
    steps = {"stage": "model", "file": folder / "model" / "checkpoints" / "000100" / "mei-000100.safetensors"}
    tables = {"stage": "tagged", "file": folder / "tagged.parquet"}
    copies = {"stage": "published", "file": Path("second/mei/model/mei.safetensors")}
    for lost in (files, steps, tables, copies):
        lost["file"].parent.mkdir(parents=True, exist_ok=True)
        lost["file"].write_text("x")
    described = describe(folder / "tagged.parquet")
    listed = {"files": {"mei.safetensors": described}}
    made = {"files": {**listed["files"], "checkpoints/000100/mei-000100.safetensors": described}}
    write_json(folder / "model.manifest.json", {"outputs": {"model": made}})
    write_json(folder / "tagged.manifest.json", {"outputs": {"table": described}})
    write_json(folder / "published" / "second.json", {"model": {"folder": "model", **listed}})
    for artifact in artifacts_of(project):  # what was made of these
        if STAGES.index(artifact.stage) > STAGES.index("tagged") and artifact.stage != "model":
            content = (folder / artifact.manifest).read_bytes()
            trace(project, "mei", artifact)
            assert (folder / artifact.manifest).read_bytes() == content
    assert due(project) == ([], [])
    for lost in (files, steps, tables, copies):
        due_before = Due(project)
        due_before.of("mei")
        due_before.keep()
        lost["file"].unlink()
        assert due(project)[0][0] == lost["stage"]
        lost["file"].write_text("x")
        assert due(project) == ([], [])
        times = lost["file"].stat()
        lost["file"].write_text("y")
        os.utime(lost["file"], ns=(times.st_atime_ns, times.st_mtime_ns))
        assert due(project)[0][0] == lost["stage"], "another content of the same size and time"
        lost["file"].write_text("x")
        assert due(project) == ([], [])


def test_c10_a_damaged_file_is_found_by_a_closer_look_whatever_its_times(project: Project, monkeypatch: Any) -> None:
    """As a bit that flips on the disk, which changes no time at all."""
    folder = Path("results/mei")
    write_sealed(folder / "filtered.decisions.json", {"digest": "x", "rules": []})
    trace(project, "mei", next(each for each in artifacts_of(project) if each.stage == "tagged"))
    trace(project, "mei", next(each for each in artifacts_of(project) if each.stage == "dataset"))
    trace(project, "mei", next(each for each in artifacts_of(project) if each.stage == "report"))
    known = Due(project)
    assert known.of("mei") == Plan()
    assert not known.look_closely("mei")
    monkeypatch.setattr(module, "signature_of", lambda _: known.records["mei"][0])
    decisions = folder / "filtered.decisions.json"
    for place in range(0, len(decisions.read_bytes()), 5):
        whole = decisions.read_bytes()
        decisions.write_bytes(flipped(whole, place))
        assert known.of("mei") == Plan()
        known.seen_damaged.clear()
        assert known.look_closely("mei"), place
        assert not known.look_closely("mei"), "known by now"
        assert [artifact.stage for artifact in known.of("mei").now] == ["filtered"]
        decisions.write_bytes(whole)
        known.mended("mei", ["filtered.manifest.json"])
        assert known.of("mei") == Plan()


def flipped(data: bytes, place: int, bit: int = 1) -> bytes:
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


def test_a_broken_lineage_is_due_and_no_traceback(project: Project) -> None:
    for content in ("half a li", "[]", '{"params_digest": 1}', '{"params_digest": "x", "inputs": 3}'):
        Path("results/mei/tagged.lineage.json").write_text(content)
        assert due(project)[0] == ["tagged"]


def test_times_alone_change_nothing(project: Project) -> None:
    for path in Path("results").rglob("*.*"):
        os.utime(path)
    os.utime("pictures/hana/1.png")
    assert due(project, "hana") == due(project, "mei") == ([], [])


def test_a_new_picture_in_a_folder_is_noticed(project: Project) -> None:
    Path("pictures/hana/2.png").write_text("x")
    assert due(project, "hana") == (["raw"], [])


def test_one_characters_own_file_concerns_that_one(project: Project) -> None:
    after = changed("config/characters/mei.yaml", filtered={"short_side": {"picture": 201}})
    assert due(after, "mei") == (["filtered"], [])
    assert due(after, "rin") == ([], [])


def test_other_picture_models_concern_who_was_measured_by_them(project: Project) -> None:
    known = Due(project)
    assert not known.of("mei").now
    known.keep()
    write_json(Path("work/models.manifest.json"), {"models": ["another"]})
    assert due(project) == (["measured"], [])
    write_json(Path("work/models.lineage.json"), {"params_digest": "other"})
    assert Due(project).models_due()
    known.refresh_models()
    assert [artifact.stage for artifact in known.of("mei").now] == ["measured"]


def test_only_the_stages_that_are_wanted_are_due(project: Project) -> None:
    shutil.rmtree("results/mei")
    plan = Due(project, STAGES[:3]).of("mei")
    assert [artifact.stage for artifact in plan.now] == ["raw", "measured", "filtered"]


def test_digests_of_params_are_those_of_the_rules(project: Project) -> None:
    """The text that is made once for everybody gives what each one's params give."""
    changed("config/characters/mei.yaml", tagged={"core_forbid": ["hat"]})
    hub = {"kind": "hub", "namespace": "ann", "dataset": "{character}-data"}
    after = changed("config/config.yaml", published={"targets": {"hub": hub}})
    artifacts = artifacts_of(after)
    digests = ParamDigests(after, artifacts)
    for name in after.characters:
        params = [
            publish_params(after, name, Path(artifact.manifest).stem)
            if artifact.stage == "published"
            else stage_params(after, name, artifact.stage)
            for artifact in artifacts
        ]
        assert digests.of(name) == [digest(content)[:DIGITS] for content in params]


def test_what_was_read_is_kept_and_not_read_again(project: Project, monkeypatch: Any) -> None:
    first = Due(project)
    assert not first.of("mei").now
    first.keep()
    monkeypatch.setattr(Due, "read", lambda *_: pytest.fail("read again"))
    assert not Due(project).of("mei").now
    assert [artifact.stage for artifact in Due(changed(training={"steps": 77})).of("mei").now] == ["checkpoints"]


def test_a_folder_is_walked_and_its_files_are_not_read_again(project: Project, monkeypatch: Any) -> None:
    first = Due(project)
    assert not first.of("hana").now
    first.keep()
    walked = []
    monkeypatch.setattr(
        module, "pictures_digest", lambda folder, *work: walked.append(folder) or pictures_digest(folder, *work)
    )
    assert not Due(project).of("hana").now
    assert "pictures/hana" not in walked
    os.utime("pictures/hana/1.png")
    assert not Due(project).of("hana").now
    assert "pictures/hana" in walked


@pytest.mark.parametrize(
    "content", ["half a li", "[]", "{}", '{"schema": 1, "folders": 2}', '{"schema": 1, "folders": {"x": 1}}']
)
def test_a_broken_store_is_no_error(project: Project, content: str) -> None:
    Path("work/due.json").write_text(content)
    assert due(project) == ([], [])


def test_a_broken_record_is_read_again(project: Project) -> None:
    known = Due(project)
    assert not known.of("mei").now
    known.keep()
    store = read_json(Path("work/due.json"))
    store["characters"]["mei"] = ["x", 3]
    write_json(Path("work/due.json"), store)
    assert due(project) == ([], [])


def test_a_rewritten_file_is_read_again(project: Project) -> None:
    known = Due(project)
    assert not known.of("mei").now
    known.keep()
    finish_artifact(project, "mei", artifacts_of(project)[0], content=" anew")
    assert due(project)[0] == ["measured"]


def test_no_stage_is_below_a_page_and_the_report_alone_below_the_receipts() -> None:
    assert below("raw", "report")
    assert not below("curation", "report")
    assert below("published", "report")
    assert not below("curation", "tagged")
    assert not below("published", "model")
    assert not below("tagged", "tagged")


# --- slices


def test_slices_are_of_those_who_are_due_in_the_rosters_order(project: Project) -> None:
    for name in ("hana", "rin"):
        Path(f"results/{name}/report.html").unlink()
    queue = Queue(Due(project), project.characters)
    queue.look(1)
    assert queue.ahead() == {"report": 2}
    assert list(queue.slices(size=1, first=1)) == [["hana"], ["rin"]]
    assert (queue.all, queue.ahead()) == (2, {})


def test_a_first_slice_is_small_and_no_further_ones_are_looked_at(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(slices, "SECONDS_TO_LOOK", 0.0)
    shutil.rmtree("results")
    queue = Queue(Due(project), project.characters)
    taken = queue.slices(size=2, first=1)
    assert next(taken) == ["hana"]
    assert queue.looked == 1
    assert queue.all == 3
    assert queue.ahead()["published"] == 4
    assert next(taken) == ["mei", "rin"]
    assert next(taken, None) is None


def test_jobs_and_targets_of_a_slice(project: Project) -> None:
    Path("results/mei/curation.html").unlink()
    Path("results/rin/published/second.json").unlink()
    plans = {name: Due(project).of(name) for name in ("mei", "rin")}
    assert targets_of(Path("results"), plans) == [
        "results/mei/curation.manifest.json",
        "results/rin/published/second.json",
    ]
    assert stages_of(jobs_of(plans.values())) == ["curation", "published"]
