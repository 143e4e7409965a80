"""Files of listed posts, from a site that cuts, changes, swells, drips and lies; names begin with the faults' rows."""

import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from charaloom.errors import CharaloomError
from charaloom.images.decoding import Limits
from charaloom.sources import downloads
from charaloom.sources.boards.listing import DIALECTS, Reader
from charaloom.sources.downloads import fetch_files
from charaloom.sources.network.parts import validator_of
from charaloom.sources.posts import EMPTY_POST, ListedPost
from charaloom.sources.sites import Site
from charaloom.sources.store import Store, file_name
from charaloom.sources.web import Web
from tests.servers.scripted import Scripted, ScriptedHandler, scripted
from tests.servers.small_world import drawn

LIMITS = Limits(10**8, 2**20)
ETAG, OLD = '"one"', "Wed, 01 Jan 2025 00:00:00 GMT"


def post(board: Scripted, number: int, data: bytes | None = None, **changes) -> ListedPost:
    """A listed post whose file is `/<number>`; with `data`, the list names its MD5."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() if data else None
    own = {
        "site": "demo",
        "post_id": str(number),
        "file_url": f"{board.root}/{number}",
        "md5": md5,
        "rating": "general",
    }
    return ListedPost({**EMPTY_POST, **own, **changes.pop("post", {})}, **changes)


def fetch(board: Scripted, posts: list[ListedPost], folder: Path, limits: Limits = LIMITS, **changes):
    """{post id: bytes, or why there are none}."""
    store = Store(folder / "store", frozenset())
    site = Site(**{"name": "demo", "root": board.root, "pause": 0.0, "agent": "Charaloom/0", **changes})
    with Web(site, folder / "hosts") as web:
        fetch_files(web, store, posts, limits, lambda done, total: None)
    return {
        entry.post["post_id"]: entry.file.read_bytes() if entry.file else entry.problem
        for entry in store.attached(posts)
    }


def serving(data: bytes, **headers: str):
    """A file with Range, If-Range and a strong ETag, as a good server has it."""

    def route(handler: ScriptedHandler) -> None:
        tag = headers.get("ETag", ETAG)
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if wanted and handler.headers.get("If-Range", tag) == tag and int(wanted[1]) < len(data):
            ranged = f"bytes {wanted[1]}-{len(data) - 1}/{len(data)}"
            handler.answer(206, data[int(wanted[1]) :], **{"ETag": tag, "Content_Range": ranged, **headers})
        else:
            handler.answer(200, data, **{"ETag": tag, **headers})

    return route


def cut(data: bytes, at: int, head: str = f"ETag: {ETAG}\r\n"):
    """The connection breaks after `at` bytes of the body."""
    start = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n{head}\r\n".encode()
    return lambda handler: handler.raw(start + data[:at])


def first(*routes):
    """Each route answers one GET, the last one all that follow; a HEAD is answered without a body."""
    left = list(routes)

    def route(handler: ScriptedHandler) -> None:
        if handler.command == "HEAD":
            handler.answer(200)
        else:
            (left.pop(0) if len(left) > 1 else left[0])(handler)

    return route


def plain(status: int, body: bytes = b"", **headers: str):
    return lambda handler: handler.answer(status, body, **headers)


# ---- cut, changed, resumed


def test_n3_connections_cut_at_50_random_bytes_cost_no_byte(tmp_path):
    pictures = {number: drawn(number) for number in range(50)}
    chosen = random.Random(3)
    routes = {
        f"/{number}": first(cut(data, chosen.randrange(len(data))), serving(data)) for number, data in pictures.items()
    }
    with scripted(routes) as board:
        result = fetch(board, [post(board, number) for number in pictures], tmp_path)
        resumed = [headers["range"] for _, _, _, headers in board.requests if "range" in headers]
    assert result == {str(number): data for number, data in pictures.items()}
    assert len(resumed) >= 45  # the rest was cut before its first byte
    assert not list((tmp_path / "store" / "parts").iterdir())


def answers_to_a_changed_file(old: bytes, new: bytes):
    """What servers do when asked for the rest of a file that is another by now."""
    rest = new[1000:]
    ranged = f"bytes 1000-{len(new) - 1}/{len(new)}"
    return {
        "honours If-Range": serving(new, ETag='"two"'),
        "ignores Range": plain(200, new),
        "ignores If-Range": first(plain(206, rest, ETag='"two"', Content_Range=ranged), serving(new, ETag='"two"')),
        "no validator": first(plain(206, rest, Content_Range=ranged), serving(new, ETag='"two"')),
        "wrong range": first(
            plain(206, rest, ETag=ETAG, Content_Range=f"bytes 900-{len(new) - 1}/{len(new)}"), serving(new)
        ),
        "wrong total": first(
            plain(206, rest, ETag=ETAG, Content_Range=f"bytes 1000-{len(new) - 1}/{len(new) + 5}"), serving(new)
        ),
        "416": first(plain(416, Content_Range=f"bytes */{len(new)}"), serving(new)),
        "no such range": first(plain(206, rest, ETag=ETAG), serving(new)),
    }


def test_n4_a_file_that_changed_between_two_halves_is_never_spliced(tmp_path):
    """0 of 104: 13 files in 8 ways, none with an MD5 in the list that would tell."""
    routes, wanted = {}, {}
    for seed in range(13):
        old, new = drawn(seed), drawn(1000 + seed)
        for number, (_, after) in enumerate(answers_to_a_changed_file(old, new).items(), 100 * seed):
            routes[f"/{number}"] = first(cut(old, 1000), after)
            wanted[str(number)] = new
    with scripted(routes) as board:
        assert fetch(board, [post(board, int(number)) for number in wanted], tmp_path) == wanted
    assert len(wanted) == 104


@pytest.mark.parametrize("head", ["", 'ETag: W/"one"\r\n', f"Last-Modified: {OLD}\r\n", "ETag: one\r\n"])
def test_n4_without_a_validator_it_starts_again(tmp_path, head):
    """Last-Modified counts from a minute before Date on (RFC 9110, 8.8.2.2); the raw answer here has no Date."""
    old, new = drawn(1), drawn(2)
    with scripted({"/1": first(cut(old, 1000, head), serving(new, ETag='W/"one"', Last_Modified=OLD))}) as board:
        assert fetch(board, [post(board, 1)], tmp_path) == {"1": new}
        assert not any("range" in headers for _, _, _, headers in board.requests)


def test_what_identifies_a_file():
    date = {"Date": "Wed, 01 Jan 2025 00:01:00 GMT"}
    assert validator_of({"ETag": '"a"', **date}) == '"a"'
    assert validator_of({"ETag": 'W/"a"', "Last-Modified": OLD, **date}) == OLD
    assert validator_of({"Last-Modified": "Wed, 01 Jan 2025 00:00:30 GMT", **date}) is None
    assert validator_of({"Last-Modified": "soon", "Date": "later"}) is None


@pytest.mark.parametrize("listed", [True, False])
def test_n5_a_length_that_is_not_the_bodys_is_refused(tmp_path, listed):
    data = drawn(1)
    routes = {
        "/1": first(cut(data + b"123456789", len(data))),
        "/2": first(plain(200, data, Content_Length=str(len(data) - 9))),
        "/3": first(lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\n\r\n" + data)),  # until the end of the connection
        "/4": first(cut(data + b"123456789", len(data)), plain(200, data)),
        "/5": first(plain(200, data, Content_Length=str(len(data) - 9)), plain(200, data)),
    }
    with scripted(routes) as board:
        result = fetch(board, [post(board, number, data if listed else None) for number in range(1, 6)], tmp_path)
    assert result["1"] == "download failed: connection"
    assert result["3"] == result["4"] == result["5"] == data
    if listed:
        assert result["2"] == "wrong file: not the one that the board lists"
    else:
        assert result["2"] == data[:-9]  # twice the same: it is the board's own, and stage raw calls it truncated


# ---- swelling, dripping


def test_n6_files_are_cut_at_the_cap_on_encoded_and_decoded_bytes(tmp_path):
    picture = drawn(1)
    bomb = gzip.compress(picture + b"\0" * 2**26)

    def endless(handler: ScriptedHandler) -> None:
        handler.raw(b"HTTP/1.1 200 OK\r\n\r\n" + picture + b"\0" * 2**22)

    routes = {
        "/1": first(plain(200, bomb, Content_Encoding="gzip")),
        "/2": first(plain(200, gzip.compress(bomb), Content_Encoding="gzip, gzip")),
        "/3": first(endless),
        "/4": first(plain(200, b"", Content_Length=str(2**40))),
        "/5": first(plain(200, gzip.compress(picture), Content_Encoding="gzip")),  # a correct one is no error
        "/6": first(plain(200, picture, Content_Encoding="br")),
    }
    with scripted(routes) as board:
        result = fetch(board, [post(board, number) for number in range(1, 7)], tmp_path)
    assert {result[str(number)] for number in range(1, 5)} == {f"too large: more than {2**20} bytes"}
    assert result["5"] == picture
    assert result["6"] == "download failed: an encoding that was not asked for"
    assert not list((tmp_path / "store" / "parts").iterdir())


@pytest.mark.parametrize("kind", ["headers", "body", "HEAD"])
def test_n7_a_dripping_file_ends_with_its_time(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(downloads, "FILE_SECONDS", 1.0)
    data = drawn(1)
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n"
    drip = start + (b"X-A: " + b"a" * 200 if kind != "body" else b"\r\n" + data[:200])

    def route(handler: ScriptedHandler) -> None:
        if (handler.command == "HEAD") == (kind == "HEAD"):
            handler.raw(drip, 0.05)
        else:
            handler.answer(200, data)

    with scripted({"/1": route, "/2": first(plain(200, data))}) as board:
        began = time.monotonic()
        result = fetch(board, [post(board, 1), post(board, 2)], tmp_path)
    assert time.monotonic() - began < 10
    assert result == {"1": data if kind == "HEAD" else "download failed: more than 1 seconds", "2": data}


def test_a_large_file_on_a_slow_line_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "FILE_SECONDS", 1.0)
    monkeypatch.setattr(downloads, "WORTH_GOING_ON", 1000)
    data = drawn(1)

    def slow(handler: ScriptedHandler) -> None:
        start = f"HTTP/1.1 200 OK\r\nETag: {ETAG}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        handler.wfile.write(start + data[:2000])
        handler.wfile.flush()
        time.sleep(2)

    with scripted({"/1": first(slow, serving(data))}) as board:
        assert fetch(board, [post(board, 1)], tmp_path) == {"1": data}
        assert board.requests[-1][3]["range"] == "bytes=2000-"


# ---- what comes is not what was listed


def test_n12_pages_and_other_bodies_are_refused_and_their_reasons_named(tmp_path):
    bodies = {
        1: (b"<!DOCTYPE html><title>log in</title>", "not a picture: a web page"),
        2: (b'{"error": 1}', "not a picture: JSON"),
        3: (b"", "empty: no bytes"),
        4: (b"%PDF-1.4", "not a picture: unknown format"),
        5: (b"\x00\x00\x00\x18ftypmp42", "not a picture: unknown format"),
    }
    routes = {f"/{number}": first(plain(200, body, Content_Type="image/png")) for number, (body, _) in bodies.items()}
    with scripted({**routes, "/6": first(plain(200, drawn(6)))}) as board:
        posts = [post(board, number) for number in range(1, 7)]
        result = fetch(board, posts, tmp_path)
        assert {number: result[str(number)] for number in bodies} == {
            number: why for number, (_, why) in bodies.items()
        }
        assert Counter(board.paths())["/1"] == 3  # asked again before it was believed
        requests = len(board.requests)
        assert fetch(board, posts, tmp_path) == result  # and not in the next run
        assert len(board.requests) == requests
    assert [path.name for path in (tmp_path / "store" / "files").iterdir()] == ["6.png"]


@pytest.mark.parametrize("fault", [plain(200, b"<html>busy</html>"), plain(200, b""), plain(200, drawn(9)), plain(502)])
def test_one_odd_answer_is_not_the_last_word(tmp_path, fault):
    data = drawn(1)
    with scripted({"/1": first(fault, plain(200, data))}) as board:
        assert fetch(board, [post(board, 1, data)], tmp_path) == {"1": data}


def test_a_wrong_md5_twice_is_named_and_not_used(tmp_path):
    with scripted({"/1": first(plain(200, drawn(9))), "/2": first(plain(200, drawn(2)))}) as board:
        posts = [post(board, 1, drawn(1)), post(board, 2, drawn(2))]
        result = fetch(board, posts, tmp_path)
        assert result == {"1": "wrong file: not the one that the board lists", "2": drawn(2)}
        assert Counter(board.paths())["/1"] == 2


def test_a_wrong_size_is_named_where_there_is_no_md5(tmp_path):
    data = drawn(1)
    with scripted({f"/{number}": first(plain(200, data)) for number in (1, 2)}) as board:
        result = fetch(board, [post(board, 1, size=len(data) + 1), post(board, 2, size=len(data))], tmp_path)
    assert result == {"1": "wrong file: not the one that the board lists", "2": data}


def test_a_network_that_wants_a_login_loses_nothing(tmp_path):
    """Web pages instead of all files are an error of this run; nothing of it is kept as the board's last word."""
    data = {number: drawn(number) for number in range(8)}
    with scripted({}) as board:
        posts = [post(board, number) for number in data]
        board.routes = {f"/{number}": first(plain(200, b"<html>log in</html>")) for number in data}
        with pytest.raises(CharaloomError, match="a web page"):
            fetch(board, posts, tmp_path)
        board.routes = {f"/{number}": first(plain(200, body)) for number, body in data.items()}
        assert fetch(board, posts, tmp_path) == {str(number): body for number, body in data.items()}


