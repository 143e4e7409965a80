"""The one HTTP client, against sites on loopback that leak, lure, drip and swell."""

import gzip
import itertools
import json
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from charaloom.errors import CharaloomError
from charaloom.sources import web as web_module
from charaloom.sources.network.addresses import AddressError, Places, parsed
from charaloom.sources.network.pace import Pace, seconds_asked
from charaloom.sources.network.replies import NoAnswer
from charaloom.sources.network.secrets import scrubbed_text
from charaloom.sources.sites import Site, agent
from charaloom.sources.web import Web
from tests.servers.scripted import scripted, trap

LOGIN, KEY, COOKIE = ("somebody", "canary-login"), "canary-key", "session=canary-cookie"


def site(root: str, **changes) -> Site:
    return Site(**{"name": "demo", "root": root, "pause": 0.0, "agent": agent("https://example.org/me"), **changes})


def answers(status: int, body: bytes = b"[]", **headers: str):
    return lambda handler: handler.answer(status, body, **headers)


def once(first, then):
    """A route that answers in one way at first, and in another from then on."""
    left = [first]
    return lambda handler: (left.pop() if left else then)(handler)


@pytest.fixture
def hosts(tmp_path):
    return tmp_path / "hosts"


# ---- lists


def test_a_list_comes_decoded_with_its_headers(hosts):
    body = gzip.compress(b'[{"id": 1}]')
    with scripted({"/posts.json": answers(200, body, Content_Encoding="gzip", X_Total="1")}) as board:
        with Web(site(board.root), hosts) as web:
            answer = web.get(f"{board.root}/posts.json", {"tags": "a b", "page": "b5"})
        assert (answer.status, json.loads(answer.body), answer.headers["x-total"]) == (200, [{"id": 1}], "1")
        assert board.paths() == ["/posts.json?tags=a+b&page=b5"]
        assert board.requests[0][3]["user-agent"].endswith(" (+https://example.org/me)")


@pytest.mark.parametrize("status", [404, 410, 422, 400])
def test_what_only_a_dialect_understands_is_handed_on(hosts, status):
    with scripted({"/x": answers(status, b'{"message": "no"}')}) as board, Web(site(board.root), hosts) as web:
        assert (web.get(f"{board.root}/x").status, board.paths()) == (status, ["/x"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answers(401), "CHARALOOM_DEMO_API_KEY"),
        (answers(403), "CHARALOOM_CONTACT"),
        (answers(503, b"<script>window._cf_chl_opt={}</script>"), "challenge"),
        (answers(200, b"<!doctype html><script src=/cdn-cgi/challenge-platform/x.js>"), "challenge"),
        (answers(403, b"", cf_mitigated="challenge"), "challenge"),
        (answers(200, b"[]", X_Robots_Tag="noindex, noai"), "noai"),
        (answers(200, b'<html><meta content="noimageai" name=robots>'), "noai"),
        (answers(200, b"x", Content_Encoding="br"), "no answer"),
        (answers(200, b"x", Content_Encoding="gzip, gzip, gzip"), "no answer"),
        (answers(200, b"no gzip", Content_Encoding="gzip"), "no answer"),
        (answers(302, Location="http://127.0.0.1:1/x"), "is not asked"),
        (answers(302, Location="file:///etc/passwd"), "is not asked"),
    ],
)  # fmt: skip
def test_a_refusal_has_cause_and_cure(hosts, answer, message):
    with scripted({"/x": answer}) as board, Web(site(board.root), hosts) as web:
        with pytest.raises(CharaloomError, match=message):
            web.get(f"{board.root}/x")
        assert len(board.requests) <= 5


def test_trouble_that_passes_is_waited_out(hosts):
    route = once(answers(500), once(answers(503), once(lambda handler: handler.raw(b""), answers(200))))
    with scripted({"/x": route}) as board, Web(site(board.root), hosts) as web:
        assert web.get(f"{board.root}/x").status == 200
        times = [request[0] for request in board.requests]
        assert len(times) == 4
        assert all(second - first >= 0.24 for first, second in itertools.pairwise(times))


