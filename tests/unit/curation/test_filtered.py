"""Verdicts on synthetic measurements: every rule, duplicates, identity, held-out pictures."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from charaloom.artifacts.tables import MEASURED, RAW, read_table, write_table
from charaloom.config.params import Filtered, Models
from charaloom.curation.duplicates import nearest
from charaloom.curation.filtered import filter_views
from charaloom.curation.held_out import interleaved
from charaloom.curation.rules import RULES
from charaloom.images.fingerprints import thumbnail
from charaloom.vision.models import fetch_models
from tests.standins import read_lock, write_models

PARAMS = {
    "rules": list(RULES),
    "short_side": {"picture": 100, "person": 100},
    "area": {"picture": 20000, "person": 20000},
    "person_confidence": 0.3,
    "identity": 0.1,
    "identity_minimum": 5,
    "references": [],
    "monochrome": 0.5,
    "classes": ["illustration", "bangumi"],
    "text": ["speech_bubble"],
    "rating_model": 0.5,
    "ai": 0.5,
    "sharpness": 10.0,
    "aesthetic": 0.1,
    "duplicate": 0.85,
    "duplicate_distance": 10,
    "duplicate_similarity": 0.75,
    "held_out": 0.2,
    "ratings": ["general"],
    "tag": None,
    "seed": 7,
    "version": 1,
}
POST = {
    **dict.fromkeys(("page_url", "file_url", "md5", "score", "favourites", "parent_id", "created", "source")),
    **{"site": "danbooru", "post_id": "1", "rating": "general"},
    **{"artists": [], "tags_general": [], "tags_copyright": [], "tags_meta": []},
    "tags_character": ["hana_(charaloom)"],
}
ROUND = np.random.default_rng(0).normal(size=(4, 768)).astype(np.float32)


class World:
    """Raw and measured rows of a few pictures that a test may change before it decides."""

    def __init__(self, folder: Path, hub: Path) -> None:
        self.folder, self.hub = folder, hub
        self.raw: list[dict[str, Any]] = []
        self.measured: list[dict[str, Any]] = []

    def add(self, who: int = 0, people: int = 1, width: int = 300, height: int = 300, **changes: Any) -> str:
        """A picture of `people` persons, the first of them `who`, the next ones `who + 1`, …; returns its name."""
        number = len(self.raw)
        rng = np.random.default_rng(number)
        name = f"{number:064x}"
        post = {**POST, "post_id": str(number), **changes.pop("post", {})}
        self.raw.append(
            {"picture": name, "bytes": b"", "size": 1000, "format": "PNG", "problem": None, "posts": [post]}
        )
        picture = {
            **self.view(name, "picture", 0, (0, 0, width, height), who, rng),
            **drawn(number, width, height),
            "tags": [],
            "classes": scores(illustration=0.9, comic=0.1),
            "monochrome": 0.1,
            "rating": scores(safe=0.9, r15=0.1, r18=0.0),
            "ai": 0.1,
            "generated": False,
            "aesthetic": 0.8,
            "persons": people,
            "heads": people,
            "faces": people,
        }
        self.measured.append({**picture, **changes})
        step = width // max(people, 1)
        for index in range(people):
            box = (index * step, 0, (index + 1) * step, height)
            person = self.view(name, "person", index, box, who + index, rng)
            head = self.view(name, "head", index, (box[0] + 5, 5, box[0] + 35, 35), None, rng)
            self.measured += [{**person, "confidence": 0.9}, {**head, "confidence": 0.9, "person": index}]
        return name

    @staticmethod
    def view(name: str, kind: str, index: int, box: tuple[int, ...], who: int | None, rng: Any) -> dict[str, Any]:
        row = dict.fromkeys(MEASURED.names)
        row |= {"view": f"{name}/{kind}/{index}", "picture": name, "kind": kind}
        row |= dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
        row |= {"width": box[2] - box[0], "height": box[3] - box[1], "sharpness": 100.0}
        row["phash"] = rng.bytes(8).hex()
        if who is not None:
            row["ccip"] = ROUND[who] + rng.normal(size=768).astype(np.float32) * 0.1
            row["tag_embedding"] = rng.normal(size=16).astype(np.float32)
            row["person"] = index if kind == "person" else None
        return row

    def row(self, picture: str, kind: str = "picture", index: int = 0) -> dict[str, Any]:
        return next(row for row in self.measured if row["view"] == f"{picture}/{kind}/{index}")

    def decide(self, **changes: Any) -> dict[str, dict[str, Any]]:
        write_table(self.folder / "raw.parquet", self.raw, RAW, "picture")
        write_table(self.folder / "measured.parquet", self.measured, MEASURED, "view")
        (self.folder / "measured.manifest.json").write_text("{}")
        filter_views(
            character="hana",
            params=Filtered.of({**PARAMS, **changes}),
            raw=self.folder / "raw.parquet",
            measured=self.folder / "measured.parquet",
            hub=self.hub,
            upstream=[self.folder / "measured.manifest.json"],
            table=self.folder / "filtered.parquet",
            decisions=self.folder / "filtered.decisions.json",
            manifest=self.folder / "filtered.manifest.json",
        )
        return {row["view"]: row for row in read_table(self.folder / "filtered.parquet")}

    def refusal(self, **changes: Any) -> str:
        """Why nothing may train of what these params leave: the same for the page and the next stage."""
        self.decide(**changes)
        said = [json.loads((self.folder / f"filtered.{name}.json").read_text()) for name in ("manifest", "decisions")]
        assert said[0]["refusal"] == said[1]["refusal"]
        return said[0]["refusal"]

    def counts(self) -> dict[str, Any]:
        return json.loads((self.folder / "filtered.manifest.json").read_text())["counts"]


def drawing(seed: int, width: int, height: int) -> np.ndarray:
    """A grey picture of soft spots, uint8 [h, w]: one of many that are not alike."""
    spots = np.random.default_rng(seed).integers(0, 255, (9, 9), dtype=np.uint8)
    return np.asarray(Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC))


def drawn(seed: int, width: int, height: int, box: tuple[int, int, int, int] | None = None) -> dict[str, Any]:
    """Thumbnail and size of a drawing, or of a cut of it."""
    grey = drawing(seed, width, height)
    if box:
        grey = grey[box[1] : box[3], box[0] : box[2]]
    small = thumbnail(grey)
    return {
        "thumbnail": small.tobytes(),
        "thumbnail_width": small.shape[1],
        "width": grey.shape[1],
        "height": grey.shape[0],
        "x1": grey.shape[1],
        "y1": grey.shape[0],
    }


def scores(**named: float) -> list[dict[str, Any]]:
    return [{"name": name, "score": score} for name, score in named.items()]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    params = Models.of({"lock": read_lock(), "hub": str(write_models(folder / "source"))})
    fetch_models(params, folder / "hub", folder / "manifest.json")
    return folder / "hub"


@pytest.fixture
def world(tmp_path: Path, hub: Path) -> World:
    made = World(tmp_path, hub)
    for _ in range(12):
        made.add()
    return made


def test_clean_pictures_are_kept_and_split(world: World) -> None:
    rows = world.decide()
    kept = [row for row in rows.values() if row["verdict"] == "keep"]
    assert len(kept) == 12
    assert {row["kind"] for row in kept} == {"picture"}
    assert sum(row["split"] == "held_out" for row in kept) == 4
    assert all(row["identity_distance"] < 0.1 and row["identity_cluster"] == 0 for row in kept)
    others = [row for row in rows.values() if row["verdict"] == "drop"]
    assert {row["rule"] for row in others} == {"not_a_candidate"}
    assert {row["split"] for row in others} == {None}


@pytest.mark.parametrize(
    ("rule", "changes", "score", "threshold"),
    [
        ("nobody", {"people": 0}, 0, 1),
        ("rating", {"post": {"rating": "questionable"}}, 2, 0),
        ("rating_model", {"rating": scores(safe=0.2, r15=0.5, r18=0.3)}, 0.8, 0.5),
        ("classes", {"classes": scores(comic=0.7, illustration=0.3)}, 0.3, 0.5),
        ("monochrome", {"monochrome": 0.5}, 0.5, 0.5),
        ("text", {"post": {"tags_general": ["speech_bubble"]}}, 1, 0.5),
        ("text", {"tags": scores(speech_bubble=0.9, solo=1.0)}, 0.9, 0.5),
        ("ai_tag", {"post": {"tags_meta": ["ai-generated"]}}, None, None),
        ("ai_parameters", {"generated": True}, None, None),
        ("ai", {"ai": 0.7}, 0.7, 0.5),
        ("short_side", {"width": 90, "height": 300}, 90, 100),
        ("area", {"width": 100, "height": 199}, 19900, 20000),
        ("sharpness", {"sharpness": 9.0}, 9, 10),
        ("aesthetic", {"aesthetic": 0.05}, 0.05, 0.1),
        ("cosplay", {"post": {"tags_general": ["cosplay"]}}, None, None),
        ("cosplay", {"post": {"tags_character": ["hana_(charaloom)", "mio_(cosplay)"]}}, None, None),
        ("alternate_costume", {"post": {"tags_general": ["official_alternate_costume"]}}, None, None),
        ("several_people", {"people": 2, "width": 800}, 2, 1),
        ("identity", {"who": 2}, None, 0.1),
    ],
)
def test_rule(world: World, rule: str, changes: dict[str, Any], score: float | None, threshold: float | None) -> None:
    name = world.add(**changes)
    row = world.decide()[f"{name}/picture/0"]
    assert (row["verdict"], row["rule"]) == ("drop", rule)
    assert row["threshold"] == (pytest.approx(threshold) if threshold is not None else None)
    if score is not None:
        assert row["score"] == pytest.approx(score, abs=1e-6)


MINOR_CASES: list[tuple[dict[str, Any], float]] = [
    ({"post": {"tags_general": ["school_swimsuit"]}}, 1.0),
    ({"post": {"tags_meta": ["bikini"]}}, 1.0),
    ({"tags": scores(bikini_top_only=0.4, solo=1.0)}, 0.4),
]


@pytest.mark.parametrize(("changes", "score"), MINOR_CASES)
def test_swimwear_of_a_character_who_may_be_a_minor_is_dropped(
    world: World, changes: dict[str, Any], score: float
) -> None:
    """Whatever the config's list of rules says; a crop of such a picture goes with it."""
    name, group = world.add(**changes), world.add(people=2, width=800, **changes)
    blocked = ["bikini", "swimsuit"]
    short = ["problem", "not_a_candidate", "rating", "rating_model"]
    for trusted in ({}, {"trust": "all"}, {"rules": short}):
        row = world.decide(blocked=blocked, **trusted)[f"{name}/picture/0"]
        assert (row["verdict"], row["rule"]) == ("drop", "minor")
        assert row["score"] == pytest.approx(score)
    assert world.decide(blocked=blocked)[f"{group}/person/0"]["rule"] == "minor"
    assert world.decide()[f"{name}/picture/0"]["verdict"] == "keep", "of an adult nothing is blocked"