def test_a_replaced_file_is_fetched_again_when_the_list_says_so(tmp_path):
    with scripted({"/1": first(plain(200, drawn(1)), plain(200, drawn(2)))}) as board:
        assert fetch(board, [post(board, 1, drawn(1))], tmp_path) == {"1": drawn(1)}
        assert fetch(board, [post(board, 1, drawn(2))], tmp_path) == {"1": drawn(2)}


# ---- sites that say no


def test_a_robots_txt_that_does_not_come_is_asked_for_a_few_times_only(tmp_path, monkeypatch):
    routes = {f"/{number}": first(plain(200, drawn(number))) for number in range(20)}
    with scripted({**routes, "/robots.txt": plain(500)}) as board:
        posts = [post(board, number) for number in range(20)]
        with pytest.raises(CharaloomError, match=r"robots.txt.*Run again later"):
            fetch(board, posts, tmp_path)
        assert board.paths() == ["/robots.txt"] * 3
        board.routes["/robots.txt"] = plain(200)
        assert len(fetch(board, posts, tmp_path)) == 20


def test_n13_noai_on_single_files_is_their_own_problem(tmp_path):
    """Also where it is the very first file of the host."""
    data = {number: drawn(number) for number in range(1, 9)}
    routes = {f"/{number}": plain(200, body) for number, body in data.items()}
    for number in (1, 5):
        routes[f"/{number}"] = plain(200, data[number], X_Robots_Tag="noai")
    with scripted(routes) as board:
        result = fetch(board, [post(board, number) for number in data], tmp_path)
    problem = "noai: its X-Robots-Tag asks not to be used for AI"
    assert result == {str(number): problem if number in (1, 5) else body for number, body in data.items()}


