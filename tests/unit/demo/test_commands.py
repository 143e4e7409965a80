"""The demo's commands: worlds by seed, the board they serve, and what `verify` compares."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from charaloom.config.project import CODE
from charaloom.demo.commands import demo, verify
from charaloom.errors import CharaloomError


def test_another_seed_has_folders_of_its_own(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/demo.yaml").write_text((CODE / "config/demo.yaml").read_text())
    assert demo.overlays_of(None) == demo.overlays_of(1) == [demo.CONFIG]
    world = demo.World(demo.overlays_of(7))
    assert world.settings["seed"] == 7
    assert world.settings["posts"] == demo.World([demo.CONFIG]).settings["posts"]
    assert (world.results, world.work) == (Path("results/demo-7"), Path("work/demo-7"))
    assert world.folder == Path("work/demo-7/world")


def test_the_board_serves_while_it_is_open_and_no_longer(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "posts.jsonl").write_text(json.dumps({"id": 1, "tag_string": "hana_(x)", "rating": "g"}) + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = f"http://127.0.0.1:{port}"
    with demo.board(tmp_path, root):
        with urllib.request.urlopen(f"{root}/posts.json?tags=hana_(x)", timeout=20) as answer:
            assert [post["id"] for post in json.load(answer)] == [1]
        with pytest.raises(CharaloomError, match=f"port {port} is in use"), demo.board(tmp_path, root):
            pass
    assert not demo.taken(port)


def test_a_board_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(CharaloomError, match="did not start"),
        demo.board(tmp_path / "nowhere", "http://127.0.0.1:18999"),
    ):
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