def test_a_tag_that_only_looks_like_a_blocked_one_is_kept(world: World) -> None:
    name = world.add(tags=scores(brat=0.9, bikini=0.34), post={"tags_general": ["brass_knuckles"]})
    assert world.decide(blocked=["bra", "bikini"])[f"{name}/picture/0"]["verdict"] == "keep"


def test_a_picture_without_measurements_is_dropped_as_a_problem(world: World) -> None:
    name = world.add()
    world.measured = [row for row in world.measured if row["picture"] != name]
    view = {"view": f"{name}/picture/0", "picture": name, "kind": "picture", "problem": "no file"}
    world.measured.append({**dict.fromkeys(MEASURED.names), **view})
    row = world.decide()[f"{name}/picture/0"]
    assert (row["verdict"], row["rule"], row["score"]) == ("drop", "problem", None)


def test_a_strip_is_dropped_like_any_small_picture(world: World) -> None:
    names = [world.add(width=20, height=1400), world.add(width=1400, height=20), world.add(width=1, height=3000)]
    for name in names:
        world.row(name)["phash"] = world.row(f"{0:064x}")["phash"]
    rows = world.decide()
    assert [rows[f"{name}/picture/0"]["rule"] for name in names] == ["short_side"] * 3


def test_every_reason_is_listed_in_order(world: World) -> None:
    name = world.add(monochrome=0.9, width=50, height=50, post={"rating": "explicit"})
    row = world.decide()[f"{name}/picture/0"]
    assert [reason["rule"] for reason in row["reasons"]][:4] == ["rating", "monochrome", "short_side", "area"]
    assert row["rule"] == "rating"


