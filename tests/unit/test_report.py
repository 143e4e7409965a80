"""The report of a small character whose tables and pictures are drawn here."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from charaloom import report
from charaloom.errors import CharaloomError
from charaloom.files import sha256_bytes, write_json, write_text
from charaloom.manifest import lineage, write_manifest
from charaloom.selection import choose
from charaloom.tables import FILTERED, RAW, SCORES, write_table

CHARACTER = "hana"
HOSTILE = '<script>alert("x")</script>'
BOX = {"x0": 0, "y0": 0, "x1": 200, "y1": 240}
SETTINGS = {"threshold": 0.178, "negative": "nsfw", "width": 64, "height": 64, "steps": 2, "guidance": 7.0}


def drawn(number: int) -> bytes:
    """A picture of its own colour, so that thumbnails can be told apart."""
    image = Image.new("RGB", (200, 240), (10 * number % 256, 120, 255 - 10 * number % 256))
    ImageDraw.Draw(image).ellipse((50, 30, 150, 180), fill=(240, 200, 180))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def view(picture: str, verdict: str, rule: str | None = None, score: float | None = None, **more) -> dict:
    reasons = [{"rule": rule, "score": score, "threshold": 0.5}] if rule else []
    row = {"picture": picture, "kind": "picture", "person": None, "verdict": verdict, "rule": rule, "score": score}
    row |= {"view": f"{picture}/picture/0", "threshold": 0.5 if rule else None, "reasons": reasons, **BOX}
    row |= {"duplicate_group": None, "identity_cluster": 0, "identity_distance": 0.1, "split": None}
    return {**row, **more}


def score_rows() -> list[dict]:
    rows = []
    for base, checkpoints in (("one", ("none", "step-000100", "step-000200")), ("two", ("none", "step-000200"))):
        for checkpoint in checkpoints:
            for scene in ("portrait", "standing"):
                recognised = checkpoint == "step-000200" or (checkpoint, scene) == ("step-000100", "portrait")
                kept = (base, checkpoint, scene) != ("two", "none", "standing")
                rows.append(
                    {
                        "base": base,
                        "checkpoint": checkpoint,
                        "step": int(checkpoint[-6:]) if checkpoint != "none" else 0,
                        "prompt_id": f"red-{scene}",
                        "outfit": "red",
                        "prompt": f"hana_charaloom, {scene}, {HOSTILE}",
                        "seed": 7,
                        "file": f"{base}/{checkpoint}/red-{scene}-7.png",
                        "kept": kept,
                        "rating": [{"name": "safe", "score": 1.0}],
                        "identity_distance": (0.1 if recognised else 0.4) if kept else None,
                        "recognised": recognised and kept,
                    }
                )
    return rows


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder with everything the page reads."""
    folder = tmp_path / "results" / CHARACTER
    files = [drawn(number) for number in range(9)]
    names = [sha256_bytes(data) for data in files]
    raw = [
        {"picture": name, "bytes": data, "size": len(data), "format": "PNG", "posts": []}
        for name, data in zip(names, files, strict=True)
    ]
    raw.append({"picture": "missing:board:1", "bytes": None, "problem": "missing: 404", "posts": []})
    write_table(folder / "raw.parquet", raw, RAW, "picture", {})
    filtered = [
        view(names[0], "keep", split="train", identity_distance=0.11),
        view(names[1], "keep", split="held_out", identity_distance=0.17),
        view(names[2], "drop", "identity", 0.9),
        view(names[3], "drop", "identity", 0.52),
        view(names[4], "drop", "rating_model", 0.8),
        view(
            names[5],
            "drop",
            "monochrome",
            0.7,
            reasons=[{"rule": name, "score": 0.7, "threshold": 0.5} for name in ("monochrome", "rating_model")],
        ),
        view(names[6], "drop", "not_a_candidate", kind="head", view=f"{names[6]}/head/0"),
        view(names[7], "drop", HOSTILE, 0.6),
    ]
    write_table(folder / "filtered.parquet", filtered, FILTERED, "view", {})
    outfit = {
        "id": "red",
        "trigger": "hana_red",
        "name": f"red {HOSTILE}",
        "support": 2,
        "stability": 0.93,
        "trained": True,
    }
    outfit |= {"signature": [{"tag": "red_kimono", "score": 0.9}], "representatives": [f"{names[0]}/picture/0"]}
    prompts = [{"id": "red-portrait", "outfit": "red", "text": "hana_charaloom, hana_red, portrait"}]
    told = {
        "trigger": "hana_charaloom",
        "core": ["blue_hair"],
        "outfits": [outfit],
        "unassigned": 1,
        "prompts": prompts,
    }
    write_json(folder / "outfits.json", told)
    write_json(folder / "core.json", {})
    rows = score_rows()
    for row in rows:
        (folder / "previews" / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "previews" / row["file"])
    write_table(folder / "previews" / "scores.parquet", rows, SCORES, "file", {})
    chosen = choose(rows, ["one", "two"], ["step-000100", "step-000200"], "scores.parquet")
    write_json(
        folder / "selection.json",
        {**chosen, "bases": [{"name": "one"}, {"name": "two"}], "settings": SETTINGS, "rule": "best"},
    )
    losses = [f"{step}\t{1 / step + 0.1}\t0.001" for step in range(1, 1001)]
    write_text(folder / "checkpoints" / "loss.tsv", "\n".join(["step\tloss\trate_unet", *losses, ""]))
    for name in ("hana", "hana_emb", "hana_bundle"):
        write_text(folder / "model" / f"{name}.safetensors", name * 9)
    for stage in report.STAGES:
        if stage not in ("published", "report"):
            outputs = {"model": folder / "model"} if stage == "model" else {}
            write_manifest(folder / f"{stage}.manifest.json", lineage(stage, CHARACTER, {}, {}), outputs, {})
    write_json(folder / "published" / "folder.json", {"target": {"name": "folder"}, "tag": "v-123"})
    return folder


