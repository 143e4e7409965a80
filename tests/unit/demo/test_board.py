"""The loopback board answers as Danbooru does, where a crawler notices."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from charaloom.demo.world.board import search, serve
from charaloom.errors import CharaloomError
from tests.servers import small_world as world

AGENT = {"User-Agent": "Charaloom-tests/1"}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = world.write_world(tmp_path_factory.mktemp("board") / "world")
    with serve(folder) as board:
        yield board


def get(board, path, method="GET", **headers):
    request = urllib.request.Request(board.root + path, headers={**AGENT, **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def ids(board, query):
    return [post["id"] for post in json.loads(get(board, f"/posts.json?{query}")[2])]


def test_newest_first_and_keyset_pages(board):
    everything = ids(board, "limit=200")
    assert everything == sorted(everything, reverse=True)
    assert ids(board, "limit=3&page=b110") == [109, 108, 107]
    assert ids(board, "limit=3&page=a110") == [113, 112, 111]
    assert ids(board, "limit=2&page=2") == everything[2:4]
    assert ids(board, "page=b101") == []
    assert len(ids(board, "")) == 20


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("hana_(demo)+rating:q", [world.QUESTIONABLE]),
        ("rating:sensitive", [world.SENSITIVE]),
        ("rating:q,s", [world.SENSITIVE, world.QUESTIONABLE]),
        ("id:%3C103", [102, 101]),
        ("id:102,104", [104, 102]),
        ("id:102..104", [104, 103, 102]),
        ("shy_artist", [world.SHY]),
        ("-hana_(demo)", [world.OTHER]),
        ("shy_*", [world.SHY]),
        ("order:id+id:%3C103", [101, 102]),
        ("no_such_tag", []),
    ],
)
def test_search(board, tags, expected):
    assert ids(board, f"tags={tags}&limit=200") == expected


def test_deleted_posts_only_where_asked_for():
    posts = [{"id": 1, "tag_string": "a", "is_deleted": True}, {"id": 2, "tag_string": "a"}]
    assert [post["id"] for post in search(posts, "a")] == [2]
    assert [post["id"] for post in search(posts, "a status:any")] == [2, 1]


def test_two_tags_a_search(board):
    status, _, body = get(board, "/posts.json?tags=1girl+smile+solo")
    assert status == 422
    assert json.loads(body)["error"] == "PostQuery::TagLimitError"
    assert get(board, "/posts.json?tags=id:%3Cx")[0] == 422


def test_urls_are_absolute_and_missing_where_no_file_is_to_be_seen(board):
    sample = json.loads(get(board, f"/posts/{world.SAMPLE}.json")[2])
    assert sample["file_url"].startswith(board.root + "/data/")
    assert all(variant["url"].startswith(board.root) for variant in sample["media_asset"]["variants"])
    for number in (world.BANNED, world.NO_FILE):
        post = json.loads(get(board, f"/posts/{number}.json")[2])
        assert not {"file_url", "large_file_url", "preview_file_url", "md5"} & set(post)
    assert get(board, "/posts/999.json")[0] == 404
    assert get(board, f"/posts/{world.SAMPLE}")[1]["Content-Type"].startswith("text/html")


def test_files_have_length_etag_and_range(board):
    url = json.loads(get(board, "/posts/105.json")[2])["file_url"].removeprefix(board.root)
    status, headers, data = get(board, url)
    assert (status, int(headers["Content-Length"]), headers["X-Rate-Limit"] is not None) == (200, len(data), True)
    assert get(board, url, Range="bytes=10-")[2] == data[10:]
    assert get(board, url, Range="bytes=10-19")[1]["Content-Range"] == f"bytes 10-19/{len(data)}"
    assert get(board, url, Range=f"bytes={len(data)}-")[0] == 416
    assert get(board, url, **{"If-None-Match": headers["ETag"]})[0] == 304
    assert get(board, url, **{"Range": "bytes=10-", "If-Range": '"other"'})[0] == 200
    assert get(board, url, method="HEAD")[2] == b""


def test_no_way_out_of_the_data_folder(board):
    assert get(board, "/data/../posts.jsonl")[0] == 404
    assert get(board, "/data/%2e%2e/posts.jsonl")[0] == 404
    assert get(board, "/data/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd")[0] == 404


def test_browsers_are_refused(board):
    assert get(board, "/posts.json", **{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"})[0] == 403


def test_requests_are_logged(board):
    before = len(board.requests)
    get(board, "/posts.json?tags=a+b")
    entry = board.requests[before]
    assert (entry.path, entry.query, entry.status) == ("/posts.json", {"tags": "a b"}, 200)
    assert entry.headers["user-agent"] == AGENT["User-Agent"]


def test_a_world_must_be_there(tmp_path):
    with pytest.raises(CharaloomError, match=r"posts\.jsonl"), serve(tmp_path):
        pass


def test_as_a_process(tmp_path):
    folder, ready = world.write_world(tmp_path / "world"), tmp_path / "ready"
    command = [sys.executable, "-m", "charaloom.demo.world.board", "--world", folder, "--ready-file", ready]
    scripts = Path(__file__).parents[3] / "scripts"
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(scripts)}, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        root = ready.read_text().strip()
        request = urllib.request.Request(root + "/posts.json", headers=AGENT)
        assert urllib.request.urlopen(request, timeout=10).status == 200
        process.terminate()
        assert process.wait(timeout=10) == 0
