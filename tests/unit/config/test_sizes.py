"""Sizes that the config leaves to the training and its family: what `auto` means, and which stages it concerns."""

from pathlib import Path
from typing import Any

import pytest

from charaloom.config.layers import DEFAULTS, merged, read_config
from charaloom.config.project import Project, load_project, open_project
from charaloom.config.schemas import Config
from charaloom.config.stage_params import stage_params
from charaloom.config.stages import STAGES
from charaloom.errors import CharaloomError
from tests.small_bases import write_base


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a roster of one character."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "pictures").mkdir()
    Path("config/characters.tsv").write_text("character\tsource\tquery\nhana\tfolder\tpictures\n")
    return tmp_path


def configured(family: str = "sd15", **sections: Any) -> Project:
    """The defaults with a base of a family, and what is set beside them."""
    if not Path(family).exists():
        write_base(Path(family), family)
    base = {"path": family, "family": family}
    own: Config = {"bases": {"own": base}, "training": {"base": "own"}, "previews": {"bases": ["own"]}}
    return open_project(merged(merged(read_config([DEFAULTS]), own), sections), [DEFAULTS])


def sizes(project: Project) -> dict[str, Any]:
    stages = {
        stage: stage_params(project, "hana", stage) for stage in ("filtered", "dataset", "checkpoints", "previews")
    }
    return {
        "training": stages["checkpoints"]["resolution"],
        "dataset": stages["dataset"]["resolution"],
        "short_side": stages["filtered"]["short_side"],
        "area": stages["filtered"]["area"],
        "previews": (stages["previews"]["width"], stages["previews"]["height"]),
    }


def both(number: int) -> dict[str, int]:
    return {"picture": number, "person": number}


def test_the_defaults_follow_the_family(place: Path) -> None:
    small = {"training": 512, "dataset": 640, "short_side": both(256), "area": both(384**2), "previews": (512, 768)}
    large = {"training": 1024, "dataset": 1280, "short_side": both(512), "area": both(768**2), "previews": (832, 1216)}
    assert sizes(configured("sd15")) == small
    assert sizes(configured("sdxl")) == large


def test_the_sizes_of_pictures_follow_a_resolution_of_ones_own(place: Path) -> None:
    chosen = sizes(configured("sdxl", training={"resolution": 768}))
    assert chosen["training"] == 768
    assert (chosen["dataset"], chosen["short_side"], chosen["area"]) == (960, both(384), both(576**2))
    assert chosen["previews"] == (832, 1216), "the base renders best at its own"


def test_numbers_win_one_by_one(place: Path) -> None:
    chosen = sizes(configured(filtered={"short_side": {"person": 300}}, previews={"width": 768}))
    assert chosen["short_side"] == {"picture": 256, "person": 300}
    assert chosen["area"] == both(384**2)
    assert chosen["previews"] == (768, 768)


@pytest.mark.parametrize(
    ("sections", "stages"),
    [
        ({"training": {"resolution": 768}}, {"filtered", "dataset", "checkpoints"}),
        ({"training": {"resolution": 512}}, set()),
        ({"dataset": {"resolution": 640}}, set()),
        ({"previews": {"width": 768}}, {"previews"}),
        ({"training": {"resolution": 768}, "dataset": {"resolution": 960}}, {"filtered", "dataset", "checkpoints"}),
    ],
)
def test_a_size_concerns_the_stages_that_use_it(place: Path, sections: dict[str, Any], stages: set[str]) -> None:
    before, after = configured(), configured(**sections)
    assert {
        stage for stage in STAGES if stage_params(before, "hana", stage) != stage_params(after, "hana", stage)
    } == stages


def test_a_dataset_smaller_than_the_training_is_refused(place: Path) -> None:
    configured("sd15", dataset={"resolution": 512})
    with pytest.raises(CharaloomError, match=r"dataset\.resolution: 512 is below .* resolution, 1024.*`auto`"):
        configured("sdxl", dataset={"resolution": 512})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dataset: {resolution: big}", "more.yaml: dataset.resolution: 'big' is neither a whole number nor `auto`"),
        ("previews: {width: 12.5}", "more.yaml: previews.width: 12.5 is neither a whole number nor `auto`"),
        ("previews: {width: 500}", "more.yaml: previews.width: 500 is not a multiple of 8"),
        ("filtered: {area: {picture: none}}", "more.yaml: filtered.area.picture: 'none' is neither"),
        ("training: {resolution: 32}", "more.yaml: training.resolution: 32 is below 64"),
    ],
)
def test_what_is_neither_a_size_nor_auto_is_named(place: Path, line: str, message: str) -> None:
    Path("more.yaml").write_text(line)
    with pytest.raises(CharaloomError) as caught:
        load_project(["more.yaml"])
    assert str(caught.value).startswith(message)
