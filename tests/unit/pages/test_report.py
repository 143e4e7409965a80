"""The report of a small character whose tables and pictures are drawn here."""

import re
from pathlib import Path

import pytest

from charaloom.artifacts.files import read_json, write_json
from charaloom.config.params import Report
from charaloom.errors import CharaloomError
from charaloom.pages import charts, report
from charaloom.pages.sheets import Thumbnails
from tests.html_page import Page
from tests.small_results import CHARACTER, HOSTILE, write_results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with everything the page reads."""
    return write_results(tmp_path / "results" / CHARACTER)


def write(results: Path, name: str = "report") -> str:
    report.write_report(
        CHARACTER,
        Report(version=1),
        results,
        receipts=[results / "published" / "folder.json"],
        upstream=[results / "previews.manifest.json", results / "model.manifest.json"],
        page=results / f"{name}.html",
        manifest=results / f"{name}.manifest.json",
    )
    return (results / f"{name}.html").read_text()


def test_the_page_is_well_formed_and_asks_no_network(results):
    page = Page(write(results))
    assert page.open == []
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("data:image/webp;base64,", "#", "curation.html", "previews.html")), (
                tag,
                value,
            )
    assert not re.search(r"url\(|@import|https?://", write(results))


def test_f11_text_from_strangers_is_escaped(results):
    page = Page(write(results))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert HOSTILE in page.text


def test_the_same_inputs_give_the_same_bytes(results):
    assert write(results) == write(results, "again")
    first, second = (results / f"{name}.manifest.json" for name in ("report", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_the_funnel_adds_up(results):
    section = report.pictures_section(results, Thumbnails())
    funnel = section["funnel"]
    assert (funnel["total"], funnel["spare"], funnel["kept"]) == (7, 1, 2)
    assert sum(bar["count"] for bar in funnel["bars"]) + funnel["kept"] == funnel["total"]
    dropping = [(bar["rule"], bar["count"], bar["also"], bar["left"]) for bar in funnel["bars"] if bar["count"]]
    assert dropping == [("rating_model", 1, 0, 6), ("monochrome", 1, 0, 5), ("identity", 2, 0, 3), (HOSTILE, 1, 0, 2)]
    assert section["raw"] == {"pictures": 10, "problems": [("missing", 1)]}
    assert (section["kept_count"], section["held_out_count"]) == (2, 1)


def test_doubtful_pictures_come_first_and_thresholds_are_left_to_the_curation_page(results):
    section = report.pictures_section(results, Thumbnails())
    assert [tile["numbers"] for tile in section["kept"]] == ["distance 0.170", "distance 0.110"]
    identity = next(sheet for sheet in section["dropped"] if sheet["rule"] == "identity")
    assert [tile["numbers"] for tile in identity["tiles"]] == [None, None]


def test_pictures_above_the_allowed_rating_are_counted_and_never_shown(results):
    section = report.pictures_section(results, Thumbnails())
    sheets = {sheet["rule"]: sheet for sheet in section["dropped"]}
    assert sheets["rating_model"]["count"] == 1
    assert [tile["picture"] for tile in sheets["rating_model"]["tiles"]] == [None]
    assert [tile["picture"] for tile in sheets["monochrome"]["tiles"]] == [None]
    assert all(tile["picture"] for tile in sheets["identity"]["tiles"])
    previews = report.previews_section(results, Thumbnails())
    other = next(grid for grid in previews["grids"] if grid["base"] == "two")
    assert [[tile["picture"] is None for tile in line["tiles"]] for line in other["lines"]] == [
        [False, False],
        [True, False],
    ]


def test_the_chosen_column_is_marked_on_every_base(results):
    grids = report.previews_section(results, Thumbnails())["grids"]
    marked = {grid["base"]: [column["name"] for column in grid["columns"] if column["chosen"]] for grid in grids}
    assert marked == {"one": ["step-000200"], "two": ["step-000200"]}
    assert [column["label"] for column in grids[0]["columns"]] == ["without LoRA", "step-000200"]
    assert "2 of 2 previews are recognised" in Page(write(results)).text


def test_the_loss_curve_starts_high_ends_low_and_marks_the_checkpoints(results):
    chart = report.loss_chart(results / "checkpoints" / "loss.tsv", report.read_json(results / "selection.json"))
    points = [tuple(map(float, point.split(","))) for point in chart["path"].split()]
    assert len(points) <= charts.LOSS_POINTS
    assert points[0][1] < points[-1][1] <= chart["height"]
    assert [(mark["x"], mark["chosen"]) for mark in chart["marks"]] == [(64.0, False), (128.0, True)]


def test_thumbnails_stay_small(results):
    assert max(map(len, re.findall(r"data:image/webp;base64,[^\"]+", write(results)))) < 16_000


def test_a_weak_model_is_named_first_with_what_to_try_and_where_it_was_not_published(results: Path) -> None:
    selection = read_json(results / "selection.json")
    assert 'id="weak"' not in write(results, "good")
    weak = {"why": [f"1 of 9 recognised {HOSTILE}"], "advice": ["raise training.rate_unet"]}
    write_json(results / "selection.json", {**selection, "weak": weak})
    write_json(results / "published" / "folder.json", {"target": {"name": "folder"}, "withheld": "weak"})
    page = write(results)
    assert page.index('id="weak"') < page.index('id="choice"')
    text = " ".join(Page(page).text.split())
    assert "1 of 9 recognised" in text
    assert "Raise training.rate_unet." in text
    assert "Not published to folder: the model is weak" in text
    assert "Published:" not in text


def test_a_missing_stage_is_named(results):
    (results / "previews.manifest.json").unlink()
    with pytest.raises(CharaloomError, match="run the stage 'previews' first"):
        write(results)