def test_n13_noai_or_robots_txt_of_a_whole_site_costs_no_picture(tmp_path):
    routes = {f"/{number}": plain(200, drawn(number), X_Robots_Tag="noimageai") for number in range(8)}
    with scripted(routes) as board:
        posts = [post(board, number) for number in range(8)]
        with pytest.raises(CharaloomError, match="noai"):
            fetch(board, posts, tmp_path)
        assert board.paths() == ["/robots.txt"]
    routes = {f"/{number}": plain(200, drawn(number)) for number in range(8)}
    with scripted({**routes, "/robots.txt": plain(200, b"User-agent: charaloom\nDisallow: /")}) as board:
        result = fetch(board, [post(board, number) for number in range(8)], tmp_path / "robots")
        assert set(result.values()) == {"robots: excluded by the robots.txt of its site"}
        assert [request[1:3] for request in board.requests] == [("GET", "/robots.txt")]


@pytest.mark.parametrize("answer", [plain(403), plain(401), plain(403, b"window._cf_chl_opt={}")])
def test_a_site_that_says_no_is_asked_no_longer(tmp_path, answer):
    with scripted({f"/{number}": first(answer) for number in range(40)}) as board:
        posts = [post(board, number) for number in range(40)]
        with pytest.raises(CharaloomError, match=r"refused|challenge"):
            fetch(board, posts, tmp_path)
        assert len(board.paths()) <= 1 + 5 + 3  # robots.txt, five in a row, three that were under way
        board.routes = {f"/{number}": first(plain(200, drawn(number))) for number in range(40)}
        assert len(fetch(board, posts, tmp_path)) == 40


