"""Every dialect of boards against a loopback board that speaks it: all posts, all pictures, one hit, oddities."""

import json

import pytest

from charaloom.artifacts.tables import read_table
from charaloom.config.params import Raw
from charaloom.errors import CharaloomError
from charaloom.sources.boards.dialect import with_character
from charaloom.sources.boards.philomena import Philomena
from charaloom.sources.kinds import Machine
from charaloom.sources.raw import build_raw
from tests.servers import boards
from tests.servers.boards import Reply, serving

ACCOUNTS = ("gelbooru", "szurubooru")
QUERIES = {"zerochan": "Hana (demo)", "philomena": "hana (demo)"}
UNRATED = ("zerochan",)  # sites without ratings


@pytest.fixture(autouse=True)
def account(monkeypatch):
    monkeypatch.setenv("CHARALOOM_DEMO_USERNAME", "5")
    monkeypatch.setenv("CHARALOOM_DEMO_API_KEY", "key")


@pytest.fixture(params=boards.DIALECTS, ids=lambda kind: kind.__name__)
def board(request):
    with serving(request.param()) as server:
        yield server


@pytest.fixture(scope="module", params=boards.DIALECTS, ids=lambda kind: kind.__name__)
def crawled(request, tmp_path_factory):
    """One crawl of each board that several tests look at: (folder, board, rows, counts)."""
    folder = tmp_path_factory.mktemp("crawled")
    with pytest.MonkeyPatch.context() as environment, serving(request.param()) as server:
        environment.setenv("CHARALOOM_DEMO_USERNAME", "5")
        environment.setenv("CHARALOOM_DEMO_API_KEY", "key")
        yield folder, server, *build(folder, raw_params(origin(server)))


def origin(board, **changes):
    query = QUERIES.get(board.dialect, boards.TAG)
    unrated = {"unrated": "general"} if board.dialect in UNRATED else {}
    own = {"kind": "board", "name": "demo", "dialect": board.dialect, "root": board.root, "query": query, **unrated}
    return {**own, "seconds_between_requests": 0.0, **changes}


def raw_params(*sources, **changes):
    own = {"sources": list(sources), "age": "adult", "version": 1, "limit": 100, "minimum": 0, "ratings": ["general"]}
    return {**own, "maximum_pixels": 10**8, "maximum_bytes": 2**26, **changes}


def build(folder, params, **machine):
    table, manifest = folder / "raw.parquet", folder / "raw.manifest.json"
    build_raw(
        "hana", Raw.of(params), table, folder / "raw.pictures.json", manifest, Machine(folder / "work", **machine)
    )
    return read_table(table), json.loads(manifest.read_text())["counts"]


def by_post(rows):
    return {int(post["post_id"]): row for row in rows for post in row["posts"]}


def test_all_posts_and_all_pictures_of_every_dialect(crawled):
    _, board, rows, counts = crawled
    posts = by_post(rows)
    assert sorted(posts) == list(boards.ALL)
    pictures = [number for number, row in posts.items() if row["problem"] is None]
    rated = board.dialect not in UNRATED
    good = [*boards.GOOD] if rated else [*boards.GOOD, boards.SENSITIVE, boards.QUESTIONABLE, boards.EXPLICIT]
    assert sorted(pictures) == good
    by_id = {post.id: post for post in board.posts}
    assert all(posts[number]["bytes"] == by_id[number].data for number in pictures)
    assert posts[boards.NO_FILE]["problem"] == "no file: the board shows none"
    assert posts[boards.VIDEO]["problem"].startswith("not a picture")
    if rated:
        assert posts[boards.EXPLICIT]["problem"] == "rating explicit: not downloaded"
        assert posts[boards.QUESTIONABLE]["problem"] == "rating questionable: not downloaded"
    assert counts["partial_sources"] == 0


def test_what_each_dialect_says_of_a_post(crawled):
    _, board, rows, _ = crawled
    (post,) = by_post(rows)[101]["posts"]

    assert post["site"] == "demo"
    assert post["page_url"].startswith(board.root)
    assert post["file_url"].startswith(board.root)
    assert post["md5"] == (None if board.dialect == "philomena" else board.posts[-1].md5)
    assert post["rating"] == "general"
    assert boards.TAG in [tag.lower() for tag in post["tags_character"]]
    assert "red_dress" in post["tags_general"]
    categories = board.dialect in ("danbooru", "e621", "moebooru", "szurubooru", "philomena")
    assert (post["artists"] == [boards.ARTIST]) == categories


