"""Boards that gallery-dl lists: the real one against a loopback board, and programs that misbehave in its place."""

import sys

import pytest

from charaloom.artifacts.tables import read_table
from charaloom.errors import CharaloomError
from charaloom.sources.boards import gallery_dl
from charaloom.sources.boards.gallery_dl import found
from charaloom.sources.sites import Site
from tests.servers import boards
from tests.servers.boards import Reply, serving
from tests.unit.sources.test_dialects import build, by_post, origin, raw_params

FAMILIES = {boards.Danbooru: "Danbooru", boards.Moebooru: "moebooru"}
SEARCHES = {boards.Danbooru: "/posts?tags={query}", boards.Moebooru: "/post?tags={query}"}


@pytest.fixture(params=FAMILIES, ids=lambda kind: kind.__name__)
def board(request):
    with serving(request.param(shown=100)) as server:
        yield server


def listed_by_gallery_dl(board, **changes):
    url = board.root + SEARCHES[type(board)]
    return origin(board, dialect="gallery-dl", family=FAMILIES[type(board)], url=url, **changes)


def test_a_list_of_gallery_dl_is_fetched_by_us(tmp_path, board):
    rows, _ = build(tmp_path, raw_params(listed_by_gallery_dl(board)))

    posts = by_post(rows)
    assert set(posts) >= set(boards.GOOD)  # it leaves out posts without a file
    assert {number for number, row in posts.items() if row["problem"] is None} == set(boards.GOOD)
    assert posts[boards.EXPLICIT]["problem"] == "rating explicit: not downloaded"
    files = [entry for entry in board.requests if entry.path.startswith("/files/") and entry.method == "GET"]
    assert len(files) == len(boards.GOOD)
    assert {entry.headers["user-agent"].split("/")[0] for entry in board.requests} == {"Charaloom"}
    assert {entry.headers.get("referer") for entry in files} == {f"{board.root}/"}
    assert read_table(tmp_path / "raw.parquet")[0]["posts"][0]["md5"]


def test_the_account_reaches_it_through_a_pipe_alone(tmp_path, board, monkeypatch):
    monkeypatch.setenv("CHARALOOM_DEMO_USERNAME", "somebody")
    monkeypatch.setenv("CHARALOOM_DEMO_API_KEY", "canary-key")
    build(tmp_path, raw_params(listed_by_gallery_dl(board)))
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    files = [entry for entry in board.requests if entry.path.startswith("/files/")]
    assert not any("authorization" in entry.headers for entry in files)


def test_a_refusal_names_cause_and_cure(tmp_path, board, monkeypatch):
    monkeypatch.setattr(type(board), "answer", lambda *_: Reply(b"no", 403))
    with pytest.raises(CharaloomError, match="gallery-dl"):
        build(tmp_path, raw_params(listed_by_gallery_dl(board)))


def test_an_address_that_it_does_not_know(tmp_path, board):
    own = origin(board, dialect="gallery-dl", url="http://127.0.0.1:9/{query}.txt")
    with pytest.raises(CharaloomError, match="Check url"):
        build(tmp_path, raw_params(own))
    with pytest.raises(CharaloomError, match="url: is missing"):
        build(tmp_path, raw_params(origin(board, dialect="gallery-dl")))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import time; time.sleep(60)", "took longer"),
        ("import sys\nwhile True: sys.stdout.write('[' * 65536)", "is longer than"),
        ("x = bytearray(4 * 2**30)", "failed"),
        ("print('[[3, ')", "ended before"),
        ('print(\'[[-1, {"error": "AuthRequired", "message": "canary"}]]\')', "Set CHARALOOM_DEMO_USERNAME"),
        ('print(\'[[-1, {"error": "ChallengeError"}]]\')', "never evaded"),
        ("pass", "ended before"),
        ("handle = open('x', 'wb', 0); handle.write(b'x')", "failed"),
    ],
)
def test_a_program_that_misbehaves_in_its_place(tmp_path, monkeypatch, program, message):
    (tmp_path / "gallery_dl.py").write_text(program)
    monkeypatch.setattr(gallery_dl, "BASE_SECONDS", 3.0)
    monkeypatch.setattr(gallery_dl, "LIST_BYTES", 2**22)
    monkeypatch.setattr(gallery_dl, "COMMAND", [sys.executable, str(tmp_path / "gallery_dl.py")])
    with serving(boards.Danbooru()) as board, pytest.raises(CharaloomError, match=message) as error:
        build(tmp_path, raw_params(listed_by_gallery_dl(board), limit=1))
    assert "canary" not in str(error.value)


SITE = Site("pixiv", "https://www.pixiv.net", 1.0, "x")


@pytest.mark.parametrize(
    ("row", "rating"),
    [
        ({"rating": "s", "tag_string": "x"}, "sensitive"),
        ({"rating": "s", "tags": "x"}, "general"),
        ({"rating": "R-18", "x_restrict": 1}, "explicit"),
        ({"rating": "General", "x_restrict": 0}, "general"),
        ({"purity": "sfw"}, "general"),
        ({"purity": "sketchy"}, "questionable"),
        ({"erotics": 0}, "general"),
        ({"erotics": 3}, "explicit"),
        ({"rating": "mature"}, None),
        ({"rating": None}, None),
    ],
)
def test_ratings_by_the_sites_own_scale(row, rating):
    result = found({"id": 1, **row}, "https://i.pximg.net/1.png", SITE)
    assert result.post["rating"] == rating
    assert not result.unrated


def test_a_post_of_several_files_is_several_posts():
    row = {"id": 7, "num": 2, "count": 3, "illust_ai_type": 2, "user": {"account": "somebody"}, "tags": ["a b", "c"]}
    headers = {"Referer": "https://x.example/?token=canary", "Cookie": "canary", "Authorization": "canary"}
    result = found({**row, "_http_headers": headers}, "https://i.pximg.net/7_p2.png", SITE)
    assert result.post["post_id"] == "7_2"
    assert result.post["artists"] == ["somebody"]
    assert result.post["tags_general"] == ["a_b", "c"]
    assert result.post["tags_meta"] == ["ai-generated"]
    assert "canary" not in str(result.headers)
    assert result.unrated
