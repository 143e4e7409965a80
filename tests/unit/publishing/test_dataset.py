"""The dataset repository: pixels cut once, rows that `datasets` reads, a card, the same bytes again."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from charaloom.artifacts.files import read_json, sha256_bytes
from charaloom.artifacts.manifest import describe
from charaloom.artifacts.tables import (
    CLUSTERED,
    FILTERED,
    MEASURED,
    RAW,
    picture_shards,
    read_table,
    with_pictures,
    write_table,
)
from charaloom.config.params import Dataset, Policy
from charaloom.errors import CharaloomError
from charaloom.publishing.layout import kohya_folder
from charaloom.publishing.repos import shards
from charaloom.publishing.repos.dataset import DatasetFiles, DatasetInputs, build_dataset
from charaloom.publishing.repos.shards import cut, reduced

PARAMS = Dataset(version=1, resolution=70, format="WEBP", quality=95)
FILE_URL = "https://cdn.example/12.png"
POST = {
    "file_url": FILE_URL,
    **dict.fromkeys(("md5", "score", "favourites", "parent_id", "created", "source")),
    **{"site": "danbooru", "post_id": "12", "page_url": "https://danbooru.donmai.us/posts/12", "rating": "general"},
    **{"artists": ["maker"], "tags_general": [], "tags_character": [], "tags_copyright": [], "tags_meta": []},
}
RATING = [{"name": name, "score": score} for name, score in (("safe", 0.9), ("r15", 0.1), ("r18", 0.0))]
OUTFITS = {
    "trigger": "hana_charaloom",
    "core": ["blue_hair"],
    "outfits": [
        {
            "id": "red_kimono",
            "trigger": "hana_red_kimono",
            "name": "red kimono",
            "signature": [{"tag": "red_kimono", "score": 0.9}],
            "support": 5,
            "stability": 0.9,
            "trained": True,
            "representatives": [],
        },
        {
            "id": "hat",
            "trigger": "hana_hat",
            "name": "hat",
            "signature": [],
            "support": 1,
            "stability": 0.1,
            "trained": False,
            "representatives": [],
        },
    ],
    "unassigned": 0,
    "prompts": [],
}


def painting(number: int, size: tuple[int, int]) -> bytes:
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    stream = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def write_world(folder: Path, sizes: list[tuple[int, int]]) -> None:
    """One kept view per picture; the second is a person cut from it."""
    raw, measured, filtered, clustered = [], [], [], []
    for index, size in enumerate(sizes):
        data = painting(index, size)
        name = sha256_bytes(data)
        row = {"picture": name, "bytes": data, "size": len(data), "format": "PNG", "problem": None}
        raw.append({**row, "posts": [POST, {**POST, "post_id": "13", "rating": "sensitive"}]})
        kind, box = ("person", (10, 20, 60, 110)) if index == 1 else ("picture", (0, 0, *size))
        view = {"view": f"{name}/{kind}/0", "picture": name, "kind": kind}
        view |= dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
        split = "held_out" if index == 2 else "train"
        whole = {"view": f"{name}/picture/0", "picture": name, "kind": "picture", "rating": RATING}
        crop = {**view, "sharpness": 9.0}
        measured += [
            {**dict.fromkeys(MEASURED.names), **row} for row in ([whole, crop] if kind == "person" else [whole | crop])
        ]
        filtered.append({**dict.fromkeys(FILTERED.names), **view, "verdict": "keep", "identity_distance": 0.05})
        text = "hana_charaloom, hana_red_kimono, 1girl, red kimono, smile"
        outfit = "hat" if index == 3 else "red_kimono"
        clustered.append({**view, "split": split, "outfit": outfit, "stability": 0.9, "repeats": 2, "caption": text})
    gone = dict.fromkeys(FILTERED.names) | {"view": "x/picture/0", "picture": "x", "kind": "picture"}
    filtered.append({**gone, "verdict": "drop", "rule": "monochrome"})
    write_table(folder / "raw.parquet", raw, RAW, "picture")
    write_table(folder / "measured.parquet", measured, MEASURED, "view")
    write_table(folder / "filtered.parquet", filtered, FILTERED, "view")
    write_table(folder / "clustered.parquet", clustered, CLUSTERED, "view")
    (folder / "clustered.manifest.json").write_text("{}")
    (folder / "outfits.json").write_text(json.dumps(OUTFITS))
    core = [{"tag": "blue_hair", "share": 0.97, "core": True}, {"tag": "smile", "share": 0.9, "core": False}]
    (folder / "core.json").write_text(json.dumps({"core": ["blue_hair"], "tags": core}))


def run(folder: Path, **changes: Any) -> Path:
    names = ("raw", "measured", "filtered", "clustered")
    build_dataset(
        character="hana",
        params=replace(PARAMS, **changes),
        inputs=DatasetInputs(
            **{name: folder / f"{name}.parquet" for name in names},
            outfits=folder / "outfits.json",
            core=folder / "core.json",
            upstream=[folder / "clustered.manifest.json"],
        ),
        files=DatasetFiles(
            folder=folder / "dataset",
            training=folder / "dataset.training.json",
            judging=folder / "dataset.judging.json",
            manifest=folder / "dataset.manifest.json",
        ),
    )
    return folder / "dataset"


def split_rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [row for shard in sorted((folder / "data").glob(f"{split}-*.parquet")) for row in read_table(shard)]


SIZES = [(200, 100), (100, 200), (128, 128), (50, 80)]


def test_rows_tell_everything(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    folder = run(tmp_path)
    train, held_out = split_rows(folder, "train"), split_rows(folder, "held_out")
    assert (len(train), len(held_out)) == (3, 1)
    by_picture = {row["picture"]: row for row in train + held_out}
    for index, size in enumerate(SIZES):
        row = by_picture[sha256_bytes(painting(index, size))]
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.format == "WEBP"
            assert image.size == (row["width"], row["height"])
            assert image.size == [(99, 49), (50, 90), (70, 70), (50, 80)][index]  # made smaller, never larger
        assert row["caption"] == row["text"] == "hana_charaloom, hana_red_kimono, 1girl, red kimono, smile"
        assert row["tags"] == ["1girl", "red_kimono", "smile"]
        assert row["outfit"] == (None if index == 3 else "red_kimono")
        assert row["rating"] == "sensitive"
        assert [post["post_id"] for post in row["posts"]] == ["12", "13"]
        assert row["posts"][0]["artists"] == ["maker"]
        assert row["split"] == ("held_out" if index == 2 else "train")
    person = next(row for row in train if row["kind"] == "person")
    assert person["box"] == [10, 20, 60, 110]


@pytest.mark.parametrize("form", ["WEBP", "JPEG", "PNG"])
def test_pixels_sha256_is_of_what_is_stored(tmp_path: Path, form: str) -> None:
    write_world(tmp_path, SIZES)
    folder = run(tmp_path, format=form)
    for row in (*split_rows(folder, "train"), *split_rows(folder, "held_out")):
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.format == form
            assert row["pixels_sha256"] == sha256_bytes(np.asarray(image.convert("RGB")).tobytes())


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    """Every row, picture and caption is that of the artifact."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import Image as Feature
    from datasets import load_dataset

    write_world(tmp_path, SIZES)
    folder = run(tmp_path)
    splits = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), streaming=streaming)
    assert set(splits) == {"train", "held_out"}
    for split, loaded in splits.items():
        assert isinstance(loaded.features["image"], Feature)
        stored = split_rows(folder, split)
        undecoded = list(loaded.cast_column("image", Feature(decode=False)))
        assert [row["image"]["bytes"] for row in undecoded] == [row["image"]["bytes"] for row in stored]
        for row, expected in zip(loaded, stored, strict=True):
            assert row["image"].size == (expected["width"], expected["height"])
            assert (row["caption"], row["tags"], row["posts"]) == tuple(
                expected[name] for name in ("caption", "tags", "posts")
            )
            pixels = np.asarray(row["image"].convert("RGB")).tobytes()
            assert sha256_bytes(pixels) == row["pixels_sha256"]