def test_n8_a_file_that_leads_inside_is_refused(tmp_path):
    routes = {"/1": plain(302, Location="http://127.0.0.1:1/a.png"), "/2": first(plain(200, drawn(2)))}
    with scripted(routes) as board:
        result = fetch(board, [post(board, 1), post(board, 2)], tmp_path)
    assert result == {"1": "address: not on the public network", "2": drawn(2)}


def test_headers_of_the_listing_are_sent_and_credentials_are_not(tmp_path):
    with scripted({"/2": first(plain(200, drawn(2)))}) as files, scripted({}) as board:
        headers = {"Referer": "http://example.org/post/2", "User-Agent": "Mozilla/5.0", "Cookie": "canary"}
        listed = post(files, 2, headers=headers)
        fetch(board, [listed], tmp_path, file_roots=(files.root,), login=("me", "canary"))
    sent = files.requests[-1][3]
    assert (sent["referer"], sent["user-agent"]) == (headers["Referer"], "Charaloom/0")
    assert "canary" not in str(sent)


# ---- file names


def test_f6_no_post_id_leads_out_of_the_store(tmp_path):
    names = [
        "../../x", "/etc/passwd", "C:\\x", "a\0b", "a\nb", "x" * 300, "CON", "caf\u00e9", "cafe\u0301", "A", "a",
        "-rf", ".ssh",
        "", ".", "..", "a/b", "a.b", "%2e%2e", "~", "\u202e", "x" * 100,
    ]  # fmt: skip
    chosen = random.Random(6)
    fuzz = ["".join(chr(chosen.randrange(1, 0x2FF)) for _ in range(chosen.randrange(1, 40))) for _ in range(10_000)]
    files = {name: file_name({"post_id": name}) for name in (*names, *fuzz)}
    assert all(re.fullmatch(r"[a-z0-9_-]{1,100}", file) for file in files.values())
    assert len(set(files.values())) == len(files)
    data = drawn(1)
    with scripted({"/1": first(plain(200, data))}) as board:
        posts = [post(board, 1, post={"post_id": name}) for name in names]
        assert fetch(board, posts, tmp_path) == dict.fromkeys(names, data)
    assert {path.parent.name for path in tmp_path.rglob("*.png")} == {"files"}


