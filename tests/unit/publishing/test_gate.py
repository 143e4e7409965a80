"""The gate: 200 sets that each hold something that may not be published, and none of them is."""

import copy
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charaloom.artifacts.files import sha256_bytes
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.config.params import Policy, Published, Target
from charaloom.errors import CharaloomError
from charaloom.publishing import published
from charaloom.publishing.layout import LINEAGE, OUTFITS, PREVIEWS
from charaloom.publishing.published import publish
from charaloom.publishing.repos.shards import features

BLOCKED = ("swimsuit", "bikini", "nude", "underwear", "bra", "sexually_suggestive")
SAFE = {"safe": 0.9, "r15": 0.08, "r18": 0.02}
POST = {"site": "board", "post_id": "1", "page_url": "https://board.example/posts/1", "file_url": None, "source": None}
POST |= {"rating": "general", "md5": "0" * 32, "created": None, "artists": ["aoi"]}
REMOVALS = {"posts": ["board:66", "77"], "artists": ["banned one", "Kaze"], "pictures": ["f" * 64, "E" * 32]}
PICTURES = 4


@cache
def schema_of_shards() -> Any:
    return features().arrow_schema


@dataclass
class Repositories:
    """A dataset and a model of one character, and what is known of them; each is publishable as it is made."""

    age: str = "adult"
    ratings: list[str] = field(default_factory=lambda: ["general"])
    kind: str = "folder"
    private: bool = True
    rows: list[dict[str, Any]] = field(default_factory=list)
    outfits: dict[str, Any] = field(default_factory=dict)
    previews: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # of the model

    @property
    def policy(self) -> Policy:
        blocked = () if self.age == "adult" else BLOCKED
        return Policy(age=self.age, ratings=tuple(self.ratings), blocked=blocked, removals=REMOVALS)

    def publish(self, folder: Path) -> Path:
        """Through the stage; returns where both would lie."""
        schema = schema_of_shards()
        rows = [{**dict.fromkeys(schema.names), **row} for row in self.rows]
        (folder / "dataset" / "data").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "dataset" / "data" / "train-0000.parquet")
        texts = {f"model/{name}": name for name in self.files}
        texts |= {f"dataset/{OUTFITS}": json.dumps(self.outfits), f"model/{LINEAGE}": "{}"}
        texts |= {f"model/{PREVIEWS}": json.dumps({"previews": self.previews}), "model/selection.json": '{"step": 1}'}
        for name, text in texts.items():  # not synced to the disk: 200 sets are written
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        for kind in ("dataset", "model"):
            facts = lineage(kind, "hana", {"version": 1}, ())
            write_manifest(folder / f"{kind}.manifest.json", facts, {kind: folder / kind}, {"weak": False})
        target = Target(kind=self.kind, path=str(folder / "shelf"))
        publish(
            character="hana",
            params=Published(version=1, private=self.private, weak=False, target=target, policy=self.policy),
            dataset=folder / "dataset",
            dataset_manifest=folder / "dataset.manifest.json",
            model=folder / "model",
            model_manifest=folder / "model.manifest.json",
            receipt=folder / "receipt.json",
        )
        return folder / "shelf"


def clean(age: str = "adult") -> Repositories:
    rows = []
    for number in range(PICTURES):
        post = {**POST, "post_id": str(number + 1)}
        row = {"picture": sha256_bytes(b"%d" % number), "rating": "general", "rating_model": dict(SAFE)}
        row |= {"tags": ["1girl", "red_kimono"], "outfit": "kimono", "caption": "hana, 1girl, red kimono"}
        rows.append({**row, "posts": [post]})
    outfit = {"id": "kimono", "name": "red kimono", "trigger": "hana_kimono", "signature": [{"tag": "red_kimono"}]}
    prompts = [{"id": "kimono-portrait", "text": "hana, hana_kimono, red kimono, portrait"}]
    preview = {"file": "previews/1.png", "in": None, "name": "demo/1.png", "rating": dict(SAFE)}
    preview |= {"prompt": "hana, red kimono, portrait", "asked": ["red_kimono"]}
    grid = {**copy.deepcopy(preview), "file": None, "in": "previews/grid.webp"}
    return Repositories(
        age=age,
        rows=rows,
        outfits={"outfits": [outfit], "core": ["blue_hair"], "prompts": prompts},
        previews=[preview, grid],
        files=["previews/1.png", "previews/grid.webp"],
    )


