"""`charaloom remove`: what goes on the list, where, and whom it concerns."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from charaloom.__main__ import main
from charaloom.artifacts.files import sha256_bytes, write_json
from charaloom.artifacts.tables import FILTERED, RAW, write_table
from charaloom.cli.pictures.remove import sorted_out
from charaloom.config.named_files import read_removals, with_entries
from charaloom.sources.posts import EMPTY_POST
from tests.workflow.conftest import make_project

HASHES = [character * 64 for character in "abc"]


@pytest.mark.parametrize(
    "text",
    [
        "posts: [] # ids\n",
        "posts: [a, 'b'] # ids\nartists: []\n",
        "posts: [\n  a,\n  b,\n]\n",
        "posts:\n  - a # first\n  - b\n# end\n",
        "posts:\n- a\nartists:\n- c\n",
        "# nothing yet\nposts:\nartists: [c]\n",
        "posts: null # none\n",
        "posts: ~\n",
        "artists: [c]",
        "",
        "# a comment alone\n",
    ],
)
def test_entries_are_added_and_all_else_stays(text: str) -> None:
    before = yaml.safe_load(text) or {}
    new = ["danbooru:1", 'it\'s: "odd" # é']
    after = with_entries(text, "posts", new)
    assert yaml.safe_load(after) == {**before, "posts": [*(before.get("posts") or []), *new]}
    assert all(line.partition("#")[2] in after for line in text.splitlines())


def test_words_are_sorted_by_what_they_look_like(tmp_path: Path) -> None:
    file = tmp_path / "a picture.png"
    file.write_bytes(b"bytes")
    added = sorted_out(["123", "danbooru:45", "some one", "A" * 32, "b" * 64, str(file), "artist:77", "123"])
    assert added == {
        "posts": ["123", "danbooru:45"],
        "artists": ["some_one", "77"],
        "pictures": ["a" * 32, "b" * 64, sha256_bytes(b"bytes")],
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """hana has pictures of two artists, one of them twice; mei has none."""
    project = make_project(tmp_path / "project")
    folder = project.folder / "results" / "hana"
    artists = [["somebody"], ["another"], []]
    write_table(
        folder / "raw.parquet", [raw_row(*each) for each in zip(HASHES, artists, strict=True)], RAW, key="picture"
    )
    groups = [HASHES[0], HASHES[1], HASHES[0]]
    rows = [
        {"view": f"{name}/picture/0", "picture": name, "duplicate_group": f"{group}/picture/0"}
        for name, group in zip(HASHES, groups, strict=True)
    ]
    write_table(folder / "filtered.parquet", rows, FILTERED, key="view")
    write_json(folder / "published" / "folder.json", {"tag": "v-1"})
    write_json(folder / "published" / "other.json", {"withheld": "weak"})
    write_json(folder / "published" / "folder.lineage.json", {})
    read_removals.cache_clear()
    monkeypatch.chdir(project.folder)
    return project.folder


def raw_row(picture: str, artists: list[str]) -> dict[str, Any]:
    post = {**EMPTY_POST, "site": "board", "post_id": picture[:3], "artists": artists}
    return {"picture": picture, "bytes": picture.encode(), "size": 64, "format": "PNG", "posts": [post]}


def removed(capsys: pytest.CaptureFixture[str], wanted: str, code: int = 0) -> str:
    assert main(["remove", wanted]) == code
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_an_artist_is_listed_with_the_copies_of_their_pictures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cached = place / "work/measured/models" / HASHES[2][:2] / f"{HASHES[2]}.parquet"
    cached.parent.mkdir(parents=True)
    cached.touch()
    said = removed(capsys, "somebody")
    assert "hana: 1 picture and 1 other file of them; published to folder" in said
    assert "mei" not in said
    assert said.rstrip().endswith("Next: charaloom run hana")
    listed = yaml.safe_load((place / "config/removals.yaml").read_text())
    assert listed == {"posts": [], "artists": ["somebody"], "pictures": [HASHES[0], HASHES[2]]}
    assert not cached.exists(), "what was measured of it"
    removed(capsys, "somebody")
    assert yaml.safe_load((place / "config/removals.yaml").read_text()) == listed


def test_a_slip_of_the_pen_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = removed(capsys, "sombody")
    assert "no post of a character names this artist" in said
    assert "somebody" in said
    assert "No picture of a character is concerned so far" in said


def test_an_md5_is_compared_with_the_bytes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = hashlib.md5(HASHES[1].encode(), usedforsecurity=False).hexdigest().upper()
    assert "hana: 1 picture; published to folder" in removed(capsys, wanted)


def test_a_broken_list_stays_as_it_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "config/removals.yaml"
    file.write_text("posts: [a\n")
    assert "removals.yaml" in removed(capsys, "somebody", code=1)
    assert file.read_text() == "posts: [a\n"
