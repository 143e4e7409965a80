"""The outfits page of a small character whose tables and pictures are drawn here."""

import re
from pathlib import Path

import pytest

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import read_manifest
from tests.html_page import Page
from tests.small_results import CHARACTER, HOSTILE, write_outfits, write_results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / CHARACTER)


def test_the_page_is_well_formed_escaped_and_loads_nothing(results: Path) -> None:
    text = write_outfits(results).read_text()
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.tags:
        assert not (attributes.get("src") or "").replace("data:image/webp;base64,", "", 1).count(":"), tag
    assert HOSTILE not in text
    assert not re.search(r"url\(|@import", text)


def test_it_tells_plan_signature_and_remarks(results: Path) -> None:
    text = write_outfits(results).read_text()
    for said in (
        "hana_charaloom",
        "hana_red",
        "red kimono",
        "× 1",
        "100 %",
        "long caption",
        "shorten it",
        "blue hair",
        "25 % tagged as",
    ):
        assert said in text
    assert text.count("<circle") == 2
    assert read_manifest(results / "outfits.manifest.json")["counts"] == {"outfits": 1, "thumbnails": 2}


def test_an_outfit_that_is_not_trained_says_why(results: Path) -> None:
    file = read_json(results / "outfits.json")
    file["outfits"][0] |= {"trained": False, "why_not": "3 more pictures needed", "share": 0.0}
    write_json(results / "outfits.json", {**file, "lint": []})
    text = write_outfits(results).read_text()
    assert "not trained: 3 more pictures needed" in text
    assert "No remarks" in text


def test_same_tables_same_bytes(results: Path) -> None:
    assert write_outfits(results).read_bytes() == write_outfits(results, "again").read_bytes()
