"""The cards of a dataset: four languages, pictures of outfits, code that loads it; strangers' text stays text."""

import io
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from charaloom.artifacts.types import Row
from charaloom.curation.rules import RULES
from charaloom.publishing.cards.dataset_card import ARTISTS_NAMED, card_text, provenance, write_samples
from charaloom.publishing.cards.texts import LANGUAGES, words_of
from charaloom.publishing.repos.shards import features
from tests.card_facts import dataset_card, drawn, outfits_file
from tests.unit.publishing.cards.test_languages import FENCED, body, code, links, numbers

HOSTILE = "x\n---\nlicense: mit\n\n# heading ![p](http://evil) <b> | `tick` \u202e"
CARDS: dict[str, Row] = {
    "whole": {},
    "of a folder": {"sources": {"sites": [], "artists": [], "pictures": 54, "removed": 0}, "core": []},
    "without outfits": {"outfits": {**outfits_file(), "outfits": []}},
    "of links": {"pictures": False, "samples": {}},
    "with an archive": {"archive": "kohya/hana.zip"},
    "on a hub": {
        "repositories": {"model": "someone/hana", "dataset": "someone/hana-set", "endpoint": "https://hub.example"},
        "minor": True,
        "contact": "https://example.org/removal",
    },
    "of many artists": {
        "sources": {
            "sites": [("board", 99)],
            "artists": [(f"artist_{n}", 2) for n in range(60)],
            "pictures": 99,
            "removed": 0,
        }
    },
}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
@pytest.mark.parametrize("changes", CARDS.values(), ids=CARDS)
def test_cards_say_the_same_in_every_language(language: str, changes: Row) -> None:
    english, other = (body(card_text(dataset_card(**changes), each)) for each in ("en", language))
    assert FENCED.findall(other) == FENCED.findall(english)
    for facts in (numbers, links, code):
        assert facts(other) == facts(english)
    assert other != english
    assert "{" not in FENCED.sub("", other)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_has_words(language: str) -> None:
    assert set(RULES) <= set(words_of(language)["rules"])


def test_columns_of_the_card_are_those_of_the_rows() -> None:
    named = re.findall(r"^\| `(\w+)` \|", card_text(dataset_card()), re.MULTILINE)
    assert set(named) <= set(features())
    assert {"image", "caption", "tags", "outfit", "posts"} <= set(named)


def test_a_dataset_of_links_promises_no_pictures() -> None:
    text = card_text(dataset_card(pictures=False, samples={}))
    assert "This dataset holds no pictures" in text
    assert "image" not in body(text)
    assert "kohya" not in text
    assert "| `url` |" in text


def test_an_archive_for_kohya_stands_in_place_of_the_code() -> None:
    text = card_text(dataset_card(archive="kohya/hana.zip"))
    assert "[kohya/hana.zip](kohya/hana.zip)" in text
    assert "enumerate(data)" not in text


