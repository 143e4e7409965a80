"""`charaloom explain`: the story of a picture at every stage of a character, and ids that fit nothing."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charaloom import __main__ as cli
from charaloom.artifacts.files import write_json
from charaloom.config.named_files import read_removals
from charaloom.curation.rules import RULES
from tests.small_bases import write_base
from tests.small_results import NAMES, filtered_rows, reason, write_curated, write_tagged


@pytest.fixture
def results(tmp_path: Path, monkeypatch: Any) -> Path:
    """A project of two characters; hana is done as far as the filters."""
    monkeypatch.chdir(tmp_path)
    read_removals.cache_clear()
    for folder in ("pictures", "config"):
        (tmp_path / folder).mkdir()
    write_base(tmp_path / "base")
    roster = "character\tsource\tquery\nhana\tfolder\tpictures\nmei\tfolder\tpictures\n"
    (tmp_path / "config/characters.tsv").write_text(roster)
    write_json(
        tmp_path / "config/config.yaml",
        {
            "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
            "training": {"base": "tiny"},
            "previews": {"bases": ["tiny"]},
        },
    )
    return write_curated(tmp_path / "results/hana")


def explained(capsys: Any, *arguments: str) -> list[str]:
    assert cli.main(["explain", "hana", *arguments]) == 0
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def refused(capsys: Any, *arguments: str) -> str:
    assert cli.main(["explain", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_the_story_of_a_dropped_picture(results: Path, capsys: Any) -> None:
    rows = filtered_rows()
    rows[3]["reasons"].append(reason("monochrome", 0.7))
    rows[3]["scores"][1] = reason("monochrome", 0.7)
    write_curated(results, rows)
    lines = explained(capsys, NAMES[3])
    assert lines[:6] == [
        NAMES[3],
        "post        board:103 https://board.example/posts/103",
        "artist aoi; rating general; board's score 15",
        f"file        PNG, 200 x 240 pixels, {len_of(results, NAMES[3])} bytes",
        "",
        f"{NAMES[3][:8]}/picture/0  the picture, 200 x 240 pixels at 0,0",
    ]
    assert f"verdict     dropped by identity 0.52 / 0.5: {RULES['identity'].words}" in lines
    assert "also        monochrome 0.7 / 0.5: black and white" in lines
    assert "numbers     rating_model 0.1 / 0.5, monochrome 0.7 / 0.5, ai 0.3, identity 0.52 / 0.5" in lines
    assert f"duplicates  a copy of {NAMES[0][:8]}/picture/0" in lines
    assert "identity    the character, distance 0.1000 to the character's cluster" in lines
    assert lines[-1] == "not made yet: tagged, clustered, dataset"


def len_of(results: Path, picture: str) -> int:
    rows = pq.read_table(results / "raw.parquet", columns=["picture", "size"]).to_pylist()
    return next(row["size"] for row in rows if row["picture"] == picture)


def test_the_story_of_a_kept_picture_ends_in_the_dataset(results: Path, capsys: Any) -> None:
    write_tagged(results)
    (results / "dataset/data").mkdir(parents=True)
    image = {"bytes": b"x", "path": "a.webp"}
    rows = [{"view": f"{NAMES[0]}/picture/0", "picture": NAMES[0], "image": image}]
    pq.write_table(pa.Table.from_pylist(rows), results / "dataset/data/train-00000.parquet")
    lines = explained(capsys, "board:100")
    assert "verdict     kept, to train" in lines
    assert f"duplicates  the best of 2; the others: {NAMES[3][:8]}/picture/0" in lines
    assert "tags        1girl 0.99 (both), smile 0.60 (tagger)" in lines
    assert "left out    blue_hair (core)" in lines
    assert "outfit      red, stability 0.93" in lines
    assert "caption     hana_charaloom, hana_red, 1girl, smile" in lines
    assert lines[-1] == "dataset     data/train-00000.parquet: a.webp"


def test_a_picture_has_many_names(results: Path, capsys: Any) -> None:
    for name in (NAMES[1], NAMES[1][:6].upper(), "101", "board:101", f"{NAMES[1]}/picture/0", f"{NAMES[1][:8]}/head/0"):
        assert explained(capsys, name)[0] == NAMES[1]
    assert explained(capsys, "board:1")[0] == "missing:board:1"
    assert explained(capsys, "missing:board:1")[3] == "file        missing: 404"


def test_a_part_is_listed_with_the_picture_it_belongs_to(results: Path, capsys: Any) -> None:
    lines = explained(capsys, NAMES[6][:10])
    assert f"{NAMES[6][:8]}/head/0  a head" in lines


def test_stages_that_did_not_run_are_missing_and_no_error(results: Path, capsys: Any) -> None:
    for stage in ("filtered", "measured"):
        (results / f"{stage}.parquet").unlink()
    assert explained(capsys, "100")[-1] == "not made yet: measured, filtered, tagged, clustered, dataset"


def test_a_stage_that_is_older_than_the_picture_says_so(results: Path, capsys: Any) -> None:
    write_curated(results, filtered_rows()[1:])
    assert "older than this picture: filtered; `charaloom run` renews them" in explained(capsys, "100")


def test_an_id_that_fits_nothing(results: Path, capsys: Any) -> None:
    said = refused(capsys, "hana", "board:9999")
    assert "board:9999: fits no picture of hana. Looked among 10 pictures of results/hana/raw.parquet" in said
    assert "beyond raw.limit" in said
    assert "first 6 digits or more" in refused(capsys, "hana", NAMES[0][:5])


def test_a_removed_picture_is_said_to_be_removed(results: Path, capsys: Any) -> None:
    write_json(Path("config/removals.yaml"), {"posts": ["board:9999"], "artists": [], "pictures": []})
    assert "config/removals.yaml lists it: it is excluded on request" in refused(capsys, "hana", "9999")


def test_a_picture_of_another_character_is_found(results: Path, capsys: Any) -> None:
    assert "mei/raw.parquet: is not there yet" in refused(capsys, "mei", "board:100")
    write_curated(results.with_name("mei"))
    (results / "raw.parquet").write_bytes((results.with_name("mei") / "raw.parquet").read_bytes())
    table = pq.read_table(results / "raw.parquet")
    pq.write_table(table.slice(0, 0), results / "raw.parquet")
    assert "mei has it: charaloom explain mei board:100" in refused(capsys, "hana", "board:100")


def test_an_id_that_fits_several(results: Path, capsys: Any) -> None:
    table = pq.read_table(results / "raw.parquet")
    rows = table.to_pylist()
    rows[0]["picture"], rows[1]["picture"] = "abcdef0" + "0" * 57, "abcdef1" + "0" * 57
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), results / "raw.parquet")
    assert "abcdef: fits 2 pictures, say which: abcdef0" in refused(capsys, "hana", "abcdef")


def test_an_unknown_character_is_one_line(results: Path, capsys: Any) -> None:
    assert "did you mean `hana`?" in refused(capsys, "hanna", "100")


def with_files(results: Path) -> Path:
    """The folder of hana with the first picture of the results as a file, whose name its post has."""
    from charaloom.artifacts.tables import RAW, write_table
    from tests.small_results import FILES

    rows = pq.read_table(results / "raw.parquet").to_pylist()
    next(row for row in rows if row["picture"] == NAMES[0])["posts"][0]["post_id"] = "set/première.png"
    write_table(results / "raw.parquet", rows, RAW, "picture")
    unused = [["set/a.heic", "a format that is not read here"]]
    write_json(results / "raw.files.json", {"pictures": 1, "captions": 0, "unused": unused, "remarks": []})
    file = Path("pictures/set/première.png")
    file.parent.mkdir()
    file.write_bytes(FILES[0])
    return file


def test_a_file_its_name_and_its_path_are_a_picture(results: Path, capsys: Any) -> None:
    file = with_files(results)
    for wanted in (str(file), str(file.absolute()), "set/première.png", "première.png", "premie\u0300re.png"):
        assert explained(capsys, wanted)[0] == NAMES[0], wanted
    file.rename("elsewhere.bin")
    assert explained(capsys, "elsewhere.bin")[0] == NAMES[0], "its content"
    assert "fits no picture of hana" in refused(capsys, "hana", "deuxième.png")


def test_a_file_that_was_not_used_says_why(results: Path, capsys: Any) -> None:
    with_files(results)
    for wanted in ("a.heic", "pictures/set/a.heic"):
        assert explained(capsys, wanted) == ["set/a.heic: not used: a format that is not read here"]


def test_the_character_need_not_be_named(results: Path, capsys: Any) -> None:
    with_files(results)
    assert cli.main(["explain", "première.png"]) == 0
    assert capsys.readouterr().out.startswith(NAMES[0])
    assert cli.main(["explain", "a.heic"]) == 0
    assert "not used" in capsys.readouterr().out
    assert "fits no picture of any character" in refused(capsys, "gone.png")


def test_a_side_file_stands_for_the_picture_beside_it(results: Path, capsys: Any) -> None:
    path = with_files(results)
    side = path.with_suffix(".txt")
    side.write_text("hat")
    assert explained(capsys, str(side))[0] == explained(capsys, str(path))[0]


def test_a_file_that_is_new_is_said_to_be_new(results: Path, capsys: Any) -> None:
    Path("pictures/later.bin").write_bytes(b"x")
    assert "newer than the last run" in refused(capsys, "hana", "pictures/later.bin")
