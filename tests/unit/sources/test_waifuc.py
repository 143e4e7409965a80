"""Sources of waifuc: our program with a stand-in for waifuc that misbehaves, and with waifuc itself where it is.

waifuc itself is looked for at the Python that CHARALOOM_WAIFUC names, else at the config's `.venv-waifuc`.
"""

import ctypes
import os
import pickle
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from charaloom.errors import CharaloomError
from charaloom.runtime import processes
from charaloom.sources.waifuc import source as adapter
from tests.servers import boards
from tests.servers.boards import Reply, drawn, serving
from tests.unit.sources.test_dialects import build, raw_params

ROOT = Path(__file__).parents[3]
STANDIN = ROOT / "tests" / "servers" / "standin_waifuc"


@pytest.fixture
def python(tmp_path):
    """The Python of an environment in which the stand-in is what `waifuc` is."""
    path = tmp_path / "environment" / "python"
    path.parent.mkdir()
    settings = f"export PYTHONPATH={STANDIN}:$PYTHONPATH CHARALOOM_TESTS={ROOT} CHARALOOM_OUTSIDE={tmp_path}"
    lines = ["#!/bin/sh", settings, f'exec {sys.executable} "$@"']
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(adapter, "SILENT_SECONDS", 4.0)
    monkeypatch.setattr(adapter, "PAUSE", 0.0)


def origin(kind, *args, quota=None, unrated=None, **options):
    asked = {"class": kind, "args": list(args), "options": options}
    if unrated:
        asked["unrated"] = unrated
    return {"kind": "waifuc", "waifuc": asked, **({"quota": quota} if quota else {})}


def by_id(rows):
    return {post["post_id"]: (row, post) for row in rows for post in row["posts"]}


def files_of(folder):
    return [path for path in (folder / "work").rglob("*") if path.is_file()]


def test_pictures_and_posts_of_a_source(tmp_path, python):
    rows, counts = build(tmp_path, raw_params(origin("Source", 3)), waifuc=python)
    posts = by_id(rows)
    assert sorted(posts) == ["100", "101", "102"]
    row, post = posts["101"]
    assert row["bytes"] == drawn(1)
    assert (post["site"], post["rating"], post["score"]) == ("danbooru", "general", 7)
    assert (post["tags_general"], post["tags_character"]) == (["1girl", "hat"], ["hana"])
    assert post["file_url"] == "https://files.example/101.png?x=1"
    assert (counts["redrawn_files"], counts["partial_sources"]) == (3, 0)

    before = (tmp_path / "raw.parquet").read_bytes()
    build(tmp_path, raw_params(origin("Source", 3)), waifuc="nowhere")  # the store has the answer
    assert (tmp_path / "raw.parquet").read_bytes() == before


def test_ratings_are_judged_and_what_is_refused_is_not_kept(tmp_path, python):
    rows, _ = build(tmp_path, raw_params(origin("Source", 2, rating="e")), waifuc=python)
    assert {row["problem"] for row in rows} == {"rating explicit: not downloaded"}
    assert not any(path.read_bytes().startswith(b"\x89PNG") for path in files_of(tmp_path))
    rows, _ = build(tmp_path / "none", raw_params(origin("Source", 2, rating=None)), waifuc=python)
    assert {row["problem"] for row in rows} == {"rating unknown: not downloaded"}
    own = origin("Source", 2, rating=None, unrated="general")
    rows, _ = build(tmp_path / "unrated", raw_params(own), waifuc=python)
    assert {(row["problem"], row["posts"][0]["rating"]) for row in rows} == {(None, "general")}


def test_what_is_removed_on_request_leaves_the_table_and_the_store(tmp_path, python):
    own = origin("Source", 4)
    build(tmp_path, raw_params(own), waifuc=python)
    removals = {"posts": ["danbooru:100"], "artists": [], "pictures": [sha256(drawn(1)).hexdigest()]}
    for _ in range(2):
        rows, _ = build(tmp_path, raw_params(own, removals=removals), waifuc="nowhere")
        problems = {post_id: row["problem"] for post_id, (row, _) in by_id(rows).items()}
        removed = "removed: on request"
        assert problems == {"100": removed, "101": removed, "102": None, "103": None}
        left = {path.read_bytes() for path in files_of(tmp_path)}
        assert {drawn(2), drawn(3)} <= left
        assert not {drawn(0), drawn(1)} & left


@pytest.mark.parametrize(("kind", "number"), [("Repeating", 1), ("Endless", 5), ("Skipping", 3)])
def test_repeats_and_more_than_was_asked_for(tmp_path, python, kind, number):
    rows, counts = build(tmp_path, raw_params(origin(kind, quota=5)), waifuc=python)
    assert len(rows) == number
    assert counts["partial_sources"] == 0
    assert counts["skipped_files"] == (3 if kind == "Skipping" else 0)


