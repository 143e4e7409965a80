"""`charaloom init` and `charaloom open`: what they ask, write and show."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from charaloom import __main__ as cli
from charaloom.cli.start.init import Wishes, init
from charaloom.config.layers import OWN_CONFIG
from charaloom.config.project import load_project
from charaloom.errors import CharaloomError
from tests.small_bases import write_base


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pictures" / "Hana (new)"
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write_base(tmp_path / "models" / "main")
    return tmp_path


def answering(*answers: str) -> Callable[[str], str]:
    """A person who gives these answers, one after the other."""
    left = list(answers)
    return lambda question: left.pop(0)


def test_without_a_terminal_the_options_say_all(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--pictures", "pictures/Hana (new)", "--base", "models/main", "--age", "adult"]
    assert cli.main(["init", "hana", *options]) == 0
    said = capsys.readouterr().out
    assert "written: my/characters.tsv, hana with 20 pictures of pictures/Hana (new)" in said
    assert "Next: charaloom run hana" in said
    project = load_project()
    assert project.characters["hana"].age == "adult"
    assert project.config["training"]["base"] == "my-base"
    assert project.config["previews"]["bases"] == ["my-base"]
    before = [path.read_bytes() for path in sorted(Path("my").iterdir())]
    assert cli.main(["init", "hana", *options]) == 0
    assert "as it was: my/characters.tsv" in capsys.readouterr().out
    assert [path.read_bytes() for path in sorted(Path("my").iterdir())] == before


def test_it_asks_on_a_terminal_until_the_answers_fit(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    Path("models/old.ckpt").write_text("x")
    answers = ["nowhere", "pictures/Hana (new)", "", "gone.safetensors", "models/main", "perhaps", "y"]
    init(Wishes(), answering(*answers))
    said = capsys.readouterr().out
    assert "There is no folder 'nowhere'" in said
    assert "'gone.safetensors' is no file" in said
    hana = load_project().characters["hana_new"]
    assert (hana.query, hana.age) == ("pictures/Hana (new)", "adult")


def test_a_second_character_joins_and_the_config_stays(place: Path) -> None:
    init(Wishes("hana", "pictures/Hana (new)", "models/main"))
    config = OWN_CONFIG.read_bytes()
    lines = init(Wishes("mei", "pictures/Hana (new)", "illustrious-xl-v0.1"))
    assert (
        "as it was: my/config.yaml, which names the base model 'my-base' (illustrious-xl-v0.1 is not written"
        in lines[1]
    )
    assert list(load_project().characters) == ["hana", "mei"]
    assert OWN_CONFIG.read_bytes() == config


def test_a_base_of_the_config_is_taken_by_its_name_and_none_is_the_default(place: Path) -> None:
    init(Wishes("hana", "pictures/Hana (new)"))
    assert "training" not in OWN_CONFIG.read_text()
    OWN_CONFIG.unlink()
    init(Wishes("hana", "pictures/Hana (new)", "noobai-xl-1.1"))
    assert load_project().config["previews"]["bases"] == ["noobai-xl-1.1"]


def test_a_roster_that_is_in_use_is_gone_on_with(place: Path) -> None:
    roster = Path("config/characters.tsv")
    roster.parent.mkdir()
    roster.write_text("character\tsource\tquery\nmei\tdanbooru\tmei\n")
    with pytest.raises(CharaloomError, match="has no column 'age'"):
        init(Wishes("hana", "pictures/Hana (new)", "models/main", "adult"))
    roster.write_text("character\tsource\tquery\tage\nmei\tdanbooru\tmei\tadult\n")
    init(Wishes("hana", "pictures/Hana (new)", "models/main"))
    assert not Path("my/characters.tsv").exists()
    assert list(load_project().characters) == ["mei", "hana"]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes("hana", "models", "models/main"), "holds no picture; put some into it"),
        (Wishes("hana", ".", "models/main"), "holds all that is made here"),
        (Wishes("hana"), "--pictures: name the folder of pictures"),
        (Wishes("hana", "nowhere"), "--pictures: there is no folder 'nowhere'"),
        (Wishes("Hana!", "pictures/Hana (new)"), "character: 'Hana!' is not allowed"),
        (Wishes("hana", "pictures/Hana (new)", "gone"), "--base: 'gone' is no file, no folder"),
        (Wishes("hana", "pictures/Hana (new)", "pictures"), "--base: pictures is no diffusers folder"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(place: Path, wishes: Wishes, message: str) -> None:
    with pytest.raises(CharaloomError) as caught:
        init(wishes)
    assert message in str(caught.value)
    assert not Path("my").exists()


def test_another_folder_under_a_name_that_is_there(place: Path) -> None:
    init(Wishes("hana", "pictures/Hana (new)", "models/main"))
    with pytest.raises(CharaloomError, match=r"'hana' is there already, with .*; change that row"):
        init(Wishes("hana", "pictures"))


def test_files_of_the_command_line_replace_the_users_own(place: Path) -> None:
    init(Wishes("hana", "pictures/Hana (new)", "models/main"))
    Path("other.yaml").write_text("roster: other.tsv\n")
    with pytest.raises(CharaloomError, match=r"other\.tsv"):
        load_project(["other.yaml"])


def test_open_says_where_the_page_is(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(variable, raising=False)
    init(Wishes("hana", "pictures/Hana (new)", "models/main"))
    assert cli.main(["open"]) == 1
    assert "hana: has no page yet; `charaloom run hana`" in capsys.readouterr().err
    folder = Path("results/hana")
    folder.mkdir(parents=True)
    for page in ("curation", "report"):
        (folder / f"{page}.html").write_text("")
        assert cli.main(["open", "hana"]) == 0
        assert capsys.readouterr().out == f"results/hana/{page}.html\n"
    assert cli.main(["open", "hanna"]) == 1
    assert "did you mean `hana`?" in capsys.readouterr().err
    init(Wishes("mei", "pictures/Hana (new)"))
    assert cli.main(["open"]) == 0
    assert capsys.readouterr().out == "results/status.html\n"


def test_open_starts_the_browser_that_there_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(Wishes("hana", "pictures/Hana (new)", "models/main"))
    page = place / "results/hana/report.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    browser, seen = place / "browser", place / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    assert cli.main(["open"]) == 0
    assert seen.read_text().strip() == page.as_uri()


# --- of finished models


def test_the_index_of_no_model_is_empty_and_civitai_says_what_is_missing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--pictures", "pictures/Hana (new)", "--base", "models/main", "--age", "adult"]
    assert cli.main(["init", "hana", *options]) == 0
    capsys.readouterr()
    assert cli.main(["index"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0 of 1 characters have a model:",
        "results/index.md",
        "results/index/README.md",
    ]
    assert cli.main(["civitai", "hana"]) == 1
    assert "results/hana/model.lineage.json: not there; `charaloom run hana` makes it" in capsys.readouterr().err
    assert cli.main(["civitai", "hanna"]) == 1
    assert "hanna: is not in my/characters.tsv; did you mean `hana`?" in capsys.readouterr().err