def test_ratings_and_rules_can_be_changed_or_switched_off(world: World) -> None:
    grey = world.add(monochrome=0.9)
    sensitive = world.add(post={"rating": "sensitive"})
    rows = world.decide(monochrome=None, ratings=["general", "sensitive"])
    assert rows[f"{grey}/picture/0"]["verdict"] == "keep"
    assert rows[f"{sensitive}/picture/0"]["verdict"] == "keep"


def test_of_several_people_the_character_is_cut_out(world: World) -> None:
    name = world.add(people=2, width=800)
    rows = world.decide()
    assert rows[f"{name}/picture/0"]["rule"] == "several_people"
    assert rows[f"{name}/person/0"]["verdict"] == "keep"
    assert rows[f"{name}/person/1"]["rule"] == "identity"
    assert rows[f"{name}/person/1"]["identity_distance"] > 0.1


def test_a_person_of_low_confidence_does_not_count(world: World) -> None:
    name = world.add(people=2, width=800, heads=1)
    world.row(name, "person", 1)["confidence"] = 0.31
    world.measured.remove(world.row(name, "head", 1))
    rows = world.decide(person_confidence=0.5)
    assert rows[f"{name}/picture/0"]["verdict"] == "keep"
    assert rows[f"{name}/person/1"]["rule"] == "not_a_candidate"