@pytest.mark.parametrize("kind", ["headers", "body", "redirect", "endless redirects' bodies"])
def test_n7_a_drip_ends_with_the_time_for_the_whole_answer(hosts, monkeypatch, kind):
    """The socket's own timeout, 20 s between two bytes, would never end it."""
    monkeypatch.setattr(web_module, "ANSWER_SECONDS", 1.0)
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n"
    drips = {
        "headers": start + b"X-A: " + b"a" * 400,
        "body": start + b"\r\n" + b"a" * 400,
        "redirect": b"HTTP/1.1 302 Found\r\nLocation: /y\r\n" + b"X: y\r\n" * 100,
        "endless redirects' bodies": b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 999\r\n\r\n" + b"a" * 99,
    }
    with scripted({"/x": lambda handler: handler.raw(drips[kind], 0.05)}) as board, Web(site(board.root), hosts) as web:
        began = time.monotonic()
        with pytest.raises(CharaloomError, match="more than 1 seconds"):
            web.get(f"{board.root}/x")
        assert time.monotonic() - began < 5


BOMB = """
import resource, sys
sys.path[:0] = ["scripts", "."]
from pathlib import Path
from charaloom.errors import CharaloomError
from charaloom.sources.sites import Site
from charaloom.sources.web import Web
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[3:]:
    with Web(Site("demo", sys.argv[1], 0.0, "Charaloom/0"), Path(sys.argv[2])) as web:
        try:
            web.get(sys.argv[1] + path)
            print("read", path)
        except CharaloomError as error:
            print(error, file=sys.stderr)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def bombs() -> dict[str, tuple[bytes, str]]:
    """Each some KB, and gigabytes when decoded."""
    member = gzip.compress(b" " * 10_000_000)
    once_packed = member * 200
    deflated = zlib.compressobj(9)
    stream = b"".join(deflated.compress(b" " * 10_000_000) for _ in range(30)) + deflated.flush()
    return {
        "/gzip": (once_packed, "gzip"),
        "/twice": (gzip.compress(once_packed), "gzip, gzip"),
        "/deflate": (stream, "deflate"),
        "/deflated-gzip": (zlib.compress(once_packed), "gzip, deflate"),
    }


def test_n6_bombs_are_cut_at_the_cap_on_decoded_bytes(hosts):
    routes = {path: answers(200, body, Content_Encoding=encoding) for path, (body, encoding) in bombs().items()}
    assert len(bombs()["/twice"][0]) < 20_000
    with scripted(routes) as board:
        command = [sys.executable, "-c", BOMB, board.root, str(hosts), *routes]
        root = Path(__file__).parents[3]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr.count("no answer that ends within") == len(routes), done.stderr
    assert int(done.stdout.split()[-1]) < 200  # MiB


def test_n6_an_endless_list_is_cut(hosts, monkeypatch):
    monkeypatch.setattr(web_module, "ANSWER_BYTES", 2**20)

    def endless(handler):
        handler.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**22)

    with (
        scripted({"/x": endless}) as board,
        Web(site(board.root), hosts) as web,
        pytest.raises(CharaloomError, match="no answer that ends within"),
    ):
        web.get(f"{board.root}/x")


# ---- addresses

ODD = [
    "http://127.0.0.2:{port}\\@example.com/a.png", "http://example.com\\@127.0.0.1:{port}/",
    "http://u:p@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/a b", "http://127.0.0.1:{port}/\x00", "http://127.0.0.1:{port}/\r\nHost: x",
    "\thttp://127.0.0.1:{port}/",
    "http://0x7f.1:{port}/", "http://0x7f000001:{port}/", "http://2130706433:{port}/", "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/", "http://[::127.0.0.1]:{port}/", "http://[::1]:{port}/", "http://[::]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/", "http://localhost:{port}/", "http://localhost.:{port}/", "http://LOCALHOST:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.255.255.254:{port}/", "http://10.0.0.1/", "http://192.168.0.1/", "http://172.16.0.1/",
    "http://169.254.169.254/",
    "http://100.64.0.1/", "http://[fe80::1]/", "http://[fd00::1]/", "http://224.0.0.1/",
    "http://\u2460\u2461\u2466.0.0.1:{port}/",
    "http://127\u30020\u30020\u30021:{port}/", "http://%31%32%37.0.0.1:{port}/", "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "ftp://127.0.0.1:{port}/a", "gopher://127.0.0.1:{port}/", "http:///a", "http://[/a", "//127.0.0.1:{port}/a",
    "http://1.1.1.1:22/",
]  # fmt: skip


def test_n8_nothing_inside_is_reached_directly_or_by_a_redirect(hosts):
    """46 spellings, each as an address and as a redirect: no connection is seen by a listener on every address."""
    assert len(ODD) >= 30
    with trap() as (port, connections), scripted({}) as board, Web(site(board.root), hosts) as web:
        for number, spelling in enumerate(ODD):
            url = spelling.format(port=port)
            board.routes[f"/{number}"] = answers(
                302, Location=url.encode("utf-8").decode("latin-1").replace("\r\n", " ")
            )
            for asked in (url, f"{board.root}/{number}"):
                try:
                    with web.reply("GET", asked, {}, 5.0) as reply:  # "http:///a" leads to the board's own "/a"
                        assert (asked, reply.url) == (f"{board.root}/{number}", f"{board.root}/a")
                except (AddressError, NoAnswer):
                    pass
            with pytest.raises(CharaloomError):
                web.get(url)
        time.sleep(0.1)
        assert connections == []


def test_the_users_own_board_is_asked_at_its_origin_only(hosts):
    with trap() as (port, connections), scripted({"/x": answers(200)}) as board:
        with Web(site(board.root), hosts) as web:
            assert web.get(f"{board.root}/x").status == 200
            for other in (f"http://127.0.0.1:{port}/x", f"http://127.0.0.2:{port}/x", f"https://127.0.0.1:{port}/x"):
                with pytest.raises(CharaloomError, match="is not asked"):
                    web.get(other)
        assert connections == []
        of_files = site(board.root, file_roots=(f"http://127.0.0.1:{port}",))
        with Web(of_files, hosts) as web, pytest.raises(CharaloomError, match="no answer"):
            web.get(f"http://127.0.0.1:{port}/x")
        assert connections != []


def test_n9_a_name_that_moves_inside_is_refused(hosts, monkeypatch):
    """0 of 1,000: one lookup per connection; all its addresses are judged, and one of these is connected to."""
    public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))
    with trap() as (port, connections):
        inside = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        lookups: list[str] = []

        def moving(host, *_arguments, **_options):
            lookups.append(host)
            return [[public], [inside], [public, inside], [inside, public]][len(lookups) % 4]

        places = Places(("http://board.example",))
        for _ in range(1000):
            before = len(lookups)
            try:
                found, _ = places.looked_up("http", "files.example", port, moving)
                assert [str(address.ip) for address in found] == ["93.184.215.14"]
            except AddressError:
                pass
            assert len(lookups) == before + 1
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments: [inside])
        with Web(site("http://1.1.1.1"), hosts) as web:
            for _ in range(20):
                with pytest.raises(AddressError), web.reply("GET", f"http://files.example:{port}/a", {}, 5.0):
                    pass
        assert connections == []


def test_a_board_that_was_public_stays_so(hosts):
    places = Places(("http://board.example",))

    def at(address):
        return lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))]

    places.looked_up("http", "board.example", 80, at("93.184.215.14"))
    with pytest.raises(AddressError):
        places.looked_up("http", "board.example", 80, at("127.0.0.1"))
    at_home = Places(("http://board.example",))
    assert at_home.looked_up("http", "board.example", 80, at("192.168.0.9"))


def test_one_reading_of_an_address():
    address = parsed("HTTPS://Exa\u00efple.com:443/a%20\u00fc?q=\u00fc&x=%2F#f")
    assert address.url == "https://xn--exaple-kwa.com/a%20%C3%BC?q=%C3%BC&x=%2F"
    assert parsed("http://[2606:4700::1]:8080").url == "http://[2606:4700::1]:8080/"


@pytest.mark.parametrize(
    "root", ["http://me:canary@board.example", "ftp://board.example", "http://board.example\\x", ""]
)
def test_a_root_with_a_password_is_refused_with_the_cure(hosts, root):
    with pytest.raises(CharaloomError, match="CHARALOOM_DEMO_API_KEY") as error:
        Web(site(root), hosts)
    assert "canary" not in str(error.value)


def test_n11_a_redirect_loop_stops_after_five_hops(hosts):
    with scripted({"/x": answers(302, Location="/x")}) as board, Web(site(board.root), hosts) as web:
        with pytest.raises(NoAnswer, match="more than 5 redirects"), web.reply("GET", f"{board.root}/x", {}, 5.0):
            pass
        assert len(board.requests) == 6


# ---- secrets


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", ["redirect", "redirect with key", "file", "list"])
def test_n10_credentials_stay_with_the_boards_own_origin(hosts, status, way):
    """20 cases, 0 leaks: an account in basic auth, in the query, in headers and a cookie."""
    with scripted({"/y": answers(200)}) as other, scripted({}) as board:
        where = f"{other.root}/y" + (f"?api_key={KEY}&other=canary-login&v=1" if way == "redirect with key" else "")
        board.routes["/x"] = answers(status, Location=where)
        account = {"login": LOGIN, "secret_params": {"api_key": KEY}, "secret_headers": {"X-API-Key": "canary-header"}}
        sent = {
            "Cookie": COOKIE,
            "Authorization": "canary",
            "X-Token": "canary",
            "Referer": f"{board.root}/?token=canary",
        }
        with Web(site(board.root, file_roots=(other.root,), **account), hosts) as web:
            if way == "file":
                with web.reply("GET", where, sent, 5.0) as reply:
                    assert reply.status == 200
            else:
                assert web.get(f"{board.root}/x" if way.startswith("redirect") else where, None, sent).status == 200
        assert len(other.requests) == 1
        assert "canary" not in str(other.requests)
        for _, _, path, headers in board.requests:
            assert f"api_key={KEY}" in path
            assert (headers["authorization"][:6], headers["x-api-key"], headers["cookie"]) == (
                "Basic ",
                "canary-header",
                COOKIE,
            )


def certificate(folder: Path) -> tuple[str, str]:
    key, file = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = [
        "-subj",
        "/CN=board.test",
        "-addext",
        "subjectAltName=DNS:board.test",
        "-keyout",
        str(key),
        "-out",
        str(file),
    ]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return str(file), str(key)


def test_tls_is_checked_by_name_and_nothing_goes_out_in_the_clear(hosts, tmp_path, monkeypatch):
    import ssl

    file, key = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", file)
    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more: found("127.0.0.1" if host.endswith(".test") else host, *more)
    )
    with scripted({"/x": answers(200)}) as plain, scripted({"/y": answers(200)}) as board:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
        names: list[str] = []
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        board.socket = context.wrap_socket(board.socket, server_side=True)
        root, port = f"https://board.test:{board.server_address[1]}", plain.server_address[1]
        board.routes["/x"] = answers(302, Location=f"http://board.test:{port}/x")
        with Web(site(root, login=LOGIN, file_roots=(f"http://board.test:{port}",)), hosts) as web:
            assert web.get(f"{root}/y").status == 200
            assert board.requests[0][3]["host"] == f"board.test:{board.server_address[1]}"
            assert names[0] == "board.test"
            assert web.get(f"{root}/x").url == f"http://board.test:{port}/x"
        assert "authorization" in board.requests[-1][3]
        assert "authorization" not in plain.requests[0][3]
        other = f"https://other.test:{board.server_address[1]}"
        with Web(site(other), hosts) as web, pytest.raises(CharaloomError, match="no trusted certificate"):
            web.get(f"{other}/y")


def test_netrc_and_browsers_names_are_not_used(hosts, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with scripted({"/x": answers(200)}) as board, Web(site(board.root), hosts) as web:
        web.get(f"{board.root}/x", None, {"User-Agent": "Mozilla/5.0", "X-A": "a\r\nB: c"})
        headers = board.requests[0][3]
    assert headers["user-agent"] == agent("https://example.org/me")
    assert "authorization" not in headers
    assert "b" not in headers
    for contact in ("Mozilla/5.0 (X11)", "Chrome/130", "a\r\nCookie: b", "\u00fc@example.org", "x" * 300):
        with pytest.raises(CharaloomError, match="contact"):
            agent(contact)


@pytest.mark.parametrize(
    "text",
    [
        "https://u:canary@h.example/a.png", "//u:canary@h.example/a", "https://h/a?api_key=canary&v=1",
        "https://h/a?apikey=canary",
        "https://h/a?API-KEY=canary", "https://h/a?token=canary", "https://h/a?access_token=canary",
        "https://h/a#access_token=canary",
        "https://h/a?sig=canary", "https://h/a?signature=canary", "https://h/a?X-Amz-Signature=canary",
        "https://h/a?X-Amz-Credential=canary",
        "https://h/a?X-Amz-Security-Token=canary", "https://h/a?X-Goog-Signature=canary", "https://h/a?auth=canary",
        "https://h/a?session=canary",
        "https://h/a?client_secret=canary", "https://h/a?jwt=canary", "https://h/a?key=canary",
        "https://h/a;jsessionid=canary?x=1",
        "https://h/a?api%5Fkey=canary", "https://h/a?x=1;token=canary",
        "https://h/r?to=https%3A%2F%2Fi%2F%3Ftoken%3Dcanary",
        "see https://h/a?x=1&password_hash=canary, and login=canary",
        'error: {"api_key": "canary"}', "Authorization: Bearer canary123",
        "https://h/#/p?token=canary", "key https://u:canary@h/ key", "Set-Cookie: session=canary",
    ],
)  # fmt: skip
def test_secrets_leave_urls_and_text(text):
    assert "canary" not in scrubbed_text(text)


@pytest.mark.parametrize(
    "text",
    ["https://h/a.png?v=a%20b+c", "a book, page 7", "https://www.pixiv.net/#/artworks/1", "re:zero", "https://h/?page=post&s=view&id=3",
     "https://i.pximg.net/a_p0.png?1234", "https://h/?keyword=a&author=b", "1girl; time=5"],
)  # fmt: skip
def test_what_is_no_secret_stays(text):
    assert scrubbed_text(text) == text


def test_no_error_or_log_names_a_secret(hosts, capsys):
    account = {"login": LOGIN, "secret_params": {"api_key": KEY}, "secret_headers": {"X-API-Key": "canary-header"}}
    with scripted({}) as board:
        for kind, route in {
            "401": answers(401), "cut": lambda handler: handler.raw(b""), "bad": lambda handler: handler.raw(b"x"),
            "lead": answers(302, Location=f"http://127.0.0.1:1/?api_key={KEY}"),
        }.items():  # fmt: skip
            board.routes["/x"] = route
            with Web(site(board.root, **account), hosts / kind) as web, pytest.raises(CharaloomError) as error:
                web.get(f"{board.root}/x?token=canary-url")
            assert "canary" not in str(error.value) + repr(web.site)
    assert "canary" not in "".join(capsys.readouterr())


# ---- pace

MANY = """
import sys
sys.path[:0] = ["scripts", "."]
from pathlib import Path
from charaloom.sources.sites import Site
from charaloom.sources.web import Web
with Web(Site("demo", sys.argv[1], 0.05, "Charaloom/0"), Path(sys.argv[2])) as web:
    for _ in range(8):
        web.get(sys.argv[1] + "/x")