# ---- the list


class Changing(Scripted):
    """Danbooru's list of posts without files; between two pages, posts come and go."""

    def listing(self, handler: ScriptedHandler) -> None:
        page = re.search(r"page=b(\d+)", handler.path)
        below = int(page[1]) if page else 10**9
        shown = sorted((number for number in self.ids if number < below), reverse=True)[:200]
        handler.answer(200, json.dumps([{"id": number, "rating": "g"} for number in shown]).encode())
        newest = max(self.ids)
        self.ids |= set(range(newest + 1, newest + 30))
        self.ids -= set(random.Random(newest).sample(range(newest - 500, newest), 50))


def test_n14_posts_that_come_and_go_between_pages_shift_none(tmp_path):
    """Of 10,000 posts that stay, none is lost and none is listed twice."""
    with scripted({}) as plain_board:
        board = plain_board
        board.__class__ = Changing
        board.ids = set(range(1, 20_001))
        staying = set(range(1, 10_001))
        board.routes["/posts.json"] = board.listing
        site = Site("demo", board.root, 0.0, "Charaloom/0")
        with Web(site, tmp_path) as web:
            listed = [int(found.post["post_id"]) for found in Reader(web, site, DIALECTS["danbooru"], "tag")]
    assert len(listed) == len(set(listed))
    assert staying <= set(listed)


