"""Stage `raw` against a loopback board with one of each oddity, against a board that misbehaves, and on folders."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from charaloom.artifacts.tables import RAW, read_table, stream_table
from charaloom.config.params import Raw
from charaloom.demo.world.board import running, serve
from charaloom.errors import CharaloomError
from charaloom.sources import downloads
from charaloom.sources.kinds import Machine
from charaloom.sources.posts import scrubbed
from charaloom.sources.raw import build_raw
from tests.servers import small_world as world
from tests.servers.misbehaving import Misbehaving, answering, cut_after, dripping, endless

CANARY = "canary"


@pytest.fixture
def folder(tmp_path):
    return world.write_world(tmp_path / "world")


@pytest.fixture
def board(folder):
    with serve(folder) as board:
        yield board


@pytest.fixture
def bad(folder):
    with running(Misbehaving(folder)) as board:
        yield board


@pytest.fixture(scope="module")
def crawled(tmp_path_factory):
    """One undisturbed crawl that several tests look at: (folder, board, rows, manifest)."""
    folder = tmp_path_factory.mktemp("crawled")
    with serve(world.write_world(folder / "world")) as board:
        yield folder, board, *build(folder, params_for(board))


def params_for(board, query=world.TAG, **changes):
    source = {
        "kind": "board",
        "name": "demo",
        "dialect": "danbooru",
        "root": board.root,
        "seconds_between_requests": 0.0,
        "query": query,
    }
    own = {"sources": [source], "age": "adult", "version": 1, "limit": 100, "minimum": 1}
    return {**own, "ratings": ["general"], "maximum_pixels": 10**8, "maximum_bytes": 2**26, **changes}


def build(tmp_path, params, name="raw"):
    table, manifest = tmp_path / f"{name}.parquet", tmp_path / f"{name}.manifest.json"
    build_raw("hana", Raw.of(params), table, tmp_path / f"{name}.pictures.json", manifest, Machine(tmp_path / "work"))
    return {row["picture"]: row for row in read_table(table)}, json.loads(manifest.read_text())


def by_post(rows):
    return {int(post["post_id"]): row for row in rows.values() for post in row["posts"]}


def file_requests(board, method="GET"):
    return [entry.path for entry in board.requests if entry.path.startswith("/data/") and entry.method == method]


# ---- the world as it is


def test_every_post_has_a_row_that_says_what_it_is(crawled):
    _, _, rows, manifest = crawled
    posts = by_post(rows)
    assert sorted(posts) == list(range(101, 125))
    assert {number for number, row in posts.items() if row["problem"] is None} == {
        *world.GOOD, world.DUPLICATE, world.SAMPLE, world.SECRET, world.SHY
    }  # fmt: skip
    assert {number: row["problem"] for number, row in posts.items() if row["problem"]} == {
        world.BROKEN: "wrong file: not the one that the board lists",
        world.GONE: "download failed: 404",
        world.NO_FILE: "no file: the board shows none",
        world.BANNED: "banned: taken down at the artist's request",
        world.QUESTIONABLE: "rating questionable: not downloaded",
        world.SENSITIVE: "rating sensitive: not downloaded",
        world.VIDEO: "not a picture: mp4",
        world.PAGE: "not a picture: a web page",
    }
    assert posts[world.NO_FILE]["picture"] == f"missing:demo:{world.NO_FILE}"
    assert manifest["counts"]["posts"] == 24
    assert manifest["counts"]["usable"] == world.USABLE_PICTURES
    assert sum(manifest["counts"]["problems"].values()) == 8


def test_bytes_are_what_the_board_served_and_duplicates_are_one_row(crawled):
    folder, board, rows, _ = crawled
    for picture, row in rows.items():
        if row["bytes"] is not None:
            assert hashlib.sha256(row["bytes"]).hexdigest() == picture
    posts = by_post(rows)
    assert posts[101] is posts[world.DUPLICATE]
    assert [post["post_id"] for post in posts[101]["posts"]] == ["101", str(world.DUPLICATE)]
    assert posts[world.SAMPLE]["format"] == "PNG"  # the original, not the sample
    listed = json.loads((folder / "world" / "posts.jsonl").read_text().splitlines()[0])
    post = posts[101]["posts"][0]
    assert (post["md5"], post["rating"], post["favourites"]) == (listed["md5"], "general", 3)
    assert (post["artists"], post["tags_general"]) == (["some_artist"], ["1girl", "smile", "solo"])
    assert post["page_url"] == f"{board.root}/posts/101"


def test_second_run_requests_nothing_and_gives_the_same_bytes(tmp_path, board):
    build(tmp_path, params_for(board))
    before = [(tmp_path / name).read_bytes() for name in ("raw.parquet", "raw.manifest.json")]
    requests = len(board.requests)
    build(tmp_path, params_for(board))
    assert len(board.requests) == requests
    assert [(tmp_path / name).read_bytes() for name in ("raw.parquet", "raw.manifest.json")] == before


def test_a_fresh_crawl_gives_the_same_bytes(tmp_path, crawled):
    folder, board, *_ = crawled
    build(tmp_path, params_for(board))
    for name in ("raw.parquet", "raw.manifest.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_table_is_sorted_streamed_in_small_groups_and_names_no_secret(crawled):
    tmp_path = crawled[0]
    rows = list(stream_table(tmp_path / "raw.parquet", ["picture", "posts"]))
    assert [row["picture"] for row in rows] == sorted(row["picture"] for row in rows)
    import pyarrow.parquet as pq

    source = pq.ParquetFile(tmp_path / "raw.parquet")
    assert source.schema_arrow.remove_metadata() == RAW
    assert source.metadata.num_row_groups == 2
    for name in ("raw.parquet", "raw.manifest.json"):
        assert CANARY.encode() not in (tmp_path / name).read_bytes()
    assert CANARY not in next((tmp_path / "work").rglob("posts.json")).read_text()
    assert str(tmp_path).encode() not in (tmp_path / "raw.manifest.json").read_bytes()


def test_what_is_excluded_is_never_requested(crawled):
    _, board, rows, _ = crawled
    addresses = [entry.path for entry in board.requests]
    for line in (board.world / "posts.jsonl").read_text().splitlines():
        post = json.loads(line)
        if post["id"] in (world.QUESTIONABLE, world.SENSITIVE, world.BANNED, world.VIDEO, world.OTHER):
            assert post["file_url"] not in addresses
    for number in (world.QUESTIONABLE, world.SENSITIVE):  # nor is more kept of them than that they are there
        post = by_post(rows)[number]["posts"][0]
        assert (post["tags_general"], post["file_url"], post["md5"]) == ([], None, None)


def test_sensitive_is_fetched_where_allowed_and_only_of_adults(tmp_path, board):
    both = params_for(board, ratings=["general", "sensitive"])
    assert by_post(build(tmp_path, both)[0])[world.SENSITIVE]["problem"] is None
    for age in ("unknown", "minor"):
        assert (
            by_post(build(tmp_path, {**both, "age": age})[0])[world.SENSITIVE]["problem"]
            == "rating sensitive: not downloaded"
        )
        recorded = json.loads((tmp_path / "raw.lineage.json").read_text())["params"]
        assert recorded["ratings"] == ["general"]
    store = next((tmp_path / "work" / "hana").iterdir())
    assert not list((store / "files").glob(f"{world.SENSITIVE}.*"))
    with pytest.raises(CharaloomError, match="questionable is never fetched"):
        build(tmp_path, params_for(board, ratings=["general", "questionable"]))


@pytest.mark.parametrize("when", ["before", "after"])
def test_removals_leave_table_and_store(tmp_path, board, when):
    sha256 = hashlib.sha256(world.drawn(105)).hexdigest()
    removals = {"posts": ["demo:102", "103", "elsewhere:104"], "artists": ["shy_artist"], "pictures": [sha256]}
    if when == "after":
        build(tmp_path, params_for(board))
    rows, manifest = build(tmp_path, params_for(board, removals=removals))
    posts = by_post(rows)
    gone = (102, 103, 105, world.SHY)
    assert {number for number, row in posts.items() if row["problem"] == "removed: on request"} == set(gone)
    assert all(posts[number]["bytes"] is None for number in gone)
    assert posts[world.SHY]["posts"][0]["artists"] == []
    assert "shy_artist" not in json.dumps(manifest)
    store = next((tmp_path / "work" / "hana").iterdir())
    assert not [path for number in gone for path in (store / "files").glob(f"{number}.*")]
    assert b"shy_artist" not in (store / "posts.json").read_bytes()
    requests = len(board.requests)
    build(tmp_path, params_for(board, removals=removals))
    assert len(board.requests) == requests


def test_other_peoples_removals_change_no_byte(tmp_path, board):
    build(tmp_path, params_for(board))
    before = (tmp_path / "raw.manifest.json").read_bytes()
    build(tmp_path, params_for(board, removals={"posts": ["demo:999999"], "artists": ["nobody"], "pictures": []}))
    assert (tmp_path / "raw.manifest.json").read_bytes() == before


def test_limits_by_the_list_save_the_download(tmp_path, board):
    rows, _ = build(tmp_path, params_for(board, maximum_bytes=3000, minimum=0))
    assert by_post(rows)[105]["problem"] == "too large: 5876 bytes"
    assert len(file_requests(board)) == len([number for number in world.GOOD if number % 3]) + 1  # and the duplicate
    rows, _ = build(tmp_path, params_for(board, maximum_pixels=100, minimum=0))
    assert by_post(rows)[101]["problem"] == "too large: 40x48 pixels"


def test_limit_counts_what_may_be_fetched(tmp_path, board):
    rows, _ = build(tmp_path, params_for(board, limit=5))
    assert sorted(by_post(rows)) == list(range(115, 125))


def test_terms_beyond_two_are_judged_here(tmp_path, board):
    rows, _ = build(tmp_path, params_for(board, query=f"{world.TAG} 1girl -shy_artist rating:g solo"))
    assert {entry.query["tags"] for entry in board.requests if "tags" in entry.query} == {f"{world.TAG} 1girl"}
    assert set(by_post(rows)) == set(range(101, 124)) - {world.QUESTIONABLE, world.SENSITIVE}
    with pytest.raises(CharaloomError, match="among the first 2"):
        build(tmp_path, params_for(board, query=f"{world.TAG} 1girl score:>5"))


def test_too_few_pictures_name_the_numbers(tmp_path, board):
    with pytest.raises(CharaloomError) as error:
        build(tmp_path, params_for(board, minimum=20))
    assert "15 usable pictures, raw.minimum asks for 20" in str(error.value)
    assert "wrong file (1)" in str(error.value)
    assert not (tmp_path / "raw.parquet").exists()
    with pytest.raises(CharaloomError, match=r"0 usable pictures.* 0 posts"):
        build(tmp_path, params_for(board, query="nobody"))


def test_own_user_agent_with_contact(tmp_path, board, monkeypatch):
    monkeypatch.setenv("CHARALOOM_CONTACT", "https://example.org/me")
    build(tmp_path, params_for(board))
    agents = {entry.headers["user-agent"] for entry in board.requests}
    assert len(agents) == 1
    assert agents.pop().endswith(" (+https://example.org/me)")


def test_credentials_come_from_the_environment_and_stay_out_of_files(tmp_path, board, monkeypatch):
    monkeypatch.setenv("CHARALOOM_DEMO_USERNAME", "somebody")
    monkeypatch.setenv("CHARALOOM_DEMO_API_KEY", "canary-key")
    monkeypatch.setenv("HF_TOKEN", "canary-token")
    build(tmp_path, params_for(board))
    lists = [entry for entry in board.requests if entry.path == "/posts.json"]
    assert all(entry.headers.get("authorization", "").startswith("Basic ") for entry in lists)
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and "world" not in path.parts):
        assert b"canary-key" not in path.read_bytes()
        assert b"canary-token" not in path.read_bytes()


def test_c10_damaged_download_is_found_and_fetched_again(tmp_path, board):
    build(tmp_path, params_for(board))
    before = (tmp_path / "raw.parquet").read_bytes()
    damaged = next((tmp_path / "work").rglob("105.png"))
    damaged.write_bytes(damaged.read_bytes()[:-100] + b"\0" * 100)
    requests = len(file_requests(board))
    build(tmp_path, params_for(board))
    assert len(file_requests(board)) == requests + 1
    assert (tmp_path / "raw.parquet").read_bytes() == before


RUN = "import json, sys; from charaloom.config.params import Raw; from charaloom.sources.raw import build_raw; "
RUN += "from charaloom.sources.kinds import Machine; from pathlib import Path; "
RUN += "build_raw('hana', Raw.of(json.loads(sys.argv[1])), *sys.argv[2:-1], Machine(Path(sys.argv[-1])))"


def test_c1_killed_crawl_goes_on_where_it_was(tmp_path, board):
    build(tmp_path / "control", params_for(board))
    slow = params_for(board)
    slow["sources"][0]["seconds_between_requests"] = 0.2
    arguments = [
        json.dumps(slow),
        *(str(tmp_path / name) for name in ("raw.parquet", "raw.pictures.json", "raw.manifest.json", "work")),
    ]
    scripts = Path(__file__).parents[3] / "scripts"
    requests = len(file_requests(board))
    process = subprocess.Popen([sys.executable, "-c", RUN, *arguments], env={**os.environ, "PYTHONPATH": str(scripts)})
    deadline = time.monotonic() + 30
    while len(file_requests(board)) < requests + 9 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.3)
    done = len(file_requests(board))
    time.sleep(0.7)
    assert len(file_requests(board)) == done  # its threads died with it
    assert not (tmp_path / "raw.parquet").exists()
    kept = len(list((tmp_path / "work").rglob("files/*")))
    assert kept >= 4
    build(tmp_path, params_for(board))
    assert len(file_requests(board)) - requests <= 22 + 4  # each file once, the doubtful again, the interrupted ones
    for name in ("raw.parquet", "raw.manifest.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "control" / name).read_bytes()


def test_c7_two_runs_on_one_store_wait_for_each_other(tmp_path, board):
    places = [str(tmp_path / name) for name in ("a.parquet", "a.pictures.json", "a.manifest.json", "work")]
    arguments = [json.dumps(params_for(board)), *places]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "scripts")}
    runs = [subprocess.Popen([sys.executable, "-c", RUN, *arguments], env=environment) for _ in range(2)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert len(file_requests(board)) == 19 + 3  # by one of them only; the wrong file twice, the web page three times


# ---- a board that misbehaves


def same_as_undisturbed(tmp_path, bad, **changes):
    """Build with faults, then on a store of its own without; True where the tables are equal byte for byte."""
    build(tmp_path / "disturbed", params_for(bad, **changes))
    bad.faults.clear()
    build(tmp_path / "control", params_for(bad, **changes))
    tables = [(tmp_path / name / "raw.parquet").read_bytes() for name in ("disturbed", "control")]
    return tables[0] == tables[1]


IN_THREE_SECONDS = {"seconds": "3", "date": lambda: formatdate(time.time() + 4, usegmt=True)}


@pytest.mark.slow
@pytest.mark.parametrize("style", IN_THREE_SECONDS)
@pytest.mark.parametrize("part", ["/posts.json", "/data/"])
def test_n1_retry_after_is_waited_out(tmp_path, bad, part, style):
    planned = bad.plan(part, answering(429, Retry_After=IN_THREE_SECONDS[style]), times=1)
    assert same_as_undisturbed(tmp_path, bad)
    for refused in planned.happened:
        assert min(entry.time for entry in bad.requests if entry.time > refused) - refused >= 2


@pytest.mark.slow
def test_n2_a_busy_board_is_left_alone_soon(tmp_path, bad, monkeypatch):
    bad.plan("/posts.json", answering(503), times=10**6)
    with pytest.raises(CharaloomError, match="busy or wants fewer requests"):
        build(tmp_path, params_for(bad))
    assert len(bad.requests) <= 8
    bad.faults.clear()
    build(tmp_path, params_for(bad))


@pytest.mark.slow
def test_n2_busy_files_are_left_alone_soon_and_nothing_is_lost(tmp_path, bad):
    build(tmp_path / "control", params_for(bad))
    planned = bad.plan("/data/", answering(503), times=10**6)
    with pytest.raises(CharaloomError, match=r"is busy .*503.*Run again later"):
        build(tmp_path, params_for(bad))
    assert len(planned.happened) <= 8
    bad.faults.clear()
    build(tmp_path, params_for(bad))
    assert (tmp_path / "raw.parquet").read_bytes() == (tmp_path / "control" / "raw.parquet").read_bytes()


def test_n3_cut_connections_cost_no_byte(tmp_path, bad):
    bad.plan("/data/", cut_after(0.5), times=4)
    assert same_as_undisturbed(tmp_path, bad)


def test_n5_n6_a_body_without_end_is_cut_at_the_cap(tmp_path, bad):
    bad.plan(bad.by_id["105"]["file_url"], endless, times=10**6)
    rows, _ = build(tmp_path, params_for(bad, maximum_bytes=2**21))
    assert by_post(rows)[105]["problem"] == f"too large: more than {2**21} bytes"
    assert not list((tmp_path / "work").rglob("*.part"))


@pytest.mark.slow
def test_n7_a_dripping_file_is_given_up(tmp_path, bad, monkeypatch):
    monkeypatch.setattr(downloads, "FILE_SECONDS", 2.0)
    bad.plan(bad.by_id["105"]["file_url"], dripping, times=10**6)
    began = time.monotonic()
    rows, _ = build(tmp_path, params_for(bad))
    assert time.monotonic() - began < 60
    assert by_post(rows)[105]["problem"] == "download failed: more than 2 seconds"
    assert by_post(rows)[101]["problem"] is None


def test_one_bad_file_costs_that_file_only(tmp_path, bad):
    statuses = {101: 400, 102: 403, 103: 404, 104: 410, 105: 500, 106: 502, 107: 503}
    for number, status in statuses.items():
        bad.plan(bad.by_id[str(number)]["file_url"], answering(status), times=10**6)
    rows, manifest = build(tmp_path, params_for(bad))
    assert {number: by_post(rows)[number]["problem"] for number in statuses} == {
        number: f"download failed: {status}" for number, status in statuses.items()
    }
    assert manifest["counts"]["usable"] == world.USABLE_PICTURES - len(statuses)


def test_a_passing_fault_is_healed_by_the_next_run(tmp_path, bad):
    bad.plan(bad.by_id["105"]["file_url"], answering(500), times=10**6)
    build(tmp_path, params_for(bad))
    bad.faults.clear()
    rows, _ = build(tmp_path, params_for(bad))
    assert by_post(rows)[105]["problem"] is None


def test_n12_a_page_instead_of_files(tmp_path, bad):
    page = answering(200, b"<html>please log in</html>", "image/png")
    bad.plan(bad.by_id["105"]["file_url"], page, times=10**6)
    rows, _ = build(tmp_path, params_for(bad))
    assert (by_post(rows)[105]["problem"], by_post(rows)[105]["bytes"]) == ("not a picture: a web page", None)
    bad.faults.clear()
    bad.plan("/data/", page, times=10**6)
    with pytest.raises(CharaloomError, match="a web page"):  # of a network that wants a login first, say
        build(tmp_path / "all", params_for(bad, minimum=0))
    bad.faults.clear()
    assert build(tmp_path / "all", params_for(bad))[1]["counts"]["usable"] == world.USABLE_PICTURES


def test_n13_noai_is_obeyed_before_a_picture_is_fetched(tmp_path, bad):
    bad.plan("/data/", answering(200, b"", "image/png", X_Robots_Tag="noai, noimageai"), times=10**6)
    with pytest.raises(CharaloomError, match="noai"):
        build(tmp_path, params_for(bad))
    assert file_requests(bad) == []


@pytest.mark.parametrize(
    ("status", "body", "type", "message"),
    [
        (401, b"{}", "application/json", "CHARALOOM_DEMO_API_KEY"),
        (403, b"{}", "application/json", "CHARALOOM_CONTACT"),
        (403, b"<script>window._cf_chl_opt={}</script>", "text/html", "challenge"),
        (404, b"{}", "application/json", "Check root and dialect"),
        (422, b'{"message": "no more tags"}', "application/json", "no more tags"),
        (200, b"<html>log in</html>", "text/html", "not JSON"),
        (200, b"", "application/json", "not JSON"),
        (200, b'{"success": false}', "application/json", "no list of posts"),
        (200, b"[" * 100_000, "application/json", "not JSON"),
    ],
)
def test_a_board_that_says_no_is_believed_at_once(tmp_path, bad, status, body, type, message):
    bad.plan("/posts.json", answering(status, body, type), times=10**6)
    with pytest.raises(CharaloomError, match=message):
        build(tmp_path, params_for(bad))
    assert len(bad.requests) == (2 if status == 200 else 1)  # what is no list may pass: it is asked for once more


def test_a_block_after_the_first_page_is_no_end(tmp_path, bad):
    fault = answering(403)
    bad.plan("page=b", fault, times=10**6)
    with pytest.raises(CharaloomError, match="refuses access"):
        build(tmp_path, params_for(bad))


def test_many_refused_files_are_a_block(tmp_path, bad):
    bad.plan("/data/", answering(403), times=10**6)
    with pytest.raises(CharaloomError, match="401 or 403"):
        build(tmp_path, params_for(bad))
    bad.faults.clear()
    assert build(tmp_path, params_for(bad))[1]["counts"]["usable"] == world.USABLE_PICTURES


def test_one_hit_as_an_object_is_a_list_of_one(tmp_path, bad):
    post = json.dumps(bad.public(bad.by_id["105"])).encode()
    bad.plan("/posts.json", answering(200, post), times=1)
    rows, _ = build(tmp_path, params_for(bad, limit=1))
    assert list(by_post(rows)) == [105]


def test_a_gzipped_list_is_no_error_and_a_bomb_is_one(tmp_path, bad):
    honest = gzip.compress(json.dumps([bad.public(bad.by_id["105"])]).encode())
    bad.plan("/posts.json", answering(200, honest, Content_Encoding="gzip"), times=1)
    assert list(by_post(build(tmp_path, params_for(bad, limit=1))[0])) == [105]
    bad.plan("/posts.json", answering(200, gzip.compress(b" " * 10**8), Content_Encoding="gzip"), times=10**6)
    with pytest.raises(CharaloomError, match="no answer"):
        build(tmp_path, params_for(bad, limit=2))


def test_no_board_at_all(tmp_path, board):
    params = params_for(board)
    params["sources"][0]["root"] = "http://127.0.0.1:9"
    with pytest.raises(CharaloomError, match="no answer"):
        build(tmp_path, params)
    params["sources"][0]["dialect"] = "unheard_of"
    with pytest.raises(CharaloomError, match="unheard_of"):
        build(tmp_path, params)


HOSTILE_URLS = [
    "http://169.254.169.254/latest/meta-data.png", "http://10.0.0.1/a.png", "http://[::1]/a.png", "file:///etc/passwd",
    "http://[::ffff:127.0.0.1]/a.png", "http://2130706433/a.png", "http://localhost:22/a.png", "ftp://127.0.0.1/a.png",
    "data:image/png;base64,AAAA", "http://192.168.1.1/a.png", "http://0.0.0.0/a.png", "http://127.1/a.png", "http://[/a",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_n8_a_file_address_inside_our_network_is_refused(tmp_path, bad, url):
    post = {**bad.by_id["105"], "file_url": url}
    bad.plan("/posts.json", answering(200, json.dumps([post]).encode()), times=1)
    rows, _ = build(tmp_path, params_for(bad, query="nobody", minimum=0))
    assert by_post(rows)[105]["problem"] in ("address: not on the public network", "no file: the board shows none")
    assert file_requests(bad) == []


def test_odd_posts_do_no_harm(tmp_path, bad):
    posts = [
        {"id": "../../x", "file_url": "/data/x.png", "rating": "g"},
        {"id": True}, {"id": None}, "text", None, [],
        {"id": 7, "rating": ["g"], "md5": 5, "tag_string_general": {"a": 1}, "score": "x", "file_url": 9},
        {"id": 8, "rating": "g", "file_url": "/data/x.json", "created_at": 5, "parent_id": {}, "source": "http://[bad"},
        {"id": 9, "rating": "g", "tag_string_artist": "\ud800 b", "image_width": 10**30, "image_height": "x"},
    ]  # fmt: skip
    bad.plan("/posts.json", answering(200, json.dumps(posts).encode()), times=1)
    rows, _ = build(tmp_path, params_for(bad, minimum=0, query="nobody"))
    assert {number: row["problem"] for number, row in by_post(rows).items()} == {
        7: "rating unknown: not downloaded",
        8: "not a picture: json",
        9: "no file: the board shows none",
    }


def test_secrets_leave_urls():
    assert scrubbed("https://a:b@example.com/x.png?api_key=1&v=2&Login=me") == "https://example.com/x.png?v=2"
    assert scrubbed("https://example.com/x.png?v=a%20b+c") == "https://example.com/x.png?v=a%20b+c"
    assert scrubbed("a book, page 7") == "a book, page 7"
    assert scrubbed("") is None


# ---- folders


def folder_params(path, **changes):
    own = {
        "sources": [{"kind": "folder", "path": str(path)}],
        "age": "unknown",
        "limit": 10,
        "minimum": 1,
    }
    return {
        **own,
        "ratings": ["general"],
        "maximum_pixels": 10**8,
        "maximum_bytes": 2**16,
        "version": 1,
        **changes,
    }


def write(root, name, data):
    path = Path(os.fsdecode(os.fsencode(str(root)) + b"/" + (name if isinstance(name, bytes) else name.encode())))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_folder_with_side_files(tmp_path):
    root = tmp_path / "pictures"
    write(root, "a.png", world.drawn(1))
    write(root, "a.txt", b"1girl, red dress,  smile ,\nsolo")
    write(root, "sub/b.jpg", world.drawn(2, "JPEG"))
    content = {
        "id": 5,
        "rating": "g",
        "tag_string_general": "1girl hat",
        "tag_string_artist": "x",
        "source": "https://e.org/?token=t",
    }
    write(root, "sub/b.jpg.json", json.dumps(content).encode())
    write(root, "c.webp", world.drawn(3, "WEBP"))
    write(root, "c.json", json.dumps({"rating": "explicit", "tags": ["x"]}).encode())
    write(root, "d.png", world.drawn(4))
    write(root, "d.json", b"{broken")
    write(root, "f.png", world.drawn(5))
    write(root, "e.gif", world.drawn(1))  # the same bytes as a.png under another name
    write(root, ".DS_Store", b"x")
    write(root, "notes.txt", b"x")
    rows, manifest = build(tmp_path, folder_params(root))
    posts = {post["post_id"]: (row, post) for row in rows.values() for post in row["posts"]}
    assert set(posts) == {"a.png", "sub/b.jpg", "c.webp", "d.png", "e.gif", "f.png"}
    assert posts["a.png"][1]["tags_general"] == ["1girl", "red_dress", "smile", "solo"]
    assert (posts["a.png"][1]["rating"], posts["a.png"][1]["site"]) == (None, "folder")
    assert posts["a.png"][0] is posts["e.gif"][0]
    assert posts["sub/b.jpg"][1]["artists"] == ["x"]
    assert posts["sub/b.jpg"][1]["source"] == "https://e.org/"
    assert posts["c.webp"][0]["problem"] == "rating explicit: not downloaded"
    assert posts["c.webp"][0]["bytes"] is None
    assert posts["d.png"][0]["problem"].startswith("rating unknown: d.json is no valid JSON")
    files = json.loads((tmp_path / "raw.files.json").read_text())
    assert (files["pictures"], files["captions"]) == (3, 2)
    assert [name for name, _ in files["unused"]] == [".DS_Store", "c.webp", "d.json", "d.png", "notes.txt"]
    assert str(tmp_path) not in json.dumps(manifest)


def test_folder_content_decides_not_its_place(tmp_path):
    for name in ("one", "two"):
        for number in range(20):
            write(tmp_path / name / "pictures", f"{number}.png", world.drawn(number))
        build(tmp_path / name, folder_params(tmp_path / name / "pictures"))
    for name in ("raw.parquet", "raw.manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_f6_odd_names_links_and_files(tmp_path):
    root = tmp_path / "pictures"
    names = [
        b"new\nline.png", b"x" * 250 + b".png", "caf\u00e9.png".encode(), "cafe\u0301.png".encode(), b"-rf.png",
        b"bad\xff\xfe.png", b"CON.png", b".ssh.png", b"A.png", b"a.png", b"a b;$(x).png", b"upper.PNG",
    ]  # fmt: skip
    for number, name in enumerate(names):
        write(root, name, world.drawn(number))
    write(root, "empty.png", b"")
    write(root, "page.jpg", b"<html></html>")
    write(root, "huge.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 2**17)
    write(root, "cut.png", world.drawn(50)[:500])
    (root / "loop").symlink_to(root)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "dangling.png").symlink_to(root / "nothing")
    (root / "link.png").symlink_to(root / "A.png")
    os.mkfifo(root / "pipe.png")
    rows, manifest = build(tmp_path, folder_params(root))
    assert manifest["counts"]["usable"] == len(names)
    problems = {row["posts"][0]["post_id"]: row["problem"] for row in rows.values() if row["problem"]}
    assert problems == {
        "empty.png": "empty: no bytes",
        "page.jpg": "not a picture: a web page",
        "huge.png": f"too large: {2**17 + 8} bytes",
        "cut.png": "truncated: PNG without end chunk",
    }


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(CharaloomError, match="no such folder"):
        build(tmp_path, folder_params(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["sha256", "md5"])
def test_removed_picture_of_a_folder(tmp_path, name):
    for number in (1, 2):
        write(tmp_path / "pictures", f"{number}.png", world.drawn(number))
    withdrawn = hashlib.new(name, world.drawn(2)).hexdigest()
    rows, manifest = build(tmp_path, folder_params(tmp_path / "pictures", removals={"pictures": [withdrawn]}))
    assert {row["problem"] for row in rows.values()} == {None, "removed: on request"}
    assert manifest["counts"]["pictures"] == 1
