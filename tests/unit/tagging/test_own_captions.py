"""What the user wrote beside the pictures wins: cases C3 and C5 of issue 16, through `tagged` and `clustered`."""

from pathlib import Path
from typing import Any

import pytest

from charaloom.artifacts.files import read_json
from charaloom.artifacts.tables import FILTERED, MEASURED, RAW, read_table, write_table
from charaloom.config.params import Clustered, Tagged
from charaloom.outfits.clustered import ClusterInputs, cluster_outfits
from charaloom.sources.folders.captions import read_caption
from charaloom.sources.posts import EMPTY_POST
from charaloom.tagging.captions import tags_in
from charaloom.tagging.tagged import TaggedInputs, tag_views
from tests.standins import write_vocabulary
from tests.unit.tagging.test_tagged import PARAMS

CLUSTERED = {"minimum_support": 8, "minimum_stability": 0.6, "resamples": 5, "balance": 0.5, "repeats_most": 8}
SEEN = {"1girl": 0.99, "solo": 0.9, "purple_hair": 0.41, "dress": 0.8, "smile": 0.7}


class World:
    """Kept pictures of a folder by caption, and what the tagger sees in them, run through both stages."""

    def __init__(self, folder: Path, trigger: str = "hana_charaloom", captions: str = "mine_first"):
        self.folder, self.trigger, self.captions = folder, trigger, captions
        self.raw: list[dict[str, Any]] = []
        self.measured: list[dict[str, Any]] = []

    def add(self, text: str, seen: dict[str, float] | None = None, repeats: int | None = None) -> str:
        name = f"{len(self.raw):064x}"
        post = {**EMPTY_POST, "site": "folder", "post_id": f"{name}.png", "repeats": repeats}
        post["tags_general"] = read_caption(text).tags
        self.raw.append({"picture": name, "bytes": b"", "size": 1, "format": "PNG", "problem": None, "posts": [post]})
        tags = [{"name": tag, "score": score} for tag, score in (SEEN if seen is None else seen).items()]
        view = {"view": f"{name}/picture/0", "picture": name, "kind": "picture", "x0": 0, "y0": 0, "x1": 9, "y1": 9}
        self.measured.append({**dict.fromkeys(MEASURED.names), **view, "tags": tags})
        return view["view"]

    def run(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Rows of tagged.parquet and of clustered.parquet by view, and outfits.json."""
        folder = self.folder
        kept = [
            {**dict.fromkeys(FILTERED.names), **{key: row[key] for key in row if key in FILTERED.names}}
            | {"verdict": "keep", "split": "train"}
            for row in self.measured
        ]
        for row in kept:
            row["scores"] = row["reasons"] = None
        write_table(folder / "raw.parquet", self.raw, RAW, "picture")
        write_table(folder / "measured.parquet", self.measured, MEASURED, "view")
        write_table(folder / "filtered.parquet", kept, FILTERED, "view")
        (folder / "upstream.manifest.json").write_text("{}")
        files = {name: folder / f"{name}.parquet" for name in ("raw", "measured", "filtered")}
        hub, upstream = write_vocabulary(folder / "hub"), [folder / "upstream.manifest.json"]
        own = {"trigger": self.trigger, "captions": self.captions, "tag": None}
        tag_views(
            character="hana",
            params=Tagged.of({**PARAMS, **own}),
            inputs=TaggedInputs(**files, hub=hub, upstream=upstream),
            table=folder / "tagged.parquet",
            core=folder / "core.json",
            manifest=folder / "tagged.manifest.json",
        )
        inputs = ClusterInputs(
            measured=files["measured"],
            tagged=folder / "tagged.parquet",
            core=folder / "core.json",
            hub=hub,
            upstream=upstream,
        )
        params = {**CLUSTERED, "seed": 7, "trigger": self.trigger, "captions": self.captions, "version": 1}
        places = (folder / name for name in ("clustered.parquet", "outfits.json", "prompts.json", "c.manifest.json"))
        cluster_outfits("hana", Clustered.of(params), inputs, *places)
        tables = (
            {row["view"]: row for row in read_table(folder / f"{name}.parquet")} for name in ("tagged", "clustered")
        )
        return *tables, read_json(folder / "outfits.json")


def names(row: dict[str, Any]) -> list[str]:
    return [tag["name"] for tag in row["tags"]]


@pytest.mark.parametrize(
    ("own", "seen", "lost"),
    [
        ("red hair, standing", {"purple_hair": 0.41}, {"purple_hair"}),
        ("red hair, standing", {"purple_hair": 0.99, "blue_hair": 0.5}, {"purple_hair", "blue_hair"}),
        ("green dress, standing", {"blue_dress": 0.9}, {"blue_dress"}),
        ("night, standing", {"day": 0.9}, {"day"}),
        ("solo, standing", {"2girls": 0.9}, {"2girls"}),
        ("short hair, standing", {"long_hair": 0.9}, {"long_hair"}),
    ],
)
def test_case_C5_the_user_wins_and_order_is_kept(
    tmp_path: Path, own: str, seen: dict[str, float], lost: set[str]
) -> None:
    world = World(tmp_path)
    first = world.add(f"hat, {own}, 1girl, apron", {"1girl": 0.99, "smile": 0.7, **seen})
    for _ in range(9):
        world.add("1girl", {"1girl": 0.9})
    tagged, clustered, _ = world.run()
    written = ["hat", *(part.replace(" ", "_") for part in own.split(", ")), "1girl", "apron"]
    assert names(tagged[first]) == [*written, "smile"]
    assert {entry["name"]: entry["reason"] for entry in tagged[first]["dropped"]} == dict.fromkeys(lost, "contradicted")
    assert clustered[first]["caption"] == f"hana_charaloom, hat, {own}, 1girl, apron, smile"


def test_case_C5_a_trait_that_the_user_writes_is_core_not_the_taggers(tmp_path: Path) -> None:
    world = World(tmp_path)
    views = [world.add("1girl, red hair") for _ in range(20)]
    tagged, clustered, outfits = world.run()
    assert outfits["core"] == ["red_hair"]
    assert "purple" not in clustered[views[0]]["caption"]
    assert {"name": "red_hair", "reason": "core"} in tagged[views[0]]["dropped"]


@pytest.mark.parametrize(
    ("mode", "caption"),
    [
        ("mine", "hana_charaloom, smile, red hair, 1girl"),
        ("mine_first", "hana_charaloom, hana_dress, smile, 1girl, solo"),
        ("merged", "hana_charaloom, hana_dress, 1girl, solo, smile, red hair"),
    ],
)
def test_what_the_users_captions_count_is_a_setting(tmp_path: Path, mode: str, caption: str) -> None:
    world = World(tmp_path, captions=mode)
    views = [world.add("smile, red hair, 1girl") for _ in range(20)]
    without = world.add("")
    tagged, clustered, _ = world.run()
    assert clustered[views[0]]["caption"].replace(", dress", "") == caption
    assert "dress" in clustered[without]["caption"]
    reasons = {entry["reason"] for entry in tagged[views[0]]["dropped"]}
    told = {"mine": {"not in your caption"}, "mine_first": {"core", "contradicted"}, "merged": {"core"}}
    assert reasons == told[mode]


@pytest.mark.parametrize("mode", ["mine", "mine_first"])
def test_the_users_clothes_decide_the_outfits(tmp_path: Path, mode: str) -> None:
    world = World(tmp_path, captions=mode)
    seen = {"1girl": 0.99, "solo": 0.9, "dress": 0.8, "blue_dress": 0.6, "boots": 0.5}
    blue = [world.add("1girl, blue dress", {**seen, "black_robe": 0.9}) for _ in range(4)]
    green = [world.add("1girl, green dress", seen) for _ in range(4)]
    _, clustered, outfits = world.run()
    assert sorted(outfit["id"] for outfit in outfits["outfits"]) == ["blue_dress", "green_dress"]
    assert {clustered[view]["outfit"] for view in blue} == {"blue_dress"}
    assert {clustered[view]["outfit"] for view in green} == {"green_dress"}


@pytest.mark.parametrize(
    ("trigger", "written"),
    [
        ("hnkz", "hnkz, 1girl, hat"),
        ("hnkz", "1girl, HNKZ, hat"),
        ("hana kazari", "hana_kazari, 1girl, hat"),
        ("hana_kazari", "hana kazari, hnkz2, hat"),
        ("hnkz", "hnkz, a girl with a hat standing in a garden."),
    ],
)
def test_case_C3_the_rosters_trigger_stands_once(tmp_path: Path, trigger: str, written: str) -> None:
    world = World(tmp_path, trigger=trigger)
    view = world.add(written)
    for _ in range(9):
        world.add("1girl")
    caption = world.run()[1][view]["caption"]
    assert caption.startswith(f"{trigger}, ")
    assert caption.lower().replace("_", " ").count(trigger.replace("_", " ")) == 1


@pytest.mark.parametrize(("word", "count", "found"), [("hnkz", 16, True), ("hnkz", 9, False), ("hat", 20, False)])
def test_case_C3_a_second_trigger_is_a_finding(
    tmp_path: Path, word: str, count: int, found: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    for number in range(20):
        world.add(f"{word}, 1girl, smile" if number < count else "1girl, smile")
    lint = [finding for finding in world.run()[2]["lint"] if finding["kind"] == "second trigger"]
    assert [finding["where"] for finding in lint] == (["hnkz"] if found else [])
    if found:
        assert f"in {count} of your 20 captions" in lint[0]["what"]
        assert "tagged.blacklist" in lint[0]["advice"]
        assert "second trigger" in capsys.readouterr().err


def test_sentences_are_one_part_of_a_caption(tmp_path: Path) -> None:
    world = World(tmp_path)
    view = world.add("A young girl stands in a garden, smiling at her cat.")
    for _ in range(9):
        world.add("1girl", {"1girl": 0.9})
    caption = world.run()[1][view]["caption"]
    sentence = "A young girl stands in a garden,smiling at her cat."
    assert caption.startswith(f"hana_charaloom, {sentence}, 1girl, ")
    assert tags_in(caption, ["hana_charaloom"])[:2] == [sentence, "1girl"]


def test_case_C1_repeats_of_kohyas_folders(tmp_path: Path) -> None:
    world = World(tmp_path)
    views = {repeats: world.add("1girl", repeats=repeats) for repeats in (None, 5, 10, 40, 200)}
    clustered = world.run()[1]
    repeats = {asked: clustered[view]["repeats"] for asked, view in views.items()}
    assert repeats == {None: 1, 5: 1, 10: 2, 40: 8, 200: 8}