def write(results: Path, name: str = "report") -> str:
    report.write_report(CHARACTER, {"version": 1}, results, results / f"{name}.html", results / f"{name}.manifest.json")
    return (results / f"{name}.html").read_text()


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag that was opened was closed."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_is_well_formed_and_asks_no_network(results):
    page = Page(write(results))
    assert page.open == []
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("data:image/webp;base64,", "#")), (tag, value)
    assert not re.search(r"url\(|@import|https?://", write(results))


def test_text_from_strangers_is_escaped(results):
    page = Page(write(results))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert HOSTILE in page.text


def test_the_same_inputs_give_the_same_bytes(results):
    assert write(results) == write(results, "again")
    first, second = (results / f"{name}.manifest.json" for name in ("report", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_the_funnel_adds_up(results):
    section = report.pictures_section(results, report.Thumbnails())
    funnel = section["funnel"]
    assert (funnel["total"], funnel["spare"], funnel["kept"]) == (7, 1, 2)
    assert sum(bar["count"] for bar in funnel["bars"]) + funnel["kept"] == funnel["total"]
    assert [bar["rule"] for bar in funnel["bars"]] == ["identity", HOSTILE, "monochrome", "rating_model"]
    assert section["raw"] == {"pictures": 10, "problems": [("missing", 1)]}
    assert (section["kept_count"], section["held_out_count"]) == (2, 1)


def test_borderline_pictures_come_first(results):
    section = report.pictures_section(results, report.Thumbnails())
    assert [one["numbers"] for one in section["kept"]] == ["distance 0.170", "distance 0.110"]
    identity = next(sheet for sheet in section["dropped"] if sheet["rule"] == "identity")
    assert [one["numbers"] for one in identity["tiles"]] == ["0.52 / 0.5", "0.9 / 0.5"]


def test_pictures_above_the_allowed_rating_are_counted_and_never_shown(results):
    section = report.pictures_section(results, report.Thumbnails())
    sheets = {sheet["rule"]: sheet for sheet in section["dropped"]}
    assert sheets["rating_model"]["count"] == 1
    assert [one["picture"] for one in sheets["rating_model"]["tiles"]] == [None]
    assert [one["picture"] for one in sheets["monochrome"]["tiles"]] == [None]
    assert all(one["picture"] for one in sheets["identity"]["tiles"])
    previews = report.previews_section(results, report.Thumbnails())
    other = next(grid for grid in previews["grids"] if grid["base"] == "two")
    assert [[one["picture"] is None for one in line["tiles"]] for line in other["lines"]] == [
        [False, False],
        [True, False],
    ]


def test_the_chosen_column_is_marked_on_every_base(results):
    grids = report.previews_section(results, report.Thumbnails())["grids"]
    marked = {grid["base"]: [column["name"] for column in grid["columns"] if column["chosen"]] for grid in grids}
    assert marked == {"one": ["step-000200"], "two": ["step-000200"]}
    assert [column["label"] for column in grids[0]["columns"]] == ["without LoRA", "step-000100", "step-000200"]
    assert "step-000200 on one: 2 of 2 previews are recognised" in Page(write(results)).text


def test_the_loss_curve_starts_high_ends_low_and_marks_the_checkpoints(results):
    chart = report.loss_chart(results / "checkpoints" / "loss.tsv", report.read_json(results / "selection.json"))
    points = [tuple(map(float, point.split(","))) for point in chart["path"].split()]
    assert len(points) <= report.CHART_POINTS
    assert points[0][1] < points[-1][1] <= chart["height"]
    assert [(mark["x"], mark["chosen"]) for mark in chart["marks"]] == [(64.0, False), (128.0, True)]


def test_thumbnails_stay_small(results):
    assert max(map(len, re.findall(r"data:image/webp;base64,[^\"]+", write(results)))) < 16_000


def test_a_missing_stage_is_named(results):
    (results / "previews.manifest.json").unlink()
    with pytest.raises(CharaloomError, match="run the stage 'previews' first"):
        write(results)