def test_card_tells_funnel_traits_and_removal(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    _, front, body = (run(tmp_path) / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["license"] == "other"
    assert [entry["split"] for entry in head["configs"][0]["data_files"]] == ["train", "held_out"]
    for part in ("hana_charaloom", "`blue hair` (97%)", "hana_red_kimono", "black and white | 1", "removed"):
        assert part in body
    assert "hana_hat" not in body
    assert str(tmp_path) not in front + body


def test_same_bytes_again(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    run(tmp_path)
    first = (tmp_path / "dataset.manifest.json").read_bytes()
    run(tmp_path)
    assert (tmp_path / "dataset.manifest.json").read_bytes() == first


def test_a_shard_can_be_read_and_sent_in_parts(tmp_path: Path) -> None:
    """An index of its pages, and the features that `datasets` and the hub's viewer look for."""
    write_world(tmp_path, SIZES)
    metadata = pq.read_metadata(run(tmp_path) / "data/train-0000.parquet")
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    assert all(column.has_offset_index for column in columns)
    described = json.loads(metadata.metadata[b"huggingface"])["info"]["features"]
    assert described["image"] == {"_type": "Image"}
    assert list(described) == list(shards.features())


def views(count: int, size: int = 64) -> list[dict[str, Any]]:
    """Rows of `clustered.parquet` of pictures that were never drawn, with boxes of `size` pixels a side."""
    names = [sha256_bytes(b"%d" % number) for number in range(count)]
    return [{"picture": name, "view": name, "x0": 0, "y0": 0, "x1": size, "y1": size} for name in names]


@pytest.mark.parametrize("count", [1, 32, 33, 500, 3000])
def test_shards_are_small_and_in_the_order_of_hashes(count: int) -> None:
    made = shards.shards("train", views(count), 64)
    assert all(1 <= len(shard.views) <= shards.ROWS_PER_SHARD for shard in made)
    assert [view["picture"] for shard in made for view in shard.views] == sorted(
        view["picture"] for view in views(count)
    )
    names = [shard.name for shard in made]
    assert names == sorted(set(names)), "the order of the files is that of the rows"


def test_large_pictures_make_shards_of_fewer_rows() -> None:
    made = shards.shards("train", views(64, size=4000), 4000)
    assert max(len(shard.views) for shard in made) == shards.PIXELS_PER_SHARD // 4000**2


def test_views_of_one_picture_stay_together_however_many_they_are() -> None:
    crops = [{**views(1)[0], "view": str(number)} for number in range(100)]
    assert [len(shard.views) for shard in shards.shards("train", crops, 64)] == [100]


@pytest.mark.parametrize("count", [20, 33, 129, 500])
def test_a_picture_that_goes_changes_its_own_shard_and_at_most_the_other_half_of_its_range(count: int) -> None:
    before = {shard.name: shard.views for shard in shards.shards("train", views(count), 64)}
    for gone in range(count):
        left = [view for number, view in enumerate(views(count)) if number != gone]
        after = {shard.name: shard.views for shard in shards.shards("train", left, 64)}
        changed = [name for name, members in before.items() if after.get(name) != members]
        assert len(changed) <= 2
        sent = [name for name, members in after.items() if before.get(name) != members]
        assert sum(len(after[name]) for name in sent) <= shards.ROWS_PER_SHARD


def test_one_picture_less_of_500_changes_a_tenth_of_the_bytes_at_most(tmp_path: Path) -> None:
    """Also where its going changes what is measured against all the others."""
    write_world(tmp_path, [(64 + number % 7, 64 + number % 5) for number in range(500)])
    before = describe(run(tmp_path))["files"]
    clustered, filtered = (read_table(tmp_path / f"{name}.parquet") for name in ("clustered", "filtered"))
    gone = clustered[250]["picture"]
    for row in filtered:
        row["identity_distance"] = (row["identity_distance"] or 0) + 0.001
    write_table(tmp_path / "clustered.parquet", [row for row in clustered if row["picture"] != gone], CLUSTERED, "view")
    write_table(tmp_path / "filtered.parquet", [row for row in filtered if row["picture"] != gone], FILTERED, "view")
    after = describe(run(tmp_path))["files"]
    sent = sum(file["size"] for name, file in after.items() if before.get(name) != file)
    assert 0 < sent <= 0.1 * sum(file["size"] for file in after.values())


def test_the_gate_refuses_before_anything_trains(tmp_path: Path) -> None:
    """A rating that the config allowed and the policy does not: no dataset appears, so no training begins."""
    write_world(tmp_path, SIZES)
    policy = Policy(age="unknown", ratings=("general",), blocked=("swimsuit",))
    with pytest.raises(CharaloomError, match=r"rating: danbooru:13 is sensitive; allowed: general") as refused:
        run(tmp_path, policy=policy)
    assert all(sha256_bytes(painting(index, size)) in str(refused.value) for index, size in enumerate(SIZES))
    assert not (tmp_path / "dataset").exists()
    run(tmp_path, policy=Policy(age="adult", ratings=("general", "sensitive"), blocked=()))
    assert (tmp_path / "dataset" / "outfits.json").read_bytes() == (tmp_path / "outfits.json").read_bytes()


def test_formats(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    with pytest.raises(CharaloomError, match="BMP"):
        run(tmp_path, format="BMP")


def test_an_empty_split_still_has_a_shard(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES[:2])
    folder = run(tmp_path)
    assert pq.read_metadata(folder / "data/held_out-0000.parquet").num_rows == 0


def test_a_picture_that_left_raw_is_an_error(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    rows = read_table(tmp_path / "raw.parquet")
    write_table(tmp_path / "raw.parquet", rows[:-1], RAW, "picture")
    with pytest.raises(CharaloomError, match="rebuild from `raw`"):
        run(tmp_path)
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 300), (64, 64)),
        ((225, 400), (48, 85)),
        ((64, 64), (64, 64)),
        ((50, 80), (50, 80)),
        ((300, 2400), (32, 256)),
        ((20, 1400), (20, 1400)),
    ],
)
def test_a_picture_is_reduced_in_area(size: tuple[int, int], expected: tuple[int, int]) -> None:
    view = {"x0": 0, "y0": 0, "x1": size[0], "y1": size[1]}
    assert cut(Image.new("RGB", size), view, 64).size == reduced(size, 64) == expected


def pictures_of(folder: Path) -> list[bytes]:
    return [row["image"]["bytes"] for split in ("train", "held_out") for row in split_rows(folder, split)]


def test_links_keep_the_pictures_beside_the_dataset_and_change_nothing_of_the_training(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    embedded = pictures_of(run(tmp_path))
    facets = [(tmp_path / f"dataset.{part}.json").read_bytes() for part in ("training", "judging")]
    folder = run(tmp_path, pictures="links")
    assert [(tmp_path / f"dataset.{part}.json").read_bytes() for part in ("training", "judging")] == facets
    for row in split_rows(folder, "train"):
        assert not {"image", "opacity"} & set(row)
        assert row["url"] == FILE_URL
        assert len(row["picture"]) == len(row["pixels_sha256"]) == 64
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not any(picture in held for picture in embedded)
    beside = with_pictures(folder)
    assert (beside.name, pictures_of(beside)) == ("dataset_pictures", embedded)
    assert [path.name for path in picture_shards(folder, "held_out")] == ["held_out-0000.parquet"]
    assert set(read_json(tmp_path / "dataset.manifest.json")["outputs"]) == {"folder", "pictures"}

    assert with_pictures(run(tmp_path)) == folder, "embedded again: nothing stays beside it"
    assert not beside.exists()


def test_a_dataset_of_links_is_read_by_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    write_world(tmp_path, SIZES)
    rows = load_dataset(str(run(tmp_path, pictures="links")), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[0]["url"] == FILE_URL
    assert len(rows) == 3


def test_an_archive_for_kohya_has_a_caption_beside_each_training_picture(tmp_path: Path) -> None:
    write_world(tmp_path, SIZES)
    folder = run(tmp_path, kohya=True)
    path = folder / "kohya" / "hana.zip"
    first = path.read_bytes()
    with ZipFile(path) as archive:
        names = archive.namelist()
        trained = split_rows(folder, "train")
        assert len(names) == 2 * len(trained)
        assert {Path(name).parent.name for name in names} == {"2_hana_charaloom"}
        for row in trained:
            stored = f"2_hana_charaloom/{row['image']['path']}"
            assert archive.read(stored) == row["image"]["bytes"]
            assert archive.read(str(Path(stored).with_suffix(".txt"))).decode() == row["caption"]
    assert (run(tmp_path, kohya=True) / "kohya" / "hana.zip").read_bytes() == first
    assert not (run(tmp_path) / "kohya").exists()


@pytest.mark.parametrize(
    ("trigger", "name"), [("suzu charaloom", "suzu charaloom"), ('a/b\\c:"x"?', "a_b_c__x__"), (" ..x. ", "x")]
)
def test_a_folder_for_kohya_has_a_name_that_any_system_allows(trigger: str, name: str) -> None:
    assert kohya_folder(trigger) == name
