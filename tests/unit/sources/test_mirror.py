"""A board whose files come from a mirror on a hub: the board is asked for its list alone."""

import io
import json
import tarfile
from hashlib import sha256

import pytest

from charaloom.errors import CharaloomError
from charaloom.sources.hub import mirror
from charaloom.sources.hub.mirror import archive_of
from tests.servers import boards
from tests.servers.boards import Entry, drawn, serving
from tests.servers.hub import serving as serving_hub
from tests.unit.sources.test_dialects import build, by_post, origin, raw_params


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(mirror, "PAUSE", 0.0)


def files_of_mirror(pictures, level=3):
    """Archives and indexes, as hfutils makes them; the mirror's bytes are not the board's."""
    groups = {}
    for post_id, data in pictures.items():
        groups.setdefault(archive_of(post_id, level), {})[f"{post_id}.webp"] = data
    files = {}
    for archive, group in groups.items():
        buffer, index = io.BytesIO(), {}
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in group.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
            for info in tar:
                data = group[info.name]
                index[info.name] = {"offset": info.offset_data, "size": info.size, "sha256": sha256(data).hexdigest()}
        files[f"{archive}.tar"] = buffer.getvalue()
        files[f"{archive}.json"] = json.dumps({"filesize": 1, "hash": "x", "files": index}).encode()
    return files


def mirrored(board, hub, **changes):
    own = {"repo": "deepghs/board", "revision": "main"}
    return origin(board, mirror=own, hub=hub.address, **changes)


@pytest.mark.parametrize("level", [3, 4])
def test_files_come_from_the_mirror(tmp_path, level):
    pictures = {number: drawn(1000 + number, "WEBP") for number in boards.GOOD if number != 110}
    with serving(boards.Danbooru()) as board, serving_hub(files_of_mirror(pictures, level)) as hub:
        rows, _ = build(tmp_path, raw_params(mirrored(board, hub)))
        posts = by_post(rows)
        assert {number: posts[number]["bytes"] for number in pictures} == pictures
        assert posts[110]["problem"] == "no file: the mirror lacks it"
        assert posts[boards.EXPLICIT]["problem"] == "rating explicit: not downloaded"
        assert posts[101]["posts"][0]["md5"] == board.posts[-1].md5
        assert not [entry for entry in board.requests if entry.path.startswith("/files/")]
        assert len([path for path in hub.requests if path.endswith(".tar")]) == len(pictures)
        asked, before = len(hub.requests), (tmp_path / "raw.parquet").read_bytes()
        build(tmp_path, raw_params(mirrored(board, hub)))
        assert (len(hub.requests), (tmp_path / "raw.parquet").read_bytes()) == (asked, before)


def test_an_index_is_asked_for_once(tmp_path):
    posts = [Entry(number, drawn(number % 900)) for number in (1123, 2123, 3123, 4123)]
    pictures = {post.id: post.data for post in posts}
    with serving(boards.Danbooru(posts)) as board, serving_hub(files_of_mirror(pictures)) as hub:
        assert len(by_post(build(tmp_path, raw_params(mirrored(board, hub)))[0])) == 4
        assert len([path for path in hub.requests if path.endswith(".json")]) == 1


def test_bytes_that_the_index_does_not_list(tmp_path):
    posts = [Entry(number, drawn(number)) for number in range(101, 110)]
    files = files_of_mirror({post.id: post.data for post in posts})
    index = json.loads(files["images/0101.json"])
    index["files"]["101.webp"]["offset"] += 1
    files["images/0101.json"] = json.dumps(index).encode()
    files["images/0102.json"] = json.dumps({"files": {"102.webp": {"offset": -1, "size": "x"}}}).encode()
    files["images/0103.json"] = json.dumps({"files": {"103.webp": {"offset": 0, "size": 10**12}}}).encode()
    with serving(boards.Danbooru(posts)) as board, serving_hub(files) as hub:
        result = by_post(build(tmp_path, raw_params(mirrored(board, hub)))[0])
    assert result[101]["problem"] == "wrong file: not the one that the mirror lists"
    assert result[102]["problem"] == "no file: the mirror lacks it"
    assert result[103]["problem"].startswith("too large")
    assert sum(row["problem"] is None for row in result.values()) == 6


def test_a_mirror_needs_an_address_and_an_index(tmp_path, monkeypatch):
    with serving(boards.Danbooru()) as board, serving_hub({"images/0124.json": b"<html>"}) as hub:
        with pytest.raises(CharaloomError, match="a mirror needs a hub with an address"):
            build(tmp_path, raw_params({**mirrored(board, hub), "hub": str(tmp_path)}))
        assert not board.requests
        with pytest.raises(CharaloomError, match="has no index that can be read"):
            build(tmp_path, raw_params(mirrored(board, hub)))


def test_the_token_goes_to_the_hub_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary-token")
    with serving(boards.Danbooru()) as board, serving_hub(files_of_mirror({101: drawn(1)})) as hub:
        build(tmp_path, raw_params(mirrored(board, hub)))
        assert not any("canary" in str(entry.headers) for entry in board.requests)
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
