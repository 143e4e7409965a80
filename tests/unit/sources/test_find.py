"""`charaloom find` and `charaloom refresh`: what boards know of a character, the entry, and what changed since."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from charaloom.__main__ import main
from charaloom.config.layers import DEFAULTS, read_config
from charaloom.config.params import Raw
from charaloom.config.project import open_project
from charaloom.config.stage_params import stage_params
from charaloom.sources.find import plain_character
from charaloom.sources.kinds import Machine
from charaloom.sources.raw import build_raw
from charaloom.sources.refresh import refresh
from tests.servers import boards
from tests.servers.boards import Entry, Reply, drawn, serving

COUNTED = {"general": 26, "sensitive": 1, "questionable": 1, "explicit": 1}  # of the small boards' posts
MERGED = {"general": 26, "questionable": 2, "explicit": 1}  # where sensitive is none of its ratings


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory whose config knows no board yet; returns what adds one."""
    monkeypatch.chdir(tmp_path)
    for name in ("GELBOORU", "SZURUBOORU"):
        monkeypatch.setenv(f"CHARALOOM_{name}_USERNAME", "5")
        monkeypatch.setenv(f"CHARALOOM_{name}_API_KEY", "key")
    Path("config").mkdir()
    Path("config/characters.tsv").write_text("character\tsource\tquery\ttrigger\tage\n")
    with ExitStack() as stack:

        def add(kind, name=None, **changes):
            board = stack.enter_context(serving(kind()))
            own = {"dialect": board.dialect, "root": board.root, "seconds_between_requests": 0.0, **changes}
            path = Path("config/config.yaml")
            config = yaml.safe_load(path.read_text()) if path.exists() else {"boards": {}}
            config["boards"][name or board.dialect] = own
            path.write_text(yaml.safe_dump(config))
            return board

        yield add


def run(*arguments):
    return main(["find", *arguments])


BY_RATING = [
    (boards.Danbooru, COUNTED), (boards.Gelbooru, COUNTED), (boards.Gelbooru02, COUNTED), (boards.Moebooru, MERGED),
    (boards.Szurubooru, MERGED), (boards.Philomena, COUNTED), (boards.E621, None), (boards.Zerochan, None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "counts"), BY_RATING, ids=lambda value: getattr(value, "__name__", ""))
def test_each_board_names_the_tag_and_counts_by_rating(place, capsys, kind, counts):
    board = place(kind)
    name = "Hana (demo)" if kind is boards.Zerochan else "Hana"
    assert run(name, "--board", board.dialect, "--dry-run") == 0
    out = capsys.readouterr().out
    row = next(line.split() for line in out.splitlines() if line.startswith(board.dialect + " "))
    assert row[1].lower().startswith("hana")
    if counts:
        assert [int(cell) for cell in row[-4:] if cell != "–"] == list(counts.values())
    assert "A crawl would fetch" in out
    assert Path("config/characters.tsv").read_text().count("\n") == 1


def test_the_entry_is_written_with_a_tag_per_board(place, capsys):
    place(boards.Danbooru)
    place(boards.Moebooru)
    assert run("hana", "--board", "danbooru", "--board", "moebooru", "--age", "adult") == 0
    assert Path("config/characters.tsv").read_text().splitlines()[1] == f"hana\tdanbooru\t{boards.TAG}\t\tadult"
    own = yaml.safe_load(Path("config/characters/hana.yaml").read_text())
    assert own == {"sources": [{"board": "moebooru", "query": boards.TAG}]}
    files = [DEFAULTS, "config/config.yaml"]
    project = open_project(read_config(files), files)
    sources = stage_params(project, "hana", "raw")["sources"]
    assert [(source["name"], source["query"]) for source in sources] == [
        ("danbooru", boards.TAG),
        ("moebooru", boards.TAG),
    ]
    assert run("hana", "--board", "danbooru") == 1
    assert "is there already" in capsys.readouterr().err


def of_another_series(board, tag):
    """A post of another character, so that its tag has one."""
    board.characters = (*board.characters, tag)
    board.posts = [Entry(90, drawn(90), general=("1girl", tag)), *board.posts]


def test_a_name_in_two_series_is_not_guessed(place, capsys):
    board = place(boards.Danbooru)
    board.characters = ("hana_(nobody)",)  # without posts: no question
    of_another_series(board, "hana_(other)")
    assert run("hana", "--board", "danbooru") == 1
    err = capsys.readouterr().err
    assert "several series: hana_(demo), hana_(other)" in err
    assert run("hana", "--board", "danbooru", "--series", "demo") == 0
    assert f"danbooru\t{boards.TAG}" in Path("config/characters.tsv").read_text()