def test_requests_per_post_stay_low(tmp_path):
    """For 100 posts: their files, one look at the headers, robots.txt."""
    with scripted({f"/{number}": first(plain(200, drawn(number))) for number in range(100)}) as board:
        fetch(board, [post(board, number, drawn(number)) for number in range(100)], tmp_path)
        assert len(board.requests) <= 102


# ---- all together


def faulty(data: bytes, chosen: random.Random):
    """A fault of the kinds above for the first request, in 5 % of the cases."""
    if chosen.random() >= 0.05:
        return first(serving(data))
    faults = [
        cut(data, chosen.randrange(len(data))), plain(500), plain(502), plain(429), plain(503), plain(200, b""),
        plain(200, b"<html>"), plain(200, drawn(7)), cut(data + b"12345", len(data)),
        plain(200, data[:-5]), lambda handler: handler.raw(b""), lambda handler: handler.raw(b"nonsense\r\n\r\n"),
    ]  # fmt: skip
    return first(chosen.choice(faults), serving(data))


@pytest.mark.parametrize("seed", range(2))
def test_n15_random_faults_leave_the_same_set(tmp_path, seed):
    """`make drill-crawl` takes 20 seeds of 1,000 pictures."""
    chosen = random.Random(seed)
    pictures = {number: drawn(number) for number in range(200)}
    with scripted({f"/{number}": faulty(data, chosen) for number, data in pictures.items()}) as board:
        result = fetch(board, [post(board, number, data) for number, data in pictures.items()], tmp_path)
    assert result == {str(number): data for number, data in pictures.items()}


RUN = """
import json, sys
from pathlib import Path
from charaloom.images.decoding import Limits
from charaloom.sources.downloads import fetch_files
from charaloom.sources.posts import EMPTY_POST, ListedPost
from charaloom.sources.sites import Site
from charaloom.sources.store import Store
from charaloom.sources.web import Web
root, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
own = [{"site": "demo", "post_id": str(n), "file_url": f"{root}/{n}"} for n in range(number)]
posts = [ListedPost({**EMPTY_POST, **post}) for post in own]
with Web(Site("demo", root, 0.0, "Charaloom/0"), folder / "hosts") as web:
    fetch_files(web, Store(folder / "store", frozenset()), posts, Limits(), lambda done, total: None)
"""


def test_c1_no_finished_file_is_fetched_twice_wherever_it_is_killed(tmp_path):
    """Six kills; `make drill-crawl` takes 50."""
    pictures = {number: drawn(number) for number in range(60)}

    def slowly(data: bytes):
        def route(handler: ScriptedHandler) -> None:
            time.sleep(0.02)
            serving(data)(handler)

        return route

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "scripts")}
    with scripted({f"/{number}": slowly(data) for number, data in pictures.items()}) as board:
        command = [sys.executable, "-c", RUN, board.root, str(tmp_path), str(len(pictures))]
        finished: set[str] = set()
        for kill in range(7):
            before = len(board.requests)
            process = subprocess.Popen(command, env=environment)
            while kill < 6 and len(board.requests) < before + 5 + kill and process.poll() is None:
                time.sleep(0.005)
            if kill < 6:
                process.send_signal(signal.SIGKILL)
            process.wait(60)
            again = {path for _, method, path, _ in board.requests[before:] if method == "GET"}
            assert not again & finished
            finished = {f"/{path.stem}" for path in (tmp_path / "store" / "files").iterdir()}
        posts = [post(board, number) for number in pictures]
        requests = len(board.requests)
        assert fetch(board, posts, tmp_path) == {str(number): data for number, data in pictures.items()}
        assert len(board.requests) == requests
