"""Datasets of a hub: ours, other people's in Parquet files, archives and folders, and what may not be fetched."""

import io
import json
import os
import pickle
from base64 import b64encode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charaloom.errors import CharaloomError
from charaloom.sources.hub import repository
from tests.servers.boards import drawn
from tests.servers.hub import COMMIT, serving
from tests.unit.sources.test_dialects import build, raw_params
from tests.unit.sources.test_local import by_id, pack

KNOWN = {"site": "danbooru", "page_url": "https://x/5", "source": None, "rating": "general", "md5": None,
         "created": "2025", "artists": ["somebody"]}  # fmt: skip


def origin(hub, **changes):
    return {"kind": "dataset", "repo": "owner/name", "revision": "main", "hub": hub, **changes}


def parquet(rows):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def row_of_ours(number):
    return {
        "image": {"bytes": drawn(number), "path": "x.png"}, "posts": [{**KNOWN, "post_id": str(number)}],
        "picture": "ab", "tags": ["1girl", "hat"], "view": f"ab/{number}", "rating": "general", "text": "x",
    }  # fmt: skip


def test_a_dataset_of_ours_is_rebuilt_exactly_at_its_commit(tmp_path):
    rows = [row_of_ours(number) for number in range(20)]
    files = {"data/train-0.parquet": parquet(rows[:15]), "data/held_out-0.parquet": parquet(rows[15:]),
             "README.md": b"# hana", "sample.png": drawn(99)}  # fmt: skip
    with serving(files) as hub:
        result, _ = build(tmp_path, raw_params(origin(hub.address)))
        asked = len(hub.requests)
        assert all(path.startswith(("/api/datasets/", "/datasets/owner/name/resolve/")) for path in hub.requests)
        before = (tmp_path / "raw.parquet").read_bytes()
        hub.commit = "d" * 40  # `main` moved on
        build(tmp_path, raw_params(origin(hub.address)))
        assert len(hub.requests) == asked
    assert (tmp_path / "raw.parquet").read_bytes() == before
    assert {row["bytes"] for row in result} == {drawn(number) for number in range(20)}
    (post,) = next(row for row in result if row["bytes"] == drawn(3))["posts"]
    assert (post["site"], post["post_id"], post["artists"]) == ("danbooru", "3", ["somebody"])
    (record,) = (tmp_path / "work").rglob("repository.json")
    assert json.loads(record.read_text())["commit"] == COMMIT
    lineage = json.loads((tmp_path / "raw.lineage.json").read_text())
    assert lineage["params"]["commits"] == {"owner/name": COMMIT}


def test_parquet_files_of_others(tmp_path):
    """As `datasets` writes an image folder: a struct or bare bytes, a text, and whatever columns they thought of."""
    rows = [
        {"image": {"bytes": drawn(1), "path": "a.png"}, "text": "1girl, red hat", "score": 3},
        {"image": {"bytes": drawn(2), "path": None}, "text": "1girl, rating:explicit", "score": 3},
        {"image": {"bytes": None, "path": "c.png"}, "text": "lost", "score": 3},
        {"image": {"bytes": b"x" * 3000, "path": "d.png"}, "text": "no picture", "score": 3},
    ]
    bare = [{"webp": drawn(4), "json": {"tags": ["1boy"], "rating": "g"}}]
    with serving({"train.parquet": parquet(rows), "z.parquet": parquet(bare)}) as hub:
        result, counts = build(tmp_path, raw_params(origin(hub.address)))
    posts = by_id(result)
    assert sorted(posts) == ["0/1", "1/0", "a.png", "d.png"]
    assert posts["a.png"][1]["tags_general"] == ["1girl", "red_hat"]
    assert posts["a.png"][1]["page_url"] == f"{hub.address}/datasets/owner/name/tree/{COMMIT}"
    assert posts["0/1"][0]["problem"] == "rating explicit: not downloaded"
    assert posts["1/0"][0]["bytes"] == drawn(4)
    assert posts["d.png"][0]["problem"].startswith("not a picture")
    assert counts["empty_rows"] == 1


def test_an_image_folder(tmp_path):
    line = json.dumps({"file_name": "a.png", "text": "1girl, blue hair"})
    files = {"train/a.png": drawn(1), "train/metadata.jsonl": line.encode(), "train/b.png": drawn(2),
             "train/b.txt": b"1boy", "README.md": b"x", "train/large.png": b"x" * 5000}  # fmt: skip
    with serving(files) as hub:
        result, counts = build(tmp_path, raw_params(origin(hub.address), maximum_bytes=4500))
    posts = by_id(result)
    assert sorted(posts) == ["train/a.png", "train/b.png"]
    assert posts["train/a.png"][1]["tags_general"] == ["1girl", "blue_hair"]
    assert posts["train/b.png"][1]["tags_general"] == ["1boy"]
    assert counts["large_entries"] == 1


