"""The curation page of a small character whose tables and pictures are drawn here."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.tables import read_table
from charaloom.pages import charts, curation
from charaloom.pages.charts import HISTOGRAM, axis_of
from charaloom.pages.curation import page_content
from charaloom.pages.sheets import Thumbnails, source_of
from charaloom.pages.verdicts import scores_by_rule
from tests.html_page import Page
from tests.small_results import (
    ASKED,
    CHARACTER,
    HOSTILE,
    NAMES,
    filtered_rows,
    post,
    reason,
    view,
    write_curated,
    write_curation,
)

Row = dict[str, Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_curated(tmp_path / CHARACTER)


def content(results: Path) -> Row:
    tables = (results / f"{name}.parquet" for name in ("raw", "measured", "filtered"))
    return page_content(*tables, results / "filtered.manifest.json", Thumbnails())


def sections(results: Path) -> dict[str, Row]:
    return {section["rule"]: section for section in content(results)["rules"]}


def write(results: Path, name: str = "curation") -> str:
    return write_curation(results, name).read_text()


# --- the page


def test_files_that_were_not_read_are_named(results: Path) -> None:
    assert "Files of the folder" not in write(results)
    unused = [[f"{number}.heic", f"not read: HEIC {HOSTILE}"] for number in range(130)]
    files = {"pictures": 45, "captions": 38, "unused": unused, "remarks": [["a.png", "<lora:x:1>"]]}
    (results / "raw.files.json").write_text(json.dumps(files))
    text = write(results)
    assert "45 pictures, 38 with captions" in text
    assert "0.heic" in text
    assert "and 10 more" in text
    assert "&lt;lora:x:1&gt;" in text
    assert HOSTILE not in text


def test_the_page_is_well_formed_and_loads_nothing(results: Path) -> None:
    page = Page(write(results))
    assert page.open == []
    for tag, attributes in page.tags:
        assert not (attributes.get("src") or "").replace("data:image/webp;base64,", "", 1).count(":"), tag
        assert tag == "a" or not (attributes.get("href") or "").startswith("http"), tag
    assert not re.search(r"url\(|@import", write(results))


def test_f11_text_from_strangers_is_escaped(results: Path) -> None:
    page = Page(write(results))
    assert len(page.all("script")) == 1
    assert HOSTILE in page.text


def test_the_same_inputs_give_the_same_bytes(results: Path) -> None:
    assert write(results) == write(results, "again")
    first, second = (results / f"{name}.manifest.json" for name in ("curation", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_the_manifest_counts(results: Path) -> None:
    write(results)
    counts = json.loads((results / "curation.manifest.json").read_text())["counts"]
    assert counts["kept"] == 2
    assert counts["dropped"]["identity"] == 2
    assert counts["dropped"]["ai"] == 0


def test_a_picture_leads_to_its_post(results: Path) -> None:
    page = Page(write(results))
    leaving = [link for link in page.all("a") if (link["href"] or "").startswith("http")]
    assert "https://board.example/posts/100" in {link["href"] for link in leaving}
    assert {link.get("rel") for link in leaving} == {"noopener noreferrer"}


def test_only_web_pages_are_linked() -> None:
    row = {"picture": NAMES[0], "problem": None, "posts": [post(1, page_url="javascript:alert(1)"), post(2)]}
    assert source_of(row).page == "https://board.example/posts/102"
    assert source_of({**row, "posts": row["posts"][:1]}).page is None


def test_every_view_that_may_be_shown_is_in_the_page_without_any_script(results: Path) -> None:
    text = re.sub(r"<script>.*</script>", "", write(results), flags=re.S)
    titles = [figure["title"] or "" for figure in Page(text).all("figure")]
    shown = {name for name in NAMES if any(title.startswith(name) for title in titles)}
    assert shown == {NAMES[index] for index in (0, 1, 2, 3, 7)}
    assert any("board:102" in title for title in titles)


# --- the rules


def test_the_rules_come_in_the_order_of_the_config(results: Path) -> None:
    rules = [rule for rule in ASKED if rule != "not_a_candidate"]
    assert [section["rule"] for section in content(results)["rules"]] == [*rules, HOSTILE]


def test_the_funnel_shows_what_a_rule_took_and_would_have_taken(results: Path) -> None:
    bars = [(bar["rule"], bar["count"], bar["also"], bar["left"]) for bar in content(results)["funnel"]["bars"]]
    assert bars == [
        ("problem", 0, 0, 7),
        ("rating_model", 1, 1, 6),
        ("monochrome", 1, 0, 5),
        ("ai", 0, 0, 5),
        ("cosplay", 0, 0, 5),
        ("duplicate", 0, 0, 5),
        ("identity", 2, 0, 3),
        (HOSTILE, 1, 0, 2),
    ]


def test_borderline_pictures_come_first(results: Path) -> None:
    page = content(results)
    assert [tile["numbers"] for tile in page["kept"]["tiles"]] == ["0.17 / 0.5", "0.11 / 0.5"]
    identity = next(section for section in page["rules"] if section["rule"] == "identity")
    assert [tile["numbers"] for tile in identity["tiles"]] == ["0.52 / 0.5", "0.9 / 0.5"]
    assert [tile["numbers"] for tile in identity["near"]] == ["0.17 / 0.5", "0.11 / 0.5"]


def test_pictures_above_the_allowed_rating_are_counted_and_never_shown(results: Path) -> None:
    page, rules = write(results), sections(results)
    assert (rules["rating_model"]["count"], rules["rating_model"]["tiles"]) == (1, [])
    assert (rules["monochrome"]["count"], rules["monochrome"]["tiles"], rules["monochrome"]["hidden"]) == (1, [], 1)
    assert "never shown" in page
    for hidden in (NAMES[4], NAMES[5]):
        assert hidden not in page


def test_a_sheet_says_how_many_more_there_are(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation, "SHEET", 1)
    page = content(results)
    assert (len(page["kept"]["tiles"]), page["kept"]["more"]) == (1, 1)
    assert "and 1 more" in Page(write(results)).text


def test_other_reasons_are_listed_with_their_numbers(results: Path) -> None:
    rows = filtered_rows()
    rows[2]["reasons"].append(reason("cosplay", None, None))
    rows[2]["reasons"].append(reason("monochrome", 0.61))
    write_curated(results, rows)
    shown = sections(results)["identity"]["tiles"][1]
    assert shown["also"] == ["cosplay", "monochrome 0.61 / 0.5"]
    assert "also: cosplay, monochrome 0.61 / 0.5" in shown["title"]


def test_a_copy_stands_beside_the_better_one(results: Path) -> None:
    rows = filtered_rows()
    rows.append(view(NAMES[8], "drop", "duplicate", 0.97, duplicate_group=f"{NAMES[0]}/picture/0"))
    write_curated(results, rows)
    copy = sections(results)["duplicate"]["tiles"][0]
    assert copy["beside"]["view"] == f"{NAMES[0]}/picture/0"
    assert copy["picture"] != copy["beside"]["picture"]


def test_files_with_a_problem_are_named_and_refused_posts_not_linked(results: Path) -> None:
    rows = filtered_rows()
    for picture in (NAMES[8], "missing:board:1"):
        rows.append(view(picture, "drop", "problem", threshold=None, identity_distance=None))
    write_curated(results, rows)
    raw = read_table(results / "raw.parquet")
    assert sections(results)["problem"]["problems"] == {
        "lines": [
            {"name": "board:1", "page": "https://board.example/posts/1", "why": "missing: 404"},
            {"name": "board:108", "page": "https://board.example/posts/108", "why": "unknown"},
        ],
        "more": 0,
    }
    refused = {**raw[-1], "problem": "rating explicit: not downloaded"}
    sources = {refused["picture"]: curation.Source(["board:1"], "https://board.example/posts/1", refused["problem"])}
    views = [row for row in rows if row["picture"] == refused["picture"]]
    assert curation.problems(views, results / "measured.parquet", sources)["lines"][0]["page"] is None


def test_a_table_without_scores_has_no_histograms(results: Path) -> None:
    write_curated(results, [{**row, "scores": None} for row in filtered_rows()])
    page = content(results)
    assert {section["chart"] for section in page["rules"]} == {None}
    assert [tile["numbers"] for tile in page["kept"]["tiles"]] == ["distance 0.170", "distance 0.110"]


# --- histograms


def histogram(rule: str, values: list[float], threshold: float | None, fired: int = 0) -> Row:
    """A chart of views with these values, of which the last few were dropped by the rule."""
    rows = []
    for number, value in enumerate(values):
        drops = number >= len(values) - fired
        reasons = [reason(rule, value, threshold)] if drops else []
        row = view(f"{number:064x}", "drop" if drops else "keep", reasons=reasons)
        rows.append({**row, "scores": [reason(rule, value, threshold)]})
    drawn = charts.histogram(rule, scores_by_rule(rows)[rule])
    assert drawn is not None
    return drawn


def test_a_histogram_counts_every_view_once() -> None:
    drawn = histogram("monochrome", [0.0, 0.1, 0.1, 0.4, 0.5, 1.0], 0.5, fired=2)
    counts = [tuple(map(int, re.findall(r"(\d+) (?:passed|dropped)", bar["title"]))) for bar in drawn["bars"]]
    assert [sum(side) for side in zip(*counts, strict=True)] == [4, 2]
    assert (drawn["views"], drawn["fired"], drawn["dropped"]) == (6, 2, "dropped from 0.5 on")
    assert drawn["ends"] == ["0", "1"]


@pytest.mark.parametrize(("rule", "left"), [("monochrome", False), ("identity", False), ("classes", True)])
def test_the_side_that_is_dropped_is_tinted(rule: str, left: bool) -> None:
    drawn = histogram(rule, [0.0, 0.5, 1.0], 0.25)
    line, tint = drawn["lines"][0]["x"], drawn["tint"]
    assert line == 0.25 * HISTOGRAM[0]
    assert (tint["x"], tint["x"] + tint["width"]) == ((0, line) if left else (line, HISTOGRAM[0]))


def test_whole_numbers_have_a_bar_each_and_the_line_between_two() -> None:
    drawn = histogram("several_people", [1, 1, 2, 4], 1, fired=2)
    assert [bar["title"] for bar in drawn["bars"]] == [
        "1: 2 passed, 0 dropped",
        "2: 0 passed, 1 dropped",
        "4: 0 passed, 1 dropped",
    ]
    assert drawn["lines"][0]["x"] == HISTOGRAM[0] / 4
    assert histogram("nobody", [1, 2], 1)["lines"][0]["x"] == round(HISTOGRAM[0] / 3, 1)


def test_a_threshold_that_nobody_reaches_is_on_the_chart() -> None:
    drawn = histogram("rating_model", [0.0, 0.01], 0.5)
    assert 0 < drawn["lines"][0]["x"] < HISTOGRAM[0]
    rated = histogram("rating", [0, 0], 0)
    assert rated["ends"] == ["general", "sensitive"]
    assert rated["tint"] == {"x": HISTOGRAM[0] / 2, "width": HISTOGRAM[0] / 2}


def test_a_number_without_threshold_is_only_shown(results: Path) -> None:
    drawn = sections(results)["ai"]["chart"]
    assert (drawn["lines"], drawn["tint"], drawn["dropped"]) == ([], None, "")
    assert "the number is shown, and drops nothing" in Page(write(results)).text


def test_wide_ranges_are_logarithmic() -> None:
    axis = axis_of("area", [100.0, 1_000_000.0], [])
    assert axis.logarithmic
    assert axis.place(10_000) == pytest.approx(0.5)
    assert axis.value(0.5) == pytest.approx(10_000)
    assert not axis_of("sharpness", [0.0, 5000.0], []).logarithmic


def test_thresholds_by_kind_are_all_drawn() -> None:
    row = view("a" * 64, "keep")
    scores = [reason("short_side", 700, 512), reason("short_side", 400.5, 256)]
    drawn = charts.histogram("short_side", scores_by_rule([{**row, "scores": scores}])["short_side"])
    assert drawn is not None
    assert [line["label"] for line in drawn["lines"]] == ["256", "512"]
    assert drawn["tint"] == {"x": 0, "width": drawn["lines"][0]["x"]}
    assert drawn["dropped"] == "dropped below 256 or 512"