"""


def test_eight_jobs_stay_below_the_limit_of_a_host(hosts):
    """64 requests of 8 processes at 20 a second: never more than 20 in any second."""
    with scripted({"/x": answers(200)}) as board:
        command = [sys.executable, "-c", MANY, board.root, str(hosts)]
        jobs = [subprocess.Popen(command, cwd=Path(__file__).parents[3]) for _ in range(8)]
        assert [job.wait(60) for job in jobs] == [0] * 8
        times = sorted(request[0] for request in board.requests)
    assert len(times) == 64
    assert max(sum(first <= time < first + 1 for time in times) for first in times) <= 20
    assert times[-1] - times[0] < 30


def test_n1_a_wait_that_one_job_was_asked_for_holds_for_all(hosts):
    with scripted({"/x": once(answers(429, Retry_After="2"), answers(200)), "/y": answers(200)}) as board:
        with Web(site(board.root), hosts) as one, Web(site(board.root), hosts) as other:
            with one.reply("GET", f"{board.root}/x", {}, 5.0) as reply:
                assert reply.status == 429
            assert other.get(f"{board.root}/y").status == 200
        first, second = (request[0] for request in board.requests)
        assert second - first >= 2


def test_n1_a_wait_of_more_than_a_quarter_of_an_hour_stops_this_run_and_the_next(hosts):
    with scripted({"/x": answers(429, Retry_After="3600")}) as board:
        for _ in range(2):
            with Web(site(board.root), hosts) as web, pytest.raises(CharaloomError, match="left alone for 60 minutes"):
                web.get(f"{board.root}/x")
        assert len(board.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3), ({"Retry-After": " 2.5 "}, 2.5), ({"Retry-After": "soon"}, 0), ({}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Date": "Wed, 01 Jan 2025 00:00:00 GMT", "Retry-After": "Wed, 01 Jan 2025 00:00:07 GMT"}, 7),
        ({"Date": "Wed, 01 Jan 2025 00:00:09 GMT", "Retry-After": "Wed, 01 Jan 2025 00:00:07 GMT"}, 0),
        ({"RateLimit-Reset": "4"}, 4), ({"X-RateLimit-Reset": "5"}, 5), ({"RateLimit": '"default";r=0;t=6'}, 6),
        ({"RateLimit": "limit=10, remaining=0, reset=8"}, 8),
    ],
)  # fmt: skip
def test_n1_what_a_host_asks_for(headers, seconds):
    assert seconds_asked(headers) == seconds


def test_a_damaged_or_odd_state_of_a_host_costs_no_run(hosts):
    pace = Pace(hosts, "host", 0.01, 0.2)
    for data in (
        b"",
        b"{",
        b"[]",
        b'{"next": 1e300, "closed": 0, "refused": 0, "rounds": 1}',
        b'{"next": "x"}',
        b"\0" * 99,
    ):
        pace.path.write_bytes(data)
        began = time.monotonic()
        pace.wait_for_turn()
        assert time.monotonic() - began < 1
    ahead = {"next": time.time() + 1e6, "closed": time.time() + 1e7, "refused": time.time() + 1e7, "rounds": 4}
    pace.path.write_text(json.dumps(ahead))  # a clock that was set back
    began = time.monotonic()
    pace.wait_for_turn()
    assert time.monotonic() - began < 2


# ---- proxies


def test_the_users_proxy_is_asked_and_what_is_inside_is_still_refused(hosts, monkeypatch):
    with scripted({}) as proxy, trap() as (port, connections):
        proxy.routes["http://board.invalid/x"] = answers(200)
        monkeypatch.setenv("http_proxy", proxy.root)
        monkeypatch.delenv("no_proxy", raising=False)
        with Web(site("http://board.invalid"), hosts) as web:
            assert web.get("http://board.invalid/x").status == 200
            for inside in (
                "http://127.0.0.1:{}/x",
                "http://localhost:{}/x",
                "http://2130706433:{}/x",
                "http://0x7f.1:{}/x",
            ):
                with pytest.raises(CharaloomError, match="is not asked"):
                    web.get(inside.format(port))
        assert proxy.paths() == ["http://board.invalid/x"]
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
        with Web(site("http://board.invalid"), hosts) as web, pytest.raises(CharaloomError, match="speak HTTP"):
            web.get("http://board.invalid/x")
        assert connections == []


# ---- robots.txt


def test_n13_robots_txt_is_read_as_rfc_9309_says(hosts):
    rules = b"User-agent: *\nDisallow: /\nAllow: /original\nDisallow: /original/*.gif$\nAllow: /posts\n"
    with scripted({"/robots.txt": answers(200, rules)}) as board, Web(site(board.root), hosts) as web:
        wanted = {"/original/a.png": False, "/original/a.gif": True, "/secret/a.png": True, "/posts/1": False}
        assert {path: web.is_excluded(board.root + path) for path in wanted} == wanted
        assert board.paths() == ["/robots.txt"]
