"""`filtered.references`: pictures by SHA-256, by post, or a folder of them, which becomes a source."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from charaloom.artifacts.files import sha256_file
from charaloom.config.project import load_project
from charaloom.config.stage_params import stage_params
from charaloom.errors import CharaloomError
from tests.random_folders import drawn
from tests.small_bases import write_base

OWN = Path("config/characters/hana.yaml")
NAMED = ["a" * 64, "folder:a.png", "board:12"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two characters; hana has a folder of references beside her own."""
    monkeypatch.chdir(tmp_path)
    for folder, numbers in {"pictures/hana": (1, 2), "pictures/mei": (3,), "official art": (4, 5)}.items():
        Path(folder).mkdir(parents=True)
        for number in numbers:
            drawn(number).save(f"{folder}/{number}.png")
    Path("official art/4.txt").write_text("smile")
    write_base(Path("base"))
    OWN.parent.mkdir(parents=True)
    Path("config/characters.tsv").write_text(
        "character\tsource\tquery\nhana\tfolder\tpictures/hana\nmei\tfolder\tpictures/mei\n"
    )
    bases = {"bases": {"tiny": {"path": "base"}}, "training": {"base": "tiny"}, "previews": {"bases": ["tiny"]}}
    Path("config/config.yaml").write_text(yaml.safe_dump(bases))
    return tmp_path


def params(stage: str, references: list[str], name: str = "hana", **more: Any) -> dict[str, Any]:
    OWN.write_text(yaml.safe_dump({"filtered": {"references": references}, **more}))
    return stage_params(load_project(), name, stage)


def test_a_folder_stands_for_the_digests_of_its_pictures(place: Path) -> None:
    digests = sorted(sha256_file(Path(f"official art/{number}.png")) for number in (4, 5))
    assert params("filtered", [*NAMED, "official art"])["references"] == [*NAMED, *digests]
    assert params("filtered", [], "mei")["references"] == []


def test_a_folder_becomes_a_source_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def paths(references: list[str], **more: Any) -> list[str]:
        return [source["path"] for source in params("raw", references, **more)["sources"]]

    assert paths(["official art"]) == ["pictures/hana", "official art"]
    assert paths(["pictures/hana/", "official art"], sources=[{"folder": "official art"}]) == [
        "pictures/hana",
        "official art",
    ]
    monkeypatch.setenv("HOME", str(place))
    assert paths(["~/official art"]) == ["pictures/hana", f"{place}/official art"]


def test_a_changed_reference_is_seen(place: Path) -> None:
    before = params("filtered", ["official art"])
    drawn(9).save("official art/4.png")
    assert params("filtered", ["official art"]) != before


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("nowhere", "is no folder, no SHA-256 and no <site>:<post id>"),
        ("a" * 63, "is no folder, no SHA-256"),
        ("official art/4.png", "is no folder"),
        ("empty", "holds no picture"),
    ],
)
def test_what_is_no_folder_of_pictures_is_named_at_the_start(place: Path, entry: str, words: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(CharaloomError, match=words) as problem:
        params("filtered", [entry])
    assert f"config/characters/hana.yaml: filtered.references: '{entry}'" in str(problem.value)