@pytest.mark.parametrize("age", ["adult", "minor", "unknown"])
def test_what_breaks_no_rule_is_published(tmp_path: Path, age: str) -> None:
    shelf = clean(age).publish(tmp_path)
    assert (shelf / "hana" / "dataset" / "data" / "train-0000.parquet").is_file()


# --- what may be wrong: each changes clean repositories, and says what the refusal must name

Wrong = tuple[str, str]  # picture or file, rule
picked = st.integers(0, PICTURES - 1)
minors = st.sampled_from(["minor", "unknown"])
unsafe = st.floats(0.25, 0.5).map(lambda part: {"safe": 0.0, "r15": part, "r18": part})
unknown_scores = st.sampled_from([None, {}, {"safe": 0.9}, {"safe": 0.9, "r15": None, "r18": 0.0}])
not_numbers = st.just({"safe": 0.5, "r15": float("nan"), "r18": 0.0})  # JSON has none
blocked_word = st.sampled_from(BLOCKED)


@st.composite
def spelt(draw: Callable, word: str | None = None) -> str:
    """A blocked tag as strangers may write it: in a longer tag, in other case, with spaces, weights, wide letters."""
    tag = word or draw(blocked_word)
    tag = draw(st.sampled_from(["{}", "{}", "school_{}", "{}_top", "front-tie_{}_lift"])).format(tag)
    tag = draw(st.sampled_from([tag, tag.replace("_", " "), tag.upper(), tag.title(), f" {tag} "]))
    if draw(st.booleans()):
        tag = "".join(chr(ord(letter) + 0xFEE0) if "a" <= letter <= "z" else letter for letter in tag)
    return draw(st.sampled_from(["{}", "({})", "(({}:1.3))", "[{}]"])).format(tag)


@st.composite
def row_wrong(draw: Callable, made: Repositories) -> Wrong:
    row = made.rows[draw(picked)]
    name, post = row["picture"], row["posts"][0]
    kind = draw(st.sampled_from(["no post", "no site", "no page", "hash", "rating", "post rating", "scores", "unsafe"]))
    match kind:
        case "no post":
            row["posts"] = draw(st.sampled_from([None, []]))
        case "no site":
            post[draw(st.sampled_from(["site", "post_id"]))] = draw(st.sampled_from([None, ""]))
        case "no page":
            post["page_url"] = draw(st.sampled_from([None, ""]))
        case "hash":
            row["picture"] = draw(st.sampled_from([None, "", "missing:board:1", "0" * 63, "G" * 64]))
            return row["picture"] or "a picture without a hash", "provenance"
        case "rating":
            row["rating"] = draw(st.sampled_from(["questionable", "explicit", "sensitive", "Safe", "x"]))
        case "post rating":
            post["rating"] = draw(st.sampled_from(["questionable", "explicit", "sensitive"]))
            row["posts"] = draw(st.permutations([{**POST, "post_id": "99"}, post]))
        case "scores":
            row["rating_model"] = draw(unknown_scores | not_numbers)
        case "unsafe":
            row["rating_model"] = draw(unsafe)
    rules = {"rating": "rating", "post rating": "rating", "scores": "not rated", "unsafe": "rating model"}
    return name, rules.get(kind, "provenance")


@st.composite
def removal_wrong(draw: Callable, made: Repositories) -> Wrong:
    row = made.rows[draw(picked)]
    post = row["posts"][0]
    kind = draw(st.sampled_from(["artist", "post", "md5", "picture"]))
    if kind == "artist":
        artists = ["banned_one", "kaze", "KAZE", "banned one", "banned_artist", "Banned_Artist"]
        post["artists"] = draw(st.permutations(["aoi", draw(st.sampled_from(artists))]))
        return row["picture"], "banned artist"
    if kind == "post":
        post["post_id"] = draw(st.sampled_from(["66", "77"]))
    elif kind == "md5":
        post["md5"] = draw(st.sampled_from(["e" * 32, "E" * 32]))
    else:
        row["picture"] = "f" * 64
    return row["picture"], "removed"