class Payload:
    def __reduce__(self):
        return os.system, (f"touch {Payload.trap}",)


def test_a_cyberharem_repository(tmp_path):
    Payload.trap = tmp_path / "executed"
    poison = {"__type": "x", "base64": b64encode(pickle.dumps(Payload())).decode()}
    meta = {"tags": {"hat": 1.0}, "danbooru": {"id": 7, "rating": "g", "tag_string_artist": "a"}, "feature": poison}
    raw = pack(tmp_path / "dataset-raw.zip", {"1.png": drawn(1), ".1_meta.json": json.dumps(meta).encode()})
    small = pack(tmp_path / "dataset-1200.zip", {"1.png": drawn(2), "1.txt": b"hat"})
    files = {"dataset-raw.zip": raw.read_bytes(), "dataset-1200.zip": small.read_bytes(), "samples/0/1.png": drawn(3)}
    with serving(files) as hub:
        ((row, post),) = by_id(build(tmp_path, raw_params(origin(hub.address)))[0]).values()
        assert not any("1200" in path or "samples" in path for path in hub.requests)
        named = raw_params(origin(hub.address, files=["dataset-1200.zip"]))
        ((other, _),) = by_id(build(tmp_path / "named", named)[0]).values()
    assert (row["bytes"], post["artists"], post["rating"]) == (drawn(1), ["a"], "general")
    assert other["bytes"] == drawn(2)
    assert not Payload.trap.exists()


def test_several_archives_keep_their_pictures_apart(tmp_path):
    files = {
        f"{name}.zip": pack(tmp_path / f"{name}.zip", {"1.png": drawn(number)}).read_bytes()
        for number, name in enumerate(("one", "two"))
    }
    with serving(files) as hub:
        posts = by_id(build(tmp_path, raw_params(origin(hub.address)))[0])
    assert {name: row["bytes"] for name, (row, _) in posts.items()} == {
        "one.zip/1.png": drawn(0),
        "two.zip/1.png": drawn(1),
    }


def test_a_folder_as_a_hub(tmp_path):
    place = tmp_path / "hub" / "owner" / "name"
    place.mkdir(parents=True)
    (place / "a.png").write_bytes(drawn(1))
    ((row, post),) = by_id(build(tmp_path, raw_params(origin(str(tmp_path / "hub"))))[0]).values()
    assert (row["bytes"], post["page_url"]) == (drawn(1), None)
    with pytest.raises(CharaloomError, match="there is no such folder"):
        build(tmp_path, raw_params(origin(str(tmp_path / "nowhere"), revision="x")))


@pytest.mark.parametrize(
    ("files", "changes", "said"),
    [
        ({"a.png": b"x"}, {"revision": "v9"}, "could not be fetched"),
        ({"README.md": b"x"}, {}, r"none of its files hold pictures \(there are README.md\)"),
        ({}, {}, r"there are none"),
        ({"a.png": drawn(1)}, {"files": ["*.zip"]}, "Check `files`"),
        ({"a.png": b"x" * 10**5}, {}, "its files are too large"),
        ({"a.zip": b"x" * 3000, "b.zip": b"x" * 3000}, {}, "Name some of them under `files`"),
        ({"a.parquet": b"x"}, {}, "is no Parquet file"),
        ({"a.parquet": parquet([{"x": 1}])}, {}, "has no column of pictures"),
    ],
)
def test_what_is_not_fetched_names_cause_and_cure(tmp_path, monkeypatch, files, changes, said):
    monkeypatch.setattr(repository, "TOTAL_BYTES", 5000)
    with serving(files) as hub, pytest.raises(CharaloomError, match=said):
        build(tmp_path, raw_params(origin(hub.address, **changes), maximum_bytes=50000))


def test_a_table_that_swells_is_stopped(tmp_path):
    """A few kilobytes of Parquet may hold gigabytes of zeros."""
    rows = [{"image": b"\0" * 2**20} for _ in range(400)]
    with serving({"a.parquet": parquet([*rows, {"image": drawn(1)}])}) as hub:
        result, counts = build(tmp_path, raw_params(origin(hub.address), maximum_bytes=2**16))
    assert [row["bytes"] for row in result] == [drawn(1)]
    assert counts["large_entries"] == 400


def test_names_from_the_hub_leave_no_folder(tmp_path):
    """huggingface_hub and the server may not be relied upon for that."""
    files = {
        "../../evil.png": drawn(1),
        "/etc/evil.png": drawn(2),
        "a\\..\\..\\evil.png": drawn(3),
        "good.png": drawn(4),
    }
    with serving(files) as hub:
        result, counts = build(tmp_path, raw_params(origin(hub.address)))
    assert list(by_id(result)) == ["good.png"]
    assert counts["refused_entries"] == 3
    assert not list(tmp_path.rglob("evil*"))