def test_a_variant_that_implies_the_character_is_no_other_series(place):
    board = place(boards.Danbooru)
    of_another_series(board, "hana_(swimsuit)_(demo)")
    board.implied = {"hana_(swimsuit)_(demo)": boards.TAG}
    assert run("hana", "--board", "danbooru") == 0
    assert f"danbooru\t{boards.TAG}" in Path("config/characters.tsv").read_text()


def test_words_in_another_order(place, capsys):
    place(boards.Danbooru)
    assert run("Demo Hana", "--board", "danbooru") == 0
    assert f"demo_hana\tdanbooru\t{boards.TAG}" in Path("config/characters.tsv").read_text()


def test_the_roster_names_a_board_that_counts_by_rating(place, capsys):
    place(boards.E621)
    place(boards.Danbooru)
    place(boards.Shimmie)
    assert run("hana", "--board", "e621", "--board", "danbooru", "--board", "shimmie") == 0
    assert Path("config/characters.tsv").read_text().splitlines()[1].startswith("hana\tdanbooru")
    output = capsys.readouterr()
    assert "shimmie: has no search of names" in output.err
    assert "A crawl would fetch at most 55 posts, about 0 MB, in less than two minutes" in output.out


def test_a_board_that_counts_in_another_way(place, capsys):
    board = place(boards.Danbooru)
    board.faults = [("/counts/", Reply(body)) for body in (b"<html>", b"[1]", b'{"counts": {"posts": "many"}}', b"{")]
    assert run("hana", "--board", "danbooru", "--dry-run") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("danbooru"))
    assert row.split()[-4:] == ["–"] * 4


def test_a_name_in_another_language(place):
    place(boards.Danbooru)
    assert run("はな", "--board", "danbooru", "--as", "hana") == 0
    assert f"hana\tdanbooru\t{boards.TAG}" in Path("config/characters.tsv").read_text()
    assert run("はな", "--board", "danbooru") == 1  # which name on disk?


def test_nobody_and_a_board_that_is_down(place, capsys):
    place(boards.Danbooru)
    place(boards.Moebooru, "down", root="http://127.0.0.1:9")
    assert run("nobody", "--board", "danbooru", "--board", "down") == 1
    err = capsys.readouterr().err
    assert "danbooru: knows no character of this name" in err
    assert "down (http://127.0.0.1:9): no answer" in err
    assert run("x", "--board", "nowhere") == 1
    assert "no board of the config" in capsys.readouterr().err


def test_names_on_disk():
    assert plain_character("Hatsune Miku (VOCALOID)") == "hatsune_miku_vocaloid"


def test_refresh_reports_what_is_new_changed_and_gone(place, capsys):
    board = place(boards.Danbooru)
    board.posts = board.posts[:12]
    Path("config/characters.tsv").write_text(f"character\tsource\tquery\nhana\tdanbooru\t{boards.TAG}\n")
    files = [DEFAULTS, "config/config.yaml"]
    project = open_project(read_config(files), files)
    manifest = Path("results/hana/raw.manifest.json")

    def build():
        params = Raw.of({**stage_params(project, "hana", "raw"), "minimum": 1})
        table, facet = "results/hana/raw.parquet", "results/hana/raw.pictures.json"
        build_raw("hana", params, table, facet, manifest, Machine(Path("work")))
        return json.loads(manifest.read_text())["counts"]["posts"]

    assert build() == 12
    assert not refresh(project, "hana")[0]
    assert manifest.exists()
    requests = len(board.requests)
    board.posts = [Entry(900, drawn(900)), *board.posts[:-1]]
    board.posts[6] = Entry(board.posts[6].id, board.posts[6].data, general=("1girl", "blue_dress"))
    gone = boards.ALL[-12]
    assert build() == 12  # frozen until it is asked for
    assert len(board.requests) == requests
    assert main(["refresh", "hana"]) == 0
    assert f"danbooru: 1 new, 1 changed, 1 gone (gone: {gone})" in capsys.readouterr().out
    assert not manifest.exists()
    assert build() == 12
    fetched = [
        entry.path for entry in board.requests[requests:] if entry.path.startswith("/files/") and entry.method == "GET"
    ]
    assert fetched == [board.file_path(board.posts[0])]
    assert main(["refresh", "nobody"]) == 1