@st.composite
def minor_wrong(draw: Callable, made: Repositories) -> Wrong:
    """Of a character who is not known to be an adult."""
    made.age = draw(minors)
    row = made.rows[draw(picked)]
    kind = draw(st.sampled_from(["tag", "caption", "outfit", "prompt", "preview", "asked", "signature", "sensitive"]))
    tag = draw(spelt())
    match kind:
        case "tag":
            row["tags"] = draw(st.permutations([*row["tags"], tag]))
        case "caption":
            row["caption"] += f", {tag}"
        case "outfit":
            row["outfit"] = tag
        case "prompt":
            made.outfits["prompts"][0]["text"] += f", {tag}"
            return "prompt kimono-portrait", "minor"
        case "signature":
            made.outfits["outfits"][0]["signature"].append({"tag": tag})
            return "outfit red kimono", "minor"
        case "preview" | "asked":
            preview = draw(st.sampled_from(made.previews))
            preview |= {"prompt": f"{preview['prompt']}, {tag}"} if kind == "preview" else {"asked": [tag]}
            return preview["file"] or "previews/grid.webp", "minor"
        case "sensitive":  # which the config allows
            made.ratings = ["general", "sensitive"]
            row["rating"] = row["posts"][0]["rating"] = "sensitive"
            return row["picture"], "rating"
    return row["picture"], "minor"


@st.composite
def preview_wrong(draw: Callable, made: Repositories) -> Wrong:
    kind = draw(st.sampled_from(["unlisted", "unrated", "unsafe"]))
    if kind == "unlisted":
        ending = draw(st.sampled_from(["png", "PNG", "jpg", "webp", "gif"]))
        made.files.append(f"{draw(st.sampled_from(['previews', 'checkpoints/000100', 'more']))}/2.{ending}")
        return made.files[-1], "not rated"
    preview = draw(st.sampled_from(made.previews))
    preview["rating"] = draw(unknown_scores if kind == "unrated" else unsafe)
    return preview["file"] or "previews/grid.webp", "not rated" if kind == "unrated" else "rating model"


@st.composite
def place_wrong(draw: Callable, made: Repositories) -> Wrong:
    """Pictures in a repository that everybody can read."""
    made.kind, made.private = "hub", False
    return draw(st.sampled_from(made.rows))["picture"], "public pictures"


WRONG = (row_wrong, removal_wrong, minor_wrong, preview_wrong, place_wrong)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_of_200_sets_that_break_a_rule_none_is_published(data: st.DataObject) -> None:
    made = clean(data.draw(st.sampled_from(["adult", "minor", "unknown"])))
    what, rule = data.draw(data.draw(st.sampled_from(WRONG))(made))
    with tempfile.TemporaryDirectory() as folder:
        with patch.dict(published.KINDS, {"hub": None}), pytest.raises(CharaloomError) as refused:
            made.publish(Path(folder))
        lines = str(refused.value).splitlines()
        assert any(what in line and f": {rule}" in line for line in lines), (what, rule, lines)
        assert not (Path(folder) / "shelf").exists()
        assert not (Path(folder) / "receipt.json").exists()


def test_every_picture_is_named_up_to_a_bound(tmp_path: Path) -> None:
    made = clean()
    made.rows = [{**made.rows[0], "picture": sha256_bytes(b"%d" % number), "posts": []} for number in range(50)]
    with pytest.raises(CharaloomError) as refused:
        made.publish(tmp_path)
    assert str(refused.value).count("provenance") == 20
    assert "and 30 more" in str(refused.value)


def test_an_adult_may_be_sensitive_where_the_config_allows_it_and_nothing_above(tmp_path: Path) -> None:
    made = clean()
    made.ratings = ["general", "sensitive"]
    made.rows[0]["rating"] = made.rows[0]["posts"][0]["rating"] = "sensitive"
    made.rows[1]["tags"] = ["bikini"]
    made.publish(tmp_path / "one")
    made.ratings = ["general", "sensitive", "questionable", "explicit"]
    made.rows[0]["rating"] = "questionable"
    with pytest.raises(CharaloomError, match="is questionable; allowed: general, sensitive"):
        made.publish(tmp_path / "two")


@pytest.mark.parametrize("site", ["folder", "archive", "video", "dataset"])
def test_a_picture_of_the_users_own_needs_no_page(tmp_path: Path, site: str) -> None:
    made = clean()
    made.rows[0]["posts"] = [{**POST, "site": site, "page_url": None, "rating": None, "artists": None}]
    made.rows[0]["rating"] = None
    made.publish(tmp_path)


def test_without_a_policy_nothing_is_published() -> None:
    from charaloom.publishing.gate import refuse_publication

    params = Published(version=1, private=True, weak=False, target=Target(kind="folder", path="x"))
    with pytest.raises(CharaloomError, match="no policy"):
        refuse_publication("hana", replace(params, policy=None), Path("dataset"), Path("model"))