def test_requests_are_few_and_a_second_run_asks_nothing(crawled):
    folder, board, rows, _ = crawled
    pages = len(boards.ALL) // boards.SHOWN + 1
    files = {post["file_url"].removeprefix(board.root) for row in rows for post in row["posts"] if post["file_url"]}
    of_files = [
        entry for entry in board.requests if entry.path.startswith(("/files/", "/images/", "/data/", "/image/"))
    ]
    shimmie = [entry for entry in board.requests if entry.query.get("q", "").startswith("image/")]
    other = len(board.requests) - len(of_files) - len(shimmie)
    assert len([entry for entry in (*of_files, *shimmie) if entry.method == "GET"]) <= len(files)
    details = len(boards.ALL) if board.dialect == "zerochan" else 0
    assert other - details <= pages + 3  # the empty one, twice where it may pass, and robots.txt

    before, requests = (folder / "raw.parquet").read_bytes(), len(board.requests)
    build(folder, raw_params(origin(board)))
    assert ((folder / "raw.parquet").read_bytes(), len(board.requests)) == (before, requests)


def test_a_list_of_one_hit(tmp_path, board):
    if board.terms_as_tags:
        query = f"{origin(board)['query']}{',' if board.dialect == 'philomena' else ''} {boards.ONLY}"
    else:
        query = f"{boards.Zerochan.query}, {boards.ONLY}"
    rows, _ = build(tmp_path, raw_params(origin(board, query=query)))
    assert list(by_post(rows)) == [110]


def test_a_query_without_hits(tmp_path, board):
    rows, counts = build(tmp_path, raw_params(origin(board, query="nobody")))
    assert (rows, counts["partial_sources"]) == ([], 0)


def test_an_answer_that_passes_is_not_believed(tmp_path, board):
    for name, body in (("empty", b""), ("page", b"<html>back soon</html>")):
        board.faults = [("", Reply(body, type="text/html"))]
        rows, _ = build(tmp_path / name, raw_params(origin(board), limit=2))
        assert sorted(by_post(rows))[-3:] == list(boards.ALL)[-3:]


def test_a_web_page_that_stays_is_an_error(tmp_path, board):
    board.faults = [("", Reply(b"<html>log in</html>", type="text/html")) for _ in range(5)]
    with pytest.raises(CharaloomError, match="answered with"):
        build(tmp_path, raw_params(origin(board)))


def test_the_account_stays_out_of_everything(tmp_path, board, monkeypatch):
    monkeypatch.setenv("CHARALOOM_DEMO_API_KEY", "canary-key")
    monkeypatch.setattr(type(board), "reply", lambda *_: Reply(b"[]", 403))
    with pytest.raises(CharaloomError) as error:
        build(tmp_path, raw_params(origin(board)))
    assert "CHARALOOM_DEMO_API_KEY" in str(error.value)
    assert "canary" not in str(error.value)
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_account_is_not_sent_unencrypted(tmp_path, board):
    with pytest.raises(CharaloomError, match="not encrypted"):
        build(tmp_path, raw_params(origin(board, root="http://board.example")))


@pytest.mark.parametrize(
    ("query", "character"),
    [("rem_(re:zero) solo", "rem_(re:zero)"), ("rating:general rem_(re:zero)", "rem_(re:zero)"), ("re*", None)],
)
def test_the_first_tag_of_a_query_is_the_character(query, character):
    post = {"tags_general": ["solo", "rem_(re:zero)"], "tags_character": []}
    assert with_character(post, query)["tags_character"] == ([character] if character else [])


def test_a_character_of_philomena_is_no_general_tag():
    row = {"id": 1, "tags": ["twilight sparkle", "safe", "smiling", "oc:hana"], "representations": {}}
    post = Philomena().found(row, "demo", "https://x.example", "twilight sparkle, smiling").post
    assert (post["tags_character"], post["tags_general"]) == (["twilight_sparkle", "hana"], ["smiling"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"is_deleted": True}, "no file: deleted by the board"),
        ({"is_banned": True}, "banned: taken down at the artist's request"),
        ({"tag_string_artist": "somebody banned_artist"}, "banned: taken down at the artist's request"),
        ({"rating": None}, "rating unknown: not downloaded"),
        ({"id": str(boards.GOOD[0])}, None),
    ],
)
def test_what_a_post_says_of_itself_is_heeded(tmp_path, change, problem):
    class Odd(boards.Danbooru):
        def row(self, post):
            return {**super().row(post), **(change if post.id == boards.GOOD[0] else {})}

    with serving(Odd()) as board:
        rows, _ = build(tmp_path, raw_params(origin(board)))
    assert by_post(rows)[boards.GOOD[0]]["problem"] == problem