@pytest.mark.parametrize(
    ("kind", "number", "said"),
    [
        ("Hanging", 1, "gave no picture for 4 seconds"),
        ("Failing", 2, "ended early (status 1: ValueError: Expecting value"),
        ("Dying", 1, "ended early (status 9: "),
        ("Hungry", 1, "ended early (status 1: MemoryError"),
        ("Flooding", 1, "is longer than 1 MiB"),
        ("Littering", 1, "left more than"),
        ("Large", 1, "ended early (status 1: OSError"),
        ("Chattering", 3, "said what it was not asked for"),
        ("Linking", 3, None),
        ("Escaping", 3, "took longer than"),
    ],
)
def test_a_source_that_misbehaves(tmp_path, python, monkeypatch, capfd, kind, number, said):
    monkeypatch.setattr(adapter, "SAID_BYTES", 2**20)
    monkeypatch.setattr(adapter, "BASE_SECONDS", 3.0 if kind == "Escaping" else 60.0)
    monkeypatch.setattr(adapter, "SECONDS_PER_ITEM", 0.0)
    monkeypatch.setenv("SOME_KEY", "canary-key")
    rows, counts = build(tmp_path, raw_params(origin(kind, quota=3, api_key={"env": "SOME_KEY"})), waifuc=python)
    assert len(by_id(rows)) <= number
    assert {row["bytes"] for row in rows if row["bytes"]} <= {drawn(each) for each in range(number)}
    assert drawn(0) in {row["bytes"] for row in rows}
    assert counts["partial_sources"] == int(said is not None)
    errors = capfd.readouterr().err
    assert said is None or f"waifuc's {kind}: " in errors
    assert said is None or said in errors
    assert "canary" not in errors
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert {path.name for path in files_of(tmp_path)} <= {
        "lock",
        "posts.json",
        "files.json",
        "000000",
        "000001",
        "000002",
    }
    if kind == "Linking":
        assert by_id(rows)["101"][0]["problem"] == "no file: waifuc left none"


def has_landlock():
    return ctypes.CDLL(None).syscall(processes.CREATE_RULESET, None, 0, processes.VERSION_OF_LANDLOCK) > 0


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
def test_it_cannot_write_elsewhere(tmp_path, python):
    rows, counts = build(tmp_path, raw_params(origin("Wandering", 2)), waifuc=python)
    assert (len(rows), counts["partial_sources"]) == (2, 0)
    assert not list(tmp_path.rglob("escaped"))


class Payload:
    def __reduce__(self):
        return os.system, (f"touch {Payload.trap}",)


def test_what_it_says_decides_no_place_and_runs_no_code(tmp_path, python):
    Payload.trap = tmp_path / "executed"
    poison = {"__type": "os.stat", "base64": b64encode(pickle.dumps(Payload())).decode()}
    more = {"filename": "../../../evil.png", "group_id": "/etc/passwd", "ccip_feature": poison, "x": [1, {"y": None}]}
    rows, _ = build(tmp_path, raw_params(origin("Source", 2, more=more)), waifuc=python)
    assert len(rows) == 2
    assert not Payload.trap.exists()
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("Source", {"number": 0}, "gave no picture"),
        ("Nothing", {}, "waifuc has no source `Nothing`"),
        ("Source", {"unknown": 1}, "unexpected keyword argument"),
        ("Source", {"api_key": {"env": "NOT_SET"}}, "the environment has no NOT_SET"),
    ],
)
def test_a_source_that_gives_nothing_is_an_error(tmp_path, python, kind, options, said):
    with pytest.raises(CharaloomError, match=said):
        build(tmp_path, raw_params(origin(kind, **options)), waifuc=python)
    assert {path.name for path in files_of(tmp_path)} <= {"lock"}


def test_an_environment_that_is_not_there(tmp_path):
    with pytest.raises(CharaloomError, match=r"no program\. Make an environment as envs/waifuc\.txt says"):
        build(tmp_path, raw_params(origin("Source")), waifuc=str(tmp_path / "nowhere"))


# ---- waifuc itself


def waifuc_python():
    path = Path(os.environ.get("CHARALOOM_WAIFUC", ROOT / ".venv-waifuc" / "bin" / "python"))
    if not path.is_file() or subprocess.run([path, "-c", "import waifuc.source"], capture_output=True).returncode:
        pytest.skip(f"waifuc is not installed for {path} (envs/waifuc.txt)")
    return str(path)


@pytest.fixture(scope="module")
def real():
    return waifuc_python()


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(adapter, "SILENT_SECONDS", 120.0)


LIKE = "danbooru.DanbooruLikeSource"


def test_waifuc_crawls_a_board_under_our_name(tmp_path, real, patient):
    with serving(boards.Danbooru(shown=100)) as board:
        own = origin(LIKE, [boards.TAG], quota=7, min_size=None, site_name="danbooru", site_url=board.root)
        rows, counts = build(tmp_path, raw_params(own), waifuc=real)
        agents = {entry.headers["user-agent"].split("/")[0] for entry in board.requests}
    posts = by_id(rows)
    pictures = {number for number, (row, _) in posts.items() if row["problem"] is None}
    assert pictures == {"122", "123", "124", str(boards.VIDEO)}  # whose file is a picture on this board
    assert posts["124"][0]["bytes"] == next(post.data for post in board.posts if post.id == 124)
    assert posts["124"][1]["artists"] == [boards.ARTIST]
    assert posts[str(boards.EXPLICIT)][0]["problem"] == "rating explicit: not downloaded"
    assert (counts["redrawn_files"], counts["skipped_files"]) == (0, 0)
    assert agents == {"Charaloom"}


def test_waifuc_asks_a_board_that_refuses_once(tmp_path, real, patient, monkeypatch):
    with serving(boards.Danbooru()) as board:
        monkeypatch.setattr(board, "reply", lambda *_: Reply(b"no", 403))
        own = origin(LIKE, [boards.TAG], site_name="danbooru", site_url=board.root)
        with pytest.raises(CharaloomError, match="the site refuses access"):
            build(tmp_path, raw_params(own), waifuc=real)
        assert len(board.requests) == 1


def test_waifuc_evades_no_challenge(tmp_path, real, patient):
    with pytest.raises(CharaloomError, match="evades browser challenges"):
        build(tmp_path, raw_params(origin("AnimePicturesSource", ["hana"])), waifuc=real)
