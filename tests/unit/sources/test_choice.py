"""Several sources of one character: what is merged, what each may give, and what is chosen by rank."""

import json
import math
from contextlib import ExitStack

import pytest

from charaloom.sources.choice import chosen
from charaloom.sources.posts import EMPTY_POST, ListedPost
from tests.servers import boards
from tests.servers.boards import Entry, drawn, serving
from tests.unit.sources.test_dialects import build, by_post, origin, raw_params


@pytest.fixture
def open_board():
    """Start boards that stop with the test."""
    with ExitStack() as stack:
        yield lambda kind, posts=None: stack.enter_context(serving(kind(posts)))


def named(board, name, **changes):
    return origin(board, name=name, **changes)


def file_requests(board):
    return [entry for entry in board.requests if entry.path.startswith("/files/") and entry.method == "GET"]


def test_a_picture_of_two_boards_is_one_row_with_both_posts_and_fetched_once(tmp_path, open_board):
    first = open_board(boards.Danbooru, [Entry(1, drawn(1)), Entry(2, drawn(2))])
    second = open_board(boards.Moebooru, [Entry(7, drawn(2), general=("1girl", "hat")), Entry(8, drawn(3))])
    rows, counts = build(tmp_path, raw_params(named(first, "one"), named(second, "two")))

    assert sorted(by_post(rows)) == [1, 2, 7, 8]
    shared = by_post(rows)[2]
    assert shared is by_post(rows)[7]
    assert [(post["site"], post["post_id"]) for post in shared["posts"]] == [("one", "2"), ("two", "7")]
    assert [post["tags_general"] for post in shared["posts"]] == [["1girl", "red_dress"], ["1girl", "hat"]]
    assert [len(file_requests(board)) for board in (first, second)] == [2, 1]
    assert counts["usable"] == counts["rows"] == 3


def test_a_board_of_many_posts_starves_no_other(tmp_path, open_board):
    many = open_board(boards.Danbooru, [Entry(number, drawn(number)) for number in range(1, 41)])
    few = open_board(boards.E621, [Entry(number, drawn(number)) for number in range(101, 105)])
    middle = open_board(boards.Moebooru, [Entry(number, drawn(number)) for number in range(201, 221)])
    sources = [named(many, "many"), named(few, "few"), named(middle, "middle")]
    rows, counts = build(tmp_path, raw_params(*sources, limit=24))

    numbers = sorted(by_post(rows))
    assert sum(number < 100 for number in numbers) == 10
    assert sum(100 < number < 200 for number in numbers) == 4  # all it has; the rest is shared by the others
    assert sum(number > 200 for number in numbers) == 10
    assert counts["not_chosen"] == 14 + 10


def test_a_quota_holds_and_the_rest_goes_to_the_other(tmp_path, open_board):
    first = open_board(boards.Danbooru, [Entry(number, drawn(number)) for number in range(1, 21)])
    second = open_board(boards.E621, [Entry(number, drawn(number)) for number in range(101, 121)])
    rows, _ = build(tmp_path, raw_params(named(first, "one", quota=3), named(second, "two"), limit=12))
    assert sum(number < 100 for number in by_post(rows)) == 3
    assert sum(number > 100 for number in by_post(rows)) == 9


def test_a_folder_beside_a_board(tmp_path, open_board):
    board = open_board(boards.Danbooru, [Entry(1, drawn(1)), Entry(2, drawn(2))])
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "mine.png").write_bytes(drawn(2))
    (folder / "mine.txt").write_text("1girl, blue hat")
    rows, _ = build(tmp_path, raw_params(named(board, "one"), {"kind": "folder", "path": str(folder)}))
    shared = next(row for row in rows if len(row["posts"]) == 2)
    assert [post["site"] for post in shared["posts"]] == ["folder", "one"]
    assert shared["posts"][0]["tags_general"] == ["1girl", "blue_hat"]


def test_the_board_s_count_is_compared(tmp_path, open_board, monkeypatch):
    board = open_board(boards.Szurubooru)
    answer = boards.Szurubooru.answer
    monkeypatch.setenv("CHARALOOM_DEMO_USERNAME", "5")
    monkeypatch.setenv("CHARALOOM_DEMO_API_KEY", "key")

    def short(self, path, *arguments):
        reply = answer(self, path, *arguments)
        if not path.startswith("/api/"):
            return reply
        value = json.loads(reply.body)
        return boards.as_json({**value, "total": value["total"] + 40})

    monkeypatch.setattr(boards.Szurubooru, "answer", short)
    rows, counts = build(tmp_path, raw_params(origin(board)))
    assert counts["partial_sources"] == 1
    assert len(by_post(rows)) == len(boards.ALL)


def test_an_artist_is_excluded_where_a_board_has_no_categories(tmp_path, open_board):
    board = open_board(boards.Gelbooru02)
    removals = {"posts": [], "artists": [boards.ARTIST], "pictures": []}
    rows, _ = build(tmp_path, raw_params(origin(board), removals=removals))
    assert {row["problem"] for row in rows} == {"removed: on request"}
    assert not [entry for entry in board.requests if entry.path.startswith("/images/")]


# ---- sampling


def listed(count, **columns):
    return [
        ListedPost(
            {**EMPTY_POST, "site": "a", "post_id": str(number), **{key: of(number) for key, of in columns.items()}}
        )
        for number in range(count)
    ]


def test_without_weights_the_newest_are_taken():
    posts = listed(10)
    assert chosen(posts, 3, {"score": 0, "favourites": 0, "date": 0}, 1) == {"0", "1", "2"}
    assert chosen(posts, 20, {"score": 1}, 1) == set(map(str, range(10)))


def test_a_weight_raises_the_chance_by_rank_and_the_seed_decides():
    posts = listed(2000, score=lambda number: number)
    taken = chosen(posts, 500, {"score": 3, "favourites": 0, "date": 0}, 7)
    assert taken == chosen(list(reversed(posts)), 500, {"score": 3, "favourites": 0, "date": 0}, 7)
    assert taken != chosen(posts, 500, {"score": 3, "favourites": 0, "date": 0}, 8)
    upper = sum(int(post_id) >= 1000 for post_id in taken) / 500
    assert 0.7 < upper < 0.9
    even = chosen(posts, 500, {"score": 0, "favourites": 1e-9, "date": 0}, 7)
    assert abs(sum(int(post_id) >= 1000 for post_id in even) / 500 - 0.5) < 3 * math.sqrt(0.25 / 500)


def test_more_posts_change_little_of_what_was_chosen():
    weights = {"score": 1, "favourites": 0, "date": 0}
    before = chosen(listed(1000, score=lambda number: number % 50), 300, weights, 7)
    after = chosen(listed(1050, score=lambda number: number % 50), 300, weights, 7)
    assert len(before & after) > 260


def test_a_folder_s_quota_is_spread_evenly():
    assert chosen(listed(10), 5, None, 1) == {"0", "2", "4", "6", "8"}