def test_what_a_hub_reads() -> None:
    front = yaml.safe_load(card_text(dataset_card()).split("---\n")[1])
    assert (front["license"], front["task_categories"]) == ("other", ["text-to-image"])
    assert front["pretty_name"] == "hana, a character dataset by Charaloom"
    assert front["size_categories"] == ["n<1K"]
    assert [entry["split"] for entry in front["configs"][0]["data_files"]] == ["train", "held_out"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_from_strangers_writes_no_front_matter_and_no_heading(language: str) -> None:
    outfits = outfits_file()
    outfits["outfits"][0] |= {"name": HOSTILE, "signature": [{"tag": HOSTILE, "score": 1.0}]}
    outfits["outfits"][2]["name"] = HOSTILE
    sources = {"sites": [(HOSTILE, 1)], "artists": [(HOSTILE, 1), ("- [x](y)", 1)], "pictures": 1, "removed": 0}
    core = [{"tag": HOSTILE, "share": 0.5}]
    funnel = {"pictures": 1, "views": 1, "kept": 0, "dropped": [(HOSTILE, 1)]}
    card = dataset_card(outfits=outfits, sources=sources, core=core, funnel=funnel, contact=HOSTILE)
    text = card_text(card, language)
    plain = card_text(dataset_card(contact="x"), language)
    assert text[: -len(body(text))] == plain[: -len(body(plain))], "the front matter"
    page, expected = shown(body(text)), shown(body(plain))
    for tag in ("<h1", "<h2", "<img", "<hr", "<table", "<a "):
        assert page.count(tag) == expected.count(tag), tag
    assert "<b>" not in page
    assert "\u202e" not in text


def shown(text: str) -> str:
    return pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def test_artists_beyond_the_first_are_counted() -> None:
    text = card_text(dataset_card(**CARDS["of many artists"]))
    assert f"Artists with fewer pictures: {60 - ARTISTS_NAMED};" in text


def test_removals_are_counted_and_not_named() -> None:
    assert "Pictures removed on request so far: 2." in card_text(dataset_card())
    assert "removed on request" not in card_text(dataset_card(**CARDS["of a folder"]))


def test_artists_count_by_pictures(tmp_path: Path) -> None:
    from charaloom.artifacts.tables import RAW, write_table

    post = dict.fromkeys(("site", "post_id", "page_url", "file_url", "md5", "rating", "source", "created"), "x")
    post |= dict.fromkeys(("score", "favourites", "parent_id"))
    post |= {f"tags_{kind}": [] for kind in ("general", "character", "copyright", "meta")}
    posts = [{**post, "artists": ["aoi"]}, {**post, "artists": ["aoi", "maker"]}]
    rows = [{"picture": name, "posts": posts, **dict.fromkeys(("bytes", "problem"))} for name in ("a", "b", "gone")]
    rows = [{**dict.fromkeys(RAW.names), **row} for row in rows]
    rows.append({**dict.fromkeys(RAW.names), "picture": "taken", "problem": "removed: on request"})
    write_table(tmp_path / "raw.parquet", rows, RAW, "picture")
    known = provenance(tmp_path / "raw.parquet", [{"picture": "a"}, {"picture": "b"}])
    assert known == {"sites": [("x", 4)], "artists": [("aoi", 2), ("maker", 2)], "pictures": 2, "removed": 1}


def test_an_outfit_is_shown_by_its_first_representative_that_trains(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def bytes_of(number: int) -> bytes:
        stream = io.BytesIO()
        drawn(number).resize((832, 1216)).save(stream, "PNG")
        return stream.getvalue()

    (tmp_path / "data").mkdir()
    rows = [{"image": {"bytes": bytes_of(n), "path": f"{n}.png"}, "view": f"view-{n}"} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "train-0000.parquet")
    outfits = outfits_file()
    outfits["outfits"][0]["representatives"] = ["held-out", "view-2", "view-0"]
    outfits["outfits"][2]["representatives"] = ["view-1"]  # not trained
    assert write_samples(tmp_path, outfits) == {"red_kimono": "samples/red_kimono.webp"}
    with Image.open(tmp_path / "samples" / "red_kimono.webp") as image:
        assert image.size == (263, 384)
        shown, expected = image.getpixel((131, 350)), drawn(2).getpixel((104, 277))
        assert isinstance(shown, tuple)
        assert isinstance(expected, tuple)
        assert all(abs(a - b) < 12 for a, b in zip(shown, expected, strict=True))


def test_the_code_of_the_card_loads_the_folder_and_writes_one_for_kohya(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq
    from datasets import Dataset

    def row(number: int) -> Row:
        empty = dict.fromkeys(features())
        picture = {"image": drawn(number), "caption": f"hana_charaloom, {number}", "repeats": 3}
        return {**empty, "tags": [], "box": [0, 0, 1, 1], "masked": [], "posts": [], **picture}

    (tmp_path / "data").mkdir()
    for split, count in (("train", 2), ("held_out", 1)):
        table = Dataset.from_list([row(n) for n in range(count)], features=features()).data.table
        pq.write_table(table, tmp_path / "data" / f"{split}-0000.parquet")
    text = card_text(dataset_card(outfits={**outfits_file(), "trigger": 'hana: {x} "y"'}))
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names: Row = {}
    for _, language, block in FENCED.findall(text):
        if language == "python" and "polars" not in block:
            exec(block, names)
    assert len(names["data"]) == 2
    folder = tmp_path / "kohya" / "3_hana_ {x} _y_"
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00000.txt", "00001.png", "00001.txt"]
    assert (folder / "00001.txt").read_text() == "hana_charaloom, 1"
