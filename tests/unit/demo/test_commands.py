"""The demo's commands: worlds by seed, the board they serve, and what `verify` compares."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from charaloom.config.schemas import CODE
from charaloom.demo.commands import verify
from charaloom.demo.commands import world as demo
from charaloom.demo.world.serving import board, proxied, serving
from charaloom.errors import CharaloomError

PORT = 18737
ROOT = f"http://127.0.0.1:{PORT}"


def test_another_seed_has_folders_of_its_own(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for path in demo.CONFIGS:
        (tmp_path / path).write_text((CODE / path).read_text())
    assert demo.overlays_of(None) == demo.overlays_of(1) == demo.CONFIGS
    world = demo.World(demo.overlays_of(7))
    assert world.settings["seed"] == 7
    assert world.settings["posts"] == demo.World(demo.CONFIGS).settings["posts"]
    assert (world.results, world.work) == (Path("results/demo-7"), Path("work/demo-7"))
    assert world.folder == Path("work/demo-7/world")


def world_of(folder: Path, post: int) -> Path:
    """A world of one post."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.png").write_bytes(b"picture")
    row = {"id": post, "tag_string": "hana_(x)", "rating": "g", "file_url": "/data/a.png"}
    (folder / "posts.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def posts_at(root: str) -> list[dict[str, Any]]:
    return requests.get(f"{root}/posts.json", headers={"User-Agent": "test"}, timeout=20).json()


def test_two_boards_of_one_root_serve_side_by_side(tmp_path: Path, monkeypatch: Any) -> None:
    """The root's port need not be free, and it stands in the URLs whatever the port that is served."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with socket.socket() as taken, board(world_of(tmp_path / "one", 1), root=ROOT) as first:
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", PORT))
        with serving(world_of(tmp_path / "two", 2), ROOT):
            (post,) = posts_at(ROOT)
            assert (post["id"], post["file_url"]) == (2, f"{ROOT}/data/a.png")
            assert requests.get(post["file_url"], headers={"User-Agent": "test"}, timeout=20).content == b"picture"
            child = "import requests; print(requests.get('%s/posts.json', headers={'User-Agent': 'x'}).json()[0]['id'])"
            assert subprocess.check_output([sys.executable, "-c", child % ROOT]).split() == [b"2"]
        with proxied(first):
            assert [post["id"] for post in posts_at(ROOT)] == [1]
            assert requests.get("http://elsewhere.example/posts.json", timeout=20).status_code == 502
    assert os.environ["no_proxy"] == "127.0.0.1,localhost"
    assert "http_proxy" not in os.environ
    with pytest.raises(requests.ConnectionError):
        posts_at(first)


def test_a_board_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(CharaloomError, match="did not start"), serving(tmp_path / "nowhere", ROOT):
        pass


def test_a_difference_is_found(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name / "results/hana").mkdir(parents=True)
        (tmp_path / name / "results/hana/x.json").write_text(text)
        (tmp_path / name / "results/hana/y.json").write_text("same")
    first, second = verify.digests(tmp_path / "a"), verify.digests(tmp_path / "b")
    different = {name for name in first if first[name] != second[name]}
    assert different == {"results/hana/x.json"}
    assert "DIFFERENT" in verify.equality_table(sorted(first), different)