def copy(world: World, of: str, to: str, **changes: Any) -> None:
    """Make one picture a copy of the other: its hash and tags, and a thumbnail that may be of a part."""
    original, replaced = world.row(of), world.row(to)
    replaced |= {key: original[key] for key in ("phash", "tag_embedding", "thumbnail", "thumbnail_width")} | changes


def test_the_best_of_duplicates_is_kept(world: World) -> None:
    small, large = world.add(), world.add(width=600, height=600)
    copy(world, large, small)
    rows = world.decide()
    dropped = rows[f"{small}/picture/0"]
    assert (dropped["rule"], dropped["threshold"]) == ("duplicate", 0.85)
    assert dropped["score"] > 0.99
    assert dropped["duplicate_group"] == rows[f"{large}/picture/0"]["duplicate_group"] == f"{large}/picture/0"
    assert rows[f"{large}/picture/0"]["verdict"] == "keep"


@pytest.mark.parametrize("box", [(30, 20, 300, 290), (0, 0, 220, 300), (60, 60, 260, 240)])
def test_a_crop_is_found_by_its_tags_and_laid_over_the_whole(world: World, box: tuple[int, int, int, int]) -> None:
    whole, crop = world.add(), world.add()
    cut = drawn(int(whole, 16), 300, 300, box)
    copy(world, whole, crop, phash=world.row(crop)["phash"], **cut)
    rows = world.decide()
    assert rows[f"{crop}/picture/0"]["rule"] == "duplicate"
    assert rows[f"{crop}/picture/0"]["duplicate_group"] == f"{whole}/picture/0"


def test_a_person_in_a_group_is_the_one_cut_out_of_it(world: World) -> None:
    """A group picture, and a post that shows only its left person: the person's view and the picture are duplicates."""
    group, alone = world.add(people=2, width=600), world.add()
    left = (0, 0, 300, 300)
    copy(world, group, alone, phash=world.row(alone)["phash"], **drawn(int(group, 16), 600, 300, left))
    rows = world.decide()
    duplicates = [rows[f"{group}/person/0"], rows[f"{alone}/picture/0"]]
    assert sorted(str(row["rule"]) for row in duplicates) == ["None", "duplicate"]
    assert rows[f"{group}/person/1"]["duplicate_group"] == f"{group}/person/1"


def test_alike_by_hash_and_tags_but_not_one_drawing(world: World) -> None:
    first, second = world.add(), world.add()
    copy(world, first, second, **drawn(int(second, 16), 300, 300))
    rows = world.decide()
    assert rows[f"{first}/picture/0"]["verdict"] == rows[f"{second}/picture/0"]["verdict"] == "keep"


def test_a_usable_duplicate_beats_a_larger_one_that_is_not(world: World) -> None:
    good, bad = world.add(), world.add(width=600, height=600, monochrome=0.9)
    copy(world, good, bad)
    rows = world.decide()
    assert rows[f"{good}/picture/0"]["verdict"] == "keep"
    assert [reason["rule"] for reason in rows[f"{bad}/picture/0"]["reasons"]] == ["monochrome", "duplicate"]


def test_a_copy_that_its_board_calls_upscaled_loses(world: World) -> None:
    good, upscaled = world.add(), world.add(width=900, height=900, post={"tags_meta": ["upscaled"]})
    copy(world, good, upscaled)
    assert world.decide()[f"{upscaled}/picture/0"]["duplicate_group"] == f"{good}/picture/0"


def test_rules_apply_in_the_order_of_the_config(world: World) -> None:
    name = world.add(monochrome=0.9, width=50, height=50)
    row = world.decide(rules=["problem", "not_a_candidate", "rating", "area", "monochrome"])[f"{name}/picture/0"]
    assert [reason["rule"] for reason in row["reasons"]] == ["area", "monochrome"]
    assert [score["rule"] for score in row["scores"]] == ["rating", "area", "monochrome"]


def test_scores_are_recorded_where_nothing_is_dropped(world: World) -> None:
    name = world.add(ai=0.9)
    row = world.decide(ai=None)[f"{name}/picture/0"]
    assert row["verdict"] == "keep"
    recorded = {score["rule"]: (score["score"], score["threshold"]) for score in row["scores"]}
    assert recorded["ai"] == (0.9, None)
    assert recorded["monochrome"] == (0.1, 0.5)
    assert recorded["identity"][1] == 0.1


def test_tags_choose_the_character_not_the_crowd(world: World) -> None:
    """More pictures of somebody else than of the character: the boards' tags decide."""
    crowd = [world.add(who=1, post={"tags_character": ["hana_(charaloom)", "mio", "ema"]}) for _ in range(20)]
    rows = world.decide(tag="hana_(charaloom)")
    assert {rows[f"{name}/picture/0"]["rule"] for name in crowd} == {"identity"}
    clusters = world.counts()["identity_clusters"]
    assert [cluster["views"] for cluster in clusters] == [12, 20]


def test_without_tags_the_largest_cluster_is_the_characters(world: World) -> None:
    for row in world.raw:
        row["posts"] = []
    others = [world.add(who=1, post={"tags_character": []}) for _ in range(5)]
    rows = world.decide()
    assert {rows[f"{name}/picture/0"]["rule"] for name in others} == {"identity"}


def test_twenty_orders_give_the_same_bytes(world: World) -> None:
    for who in (0, 1, 2):
        world.add(who=who, people=2, width=800)
    world.add(who=1)
    world.decide()
    first = (world.folder / "filtered.parquet").read_bytes()
    for seed in range(20):
        rng = random.Random(seed)
        rng.shuffle(world.raw)
        rng.shuffle(world.measured)
        world.decide()
        assert (world.folder / "filtered.parquet").read_bytes() == first


def test_too_few_views_of_the_character_name_the_numbers(world: World) -> None:
    assert re.search(r"only 12 views .* 40 are needed", world.refusal(identity_minimum=40))
    for _ in range(30):
        world.add(who=2, post={"tags_character": ["mio"]})
    refusal = world.refusal(identity_minimum=40)
    assert re.search(r"12 views show the character .* 40 are needed .* \[12, 30\]", refusal)
    assert world.counts()["dropped"]["identity"] == 30, "the page shows what was dropped"


def test_nothing_left_is_a_refusal_too(world: World) -> None:
    refusal = world.refusal(identity=None, short_side={"picture": 1000, "person": 1000})
    assert "no view is left of 12 candidates. Dropped by short_side 12. Add pictures or relax" in refusal


def test_held_out_pictures_are_whole_and_depend_on_the_seed_alone(world: World) -> None:
    for _ in range(20):
        world.add()
    first = world.decide()
    again = world.decide()
    assert first == again
    held_out = [row["picture"] for row in first.values() if row["split"] == "held_out"]
    assert len(held_out) == round(0.2 * 32)
    assert {row["split"] for row in world.decide(seed=8).values()} == {"train", "held_out", None}
    assert [row["picture"] for row in world.decide(seed=8).values() if row["split"] == "held_out"] != held_out


def test_two_persons_with_the_characters_tag_stop_the_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    others = [world.add(who=1) for _ in range(12)]
    assert re.search(r"two persons have the character's tag .*`filtered.references`", world.refusal())
    rows = world.decide(references=[f"danbooru:{int(others[0], 16)}"])
    assert {rows[f"{name}/picture/0"]["verdict"] for name in others} == {"keep"}
    rows = world.decide(references=[world.raw[0]["picture"], "f" * 64])
    said = capsys.readouterr().err
    assert f"1 of 2 are no picture that passed the rules before `identity`, first {'f' * 64}" in said
    assert {rows[f"{name}/picture/0"]["rule"] for name in others} == {"identity"}


def test_every_outfit_is_held_out_in_its_share() -> None:
    pictures = {f"{number:02d}": [type("Kept", (), {"name": f"{number:02d}"})()] for number in range(40)}
    outfits = {name: "dress" if int(name) < 30 else "kimono" for name in pictures}
    order = interleaved("hana", pictures, outfits, 7)  # type: ignore[arg-type]
    assert sorted(order) == sorted(pictures)
    assert [outfits[name] for name in order[:8]].count("kimono") == 2
    assert [outfits[name] for name in order[:4]].count("kimono") == 1
    assert order != interleaved("hana", pictures, outfits, 8)  # type: ignore[arg-type]


def test_nearest_across_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charaloom.curation.duplicates.TILE", 3)
    matrix = np.eye(8, dtype=np.float32)
    matrix[7] = matrix[0] * 0.8 + matrix[5] * 0.6
    pairs = {(min(pair), max(pair)) for pair in nearest(matrix, 0.7)}
    assert pairs == {(0, 7)}
    assert list(nearest(matrix[:1], 0.7)) == []


# --- trust


def test_trusted_pictures_are_not_asked_who_they_show(world: World) -> None:
    for _ in range(6):
        world.add()
    other = world.add(who=2)
    cosplay = world.add(post={"tags_general": ["cosplay"]})
    group = world.add(people=2)
    blurred = world.add(sharpness=1.0)
    rows = world.decide(trust="identity")
    assert rows[f"{other}/picture/0"]["verdict"] == "keep"
    assert rows[f"{cosplay}/picture/0"]["verdict"] == "keep"
    assert rows[f"{group}/person/0"]["verdict"] == "keep"
    assert rows[f"{group}/person/1"]["rule"] == "identity"
    assert rows[f"{blurred}/picture/0"]["rule"] == "sharpness"
    assert world.decide()[f"{other}/picture/0"]["rule"] == "identity"


def test_a_few_trusted_pictures_are_enough(world: World) -> None:
    names = [world.add(), world.add(who=2)]
    rows = world.decide(trust="identity")
    assert {rows[f"{name}/picture/0"]["verdict"] for name in names} == {"keep"}


def test_who_trusts_all_loses_only_what_cannot_be_read_or_shown(world: World) -> None:
    kept = [
        world.add(who=2, width=60, height=60, sharpness=1.0),
        world.add(people=3),
        world.add(monochrome=0.9),
        world.add(tags=scores(speech_bubble=0.9)),
        world.add(persons=0, heads=0, faces=0),
    ]
    explicit = world.add(post={"rating": "explicit"})
    racy = world.add(rating=scores(safe=0.1, r15=0.5, r18=0.4))
    rows = world.decide(trust="all")
    assert {rows[f"{name}/picture/0"]["verdict"] for name in kept} == {"keep"}
    assert all(rows[f"{name}/picture/0"]["split"] for name in kept)
    assert rows[f"{kept[1]}/person/1"]["rule"] == "not_a_candidate"
    assert rows[f"{explicit}/picture/0"]["rule"] == "rating"
    assert rows[f"{racy}/picture/0"]["rule"] == "rating_model"
