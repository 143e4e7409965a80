"""The reader of users' folders: cases P2, P3, P5 to P7, C1, C2, C4 and C6 of issue 16, each with inputs of its kind."""

import codecs
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from charaloom.artifacts.tables import read_table
from charaloom.config.params import Raw
from charaloom.images.files import pictures_digest
from charaloom.images.formats import HEIF_CURE, reads_heif
from charaloom.sources.folders.captions import read_caption
from charaloom.sources.folders.ratings import rating_of, rating_of_tag
from charaloom.sources.folders.side_files import side_of_object
from charaloom.sources.kinds import Machine
from charaloom.sources.raw import build_raw
from tests.servers import small_world as world
from tests.unit.images.test_decoding import drawn, encoded


def write(root: Path, name: str | bytes, data: bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(str(root)) + b"/" + (name if isinstance(name, bytes) else name.encode())))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def build(folder: Path, age: str = "adult", **changes: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Rows by post id (with the post's own keys), raw.files.json, the manifest."""
    params = {"sources": [{"kind": "folder", "path": str(folder)}], "age": age, "version": 1}
    params |= {"limit": 100, "minimum": 1, "ratings": ["general"], "maximum_pixels": 10**8, "maximum_bytes": 2**26}
    out = folder.parent
    files = [out / name for name in ("raw.parquet", "raw.pictures.json", "raw.manifest.json")]
    build_raw("hana", Raw.of({**params, **changes}), *files, Machine(out / "work"))
    rows = {post["post_id"]: {**row, **post} for row in read_table(files[0]) for post in row["posts"]}
    return rows, json.loads((out / "raw.files.json").read_text()), json.loads(files[2].read_text())


def one_side_file(folder: Path, name: str, data: bytes, **changes: Any) -> dict[str, Any]:
    """The row of `x.png` with one side file; a second picture keeps the folder from being empty."""
    write(folder, "other.png", world.drawn(9))
    write(folder, "x.png", world.drawn(1))
    write(folder, name, data)
    return build(folder, **changes)[0]["x.png"]


# --- ratings


@pytest.mark.parametrize(
    "content",
    [
        {"rating": "R-18"},
        {"rating": "R-18G"},
        {"rating": "Adult"},
        {"rating": "mature"},
        {"rating": "Explicit"},
        {"rating": "NSFW"},
        {"rating": "something new"},
        {"rating": 3},
        {"rating": ["general"]},
        {"Rating": "e"},
        {"rating": {"general": 0.1, "explicit": 0.9}},
        {"rating": "General", "x_restrict": 1},
        {"x_restrict": 2},
        {"x_restrict": "?"},
        {"nsfw": True},
        {"possibly_sensitive": "yes"},
        {"is_mature": 1},
        {"tags": ["1girl", "rating:explicit"]},
        {"tags": "1girl nsfw"},
        {"tags": ["R-18", "オリジナル"]},
        {"tags_meta": "rating:q"},
        {"safety": "unsafe"},
        {"caption": "1girl, rating:explicit"},
        {"Content-Rating": "explicit"},
        {"rating": "R18+"},
        {"nsfwLevel": "X"},
        {"sfw": False},
        {"post": {"rating": "e", "tags": "hat"}},
        {"danbooru": {"tag_string": "hat nsfw"}, "tags": ["hat"]},
        {"data": [{"rating": "general"}, {"rating": "explicit"}]},
        {"tags": [["hat", "cap"], [["tie", ["nsfw"]]]]},
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"rating": "e"}}}}}}}}}},
        ["general"],
        "general",
        7,
        None,
    ],
)
def test_case_P2_what_is_not_understood_is_not_allowed(tmp_path: Path, content: Any) -> None:
    row = one_side_file(tmp_path / "pictures", "x.json", json.dumps(content).encode(), ratings=["general", "sensitive"])
    assert row["problem"].startswith("rating ")
    assert row["bytes"] is None


@pytest.mark.parametrize(
    "data", [b"{broken", b"", b'{"rating": "g", "rating": "e"}', "{'rating': 'é'}".encode("latin-1"), b"[" * 10**5]
)
def test_case_P2_unreadable_json_is_closed_and_named(tmp_path: Path, data: bytes) -> None:
    row = one_side_file(tmp_path / "pictures", "x.json", data)
    assert row["problem"].startswith("rating unknown: x.json ")
    assert "x.json" in dict(json.loads((tmp_path / "raw.files.json").read_text())["unused"])


RATED = ["1girl, nsfw", "rating:explicit, solo", "1girl, rating_explicit", "R-18, 1girl", "rating-explicit", "#nsfw"]
RATED += ["hat, 18+", "Rating : Explicit", "'nsfw'", "<rating:explicit>", r"rating\:explicit", "slightly nsfw, hat"]
RATED += ["A woman stands in a room, nsfw.", "R18+", "x-rated", "(rating:explicit:1.2)", "not safe for work"]


@pytest.mark.parametrize("text", RATED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_case_P2_ratings_among_the_tags_of_a_caption(tmp_path: Path, text: str, encoding: str) -> None:
    assert one_side_file(tmp_path / "pictures", "x.txt", text.encode(encoding))["problem"].startswith("rating explicit")


def test_case_P2_a_rating_in_a_caption_of_unknown_encoding_counts(tmp_path: Path) -> None:
    row = one_side_file(tmp_path / "pictures", "x.txt", "1girl, café, rating:explicit".encode("latin-1"))
    assert row["problem"].startswith("rating unknown: x.txt is no UTF-8 text")


def test_case_P2_the_rating_holds_for_the_same_bytes_under_another_name(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    write(root, "copy.png", world.drawn(1))
    assert one_side_file(root, "x.json", b'{"rating": "e"}')["problem"].startswith("rating explicit")
    assert build(root)[0]["copy.png"]["problem"].startswith("rating explicit")


@pytest.mark.parametrize(
    "content", [{}, {"rating": None}, {"rating": ""}, {"tags": "1girl"}, {"x_restrict": 0, "nsfw": False}]
)
def test_a_picture_without_rating_is_used(tmp_path: Path, content: dict[str, Any]) -> None:
    row = one_side_file(tmp_path / "pictures", "x.json", json.dumps(content).encode())
    assert row["problem"] is None
    assert row["rating"] in (None, "general")


@pytest.mark.parametrize(
    ("content", "rating"),
    [
        ({"rating": "s", "category": "yandere"}, "general"),
        ({"rating": "s", "category": "konachan"}, "general"),
        ({"rating": "s", "category": "Konachan.net"}, "general"),
        ({"rating": "s", "site": "yande.re"}, "general"),
        ({"rating": "s", "file_url": "https://files.yande.re/image/1.png"}, "general"),
        ({"rating": "s", "category": "e621"}, "general"),
        ({"rating": "q", "category": "yandere"}, "questionable"),
        ({"rating": "s", "category": "danbooru"}, "sensitive"),
        ({"rating": "s"}, "sensitive"),
        ({"rating": "s", "source": "https://yande.re/post/show/1", "category": "danbooru"}, "sensitive"),
        ({"rating": "safe"}, "general"),
        ({"rating": "g"}, "general"),
        ({"tags": ["rating:s"], "category": "konachan"}, None),
    ],
)
def test_case_P3_s_means_what_its_board_means(content: dict[str, Any], rating: str | None) -> None:
    assert rating_of(content) == rating


def test_case_P3_a_safe_picture_of_a_moebooru_board_is_used(tmp_path: Path) -> None:
    row = one_side_file(tmp_path / "pictures", "x.json", b'{"rating": "s", "category": "yandere"}')
    assert (row["problem"], row["rating"]) == (None, "general")
    assert side_of_object({"tags": ["rating:s"], "category": "konachan"}).rating == "general"
    assert rating_of_tag("rating:s") == "sensitive"


def listed_as(tmp_path: Path, data: bytes, name: str = "metadata.jsonl") -> dict[str, Any]:
    return one_side_file(tmp_path / "pictures", name, data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"file_name": "x.png", "rating": "explicit",}',
        b"{broken nsfw",
        '{"file_name": "x.png", "rating": "é"}'.encode("cp1252"),
    ],
)
def test_case_P2_a_listing_that_cannot_be_read_leaves_ratings_open(tmp_path: Path, data: bytes) -> None:
    row = listed_as(tmp_path, b'{"file_name": "other.png", "rating": "g"}\n' + data)
    assert row["problem"].startswith("rating unknown: metadata.jsonl, line 2 ")


@pytest.mark.parametrize("data", [b"{broken", b"\xff\xfe\xfd", b'{"text": "hat"}'])
def test_a_broken_line_without_a_rating_costs_itself_alone(tmp_path: Path, data: bytes) -> None:
    row = listed_as(tmp_path, b'{"file_name": "other.png", "text": "cap"}\n' + data)
    assert row["problem"] is None
    assert json.loads((tmp_path / "raw.files.json").read_text())["captions"] == 1


@pytest.mark.parametrize("name", ["/home/me/set/x.png", "C:\\set\\x.png", "X.PNG", "x", "somewhere/x.png", "./x.png"])
@pytest.mark.parametrize("listing", ["metadata.jsonl", "metadata.json", "meta_cap.json"])
def test_case_C1_listings_name_pictures_as_other_machines_do(tmp_path: Path, name: str, listing: str) -> None:
    entry = {"text": "hat \u2028 cap, tie", "rating": "g"}
    content: Any = {name: entry} if listing == "meta_cap.json" else [{**entry, "file_name": name}]
    text = json.dumps(content if listing != "metadata.jsonl" else content[0], ensure_ascii=False)
    row = listed_as(tmp_path, text.encode(), listing)
    assert (row["rating"], row["tags_general"][-1]) == ("general", "tie")


def test_case_C1_a_line_that_may_mean_several_pictures_rates_them_all(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for number, name in enumerate(("a/x.png", "b/x.png", "y.png", "b/z.png", "z.png")):
        write(root, name, world.drawn(number))
    lines = [{"file_name": "/set/x.png", "text": "hat", "rating": "e"}, {"file_name": "/set/b/z.png", "text": "cap"}]
    write(root, "metadata.jsonl", "\n".join(map(json.dumps, lines)).encode())
    rows, files, _ = build(root)
    assert [rows[name]["problem"] for name in ("a/x.png", "b/x.png")] == ["rating explicit: not downloaded"] * 2
    assert (rows["b/z.png"]["tags_general"], rows["z.png"]["tags_general"]) == (["cap"], [])
    assert ["metadata.jsonl, line 1", "may mean a/x.png, b/x.png"] in files["unused"]


def test_case_P2_waifucs_sidecars_of_a_folder(tmp_path: Path) -> None:
    meta = {"danbooru": {"id": 1, "rating": "e", "tag_string_artist": "aoi"}, "tags": {"hat": 0.9}}
    row = one_side_file(tmp_path / "pictures", ".x_meta.json", json.dumps(meta).encode())
    assert row["problem"] == "rating explicit: not downloaded"
    meta["danbooru"]["rating"] = "g"
    row = one_side_file(tmp_path / "pictures", ".x_meta.json", json.dumps(meta).encode())
    assert (row["problem"], row["tags_general"], row["artists"]) == (None, ["hat"], ["aoi"])


@pytest.mark.parametrize("data", [b"{}", b'{"width": 100, "model": "x"}'])
def test_a_side_file_that_says_nothing_is_named(tmp_path: Path, data: bytes) -> None:
    one_side_file(tmp_path / "pictures", "x.json", data)
    assert dict(json.loads((tmp_path / "raw.files.json").read_text())["unused"])["x.json"].startswith("says nothing")


# --- files and names


def test_case_P5_content_decides_whatever_the_ending(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    names = {"a.bmp": "BMP", "b.avif": "AVIF", "c.jfif": "JPEG", "d.jpg_large": "JPEG", "e": "PNG", "f.png": "WEBP"}
    names |= {"g.tif": "TIFF", "h.unknown": "GIF", "i.jpg:large": "JPEG"}
    for number, (name, kind) in enumerate(names.items()):
        write(root, name, encoded(drawn(seed=number), kind))
    write(root, "j.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    write(root, "k", b"\xff\x0a" + bytes(40))
    rows, files, _ = build(root)
    assert {name: rows[name]["format"] for name in names} == names
    assert {rows[name]["problem"] for name in names} == {None}
    assert dict(files["unused"]) == {
        "j.heic": "broken: header" if reads_heif() else f"not read: {HEIF_CURE}",
        "k": "not read: JPEG XL; save it as PNG, JPEG or WebP",
    }


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(drawn(), "JPEG", exif=exif)


def mended_orientation(path: Path) -> None:
    path.write_bytes(rotated(1))


def other_pixels(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("mend", [mended_orientation, other_pixels])
@pytest.mark.parametrize("keep_time", [False, True])
def test_case_P6_a_picture_mended_in_place_is_seen(tmp_path: Path, mend: Any, keep_time: bool) -> None:
    path = write(tmp_path / "pictures", "a.jpg", rotated(6))
    size = path.stat().st_size
    before = pictures_digest(tmp_path / "pictures", tmp_path / "work")
    state = path.stat()
    if keep_time:  # a program that writes the time back replaces the file
        path.rename(path.with_suffix(".old"))
        path.write_bytes(rotated(6))
        path.with_suffix(".old").unlink()
    mend(path)
    if keep_time:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == size
    assert pictures_digest(tmp_path / "pictures", tmp_path / "work") != before


def test_case_P6_what_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pictures"
    for number in range(3):
        os.utime(write(root, f"{number}.png", world.drawn(number)), (10**9, 10**9))
    read: list[str] = []
    from charaloom.images import files as module

    original = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: read.append(Path(path).name) or original(path))
    first = pictures_digest(root, tmp_path / "work")
    assert sorted(read) == ["0.png", "1.png", "2.png"]
    read.clear()
    assert pictures_digest(root, tmp_path / "work") == first
    assert read == []
    os.utime(write(root, "1.png", world.drawn(7)), (10**9 + 1, 10**9 + 1))
    assert pictures_digest(root, tmp_path / "work") != first
    assert read == ["1.png"]


def test_stray_files_make_nothing_run_again(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    write(root, "a.png", world.drawn(1))
    write(root, b"bad\xff.png", world.drawn(2))
    before = pictures_digest(root), build(root)[2]
    for name in (".DS_Store", "notes.docx", "old.caption", ".git/a.png", "film.mp4"):
        write(root, name, b"x")
    (root / "gone.png").symlink_to("nowhere.png")
    rows, files, manifest = build(root)
    assert (pictures_digest(root), manifest) == before
    assert len(rows) == 2
    assert dict(files["unused"]) == {
        ".DS_Store": "a file of the system",
        ".git": "a hidden folder of 1 file",
        "film.mp4": "a video",
        "gone.png": "a link to a file that is not there",
        "notes.docx": "no picture",
        "old.caption": "beside no picture of its name",
    }


def test_case_P7_links_and_hidden_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "pictures"
    write(root, "a.png", world.drawn(1))
    for number in range(9):
        (root / f"gone{number}.png").symlink_to(f"/nowhere/{number}.png")
    hidden = [".ipynb_checkpoints", ".git", "@eaDir", "__MACOSX", "sub/.thumbnails", "$RECYCLE.BIN"]
    for number, folder in enumerate(hidden):
        write(root, f"{folder}/deleted{number}.png", world.drawn(20 + number))
    write(root, "Thumbs.db", b"x")
    write(root, "._a.png", b"\0\x05\x16\x07" + bytes(80))
    (root / "folder_link").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "pipe")
    rows, files, _ = build(root)
    assert set(rows) == {"a.png"}
    unused = dict(files["unused"])
    assert set(unused) == {
        *hidden,
        *(f"gone{number}.png" for number in range(9)),
        "Thumbs.db",
        "._a.png",
        "folder_link",
        "pipe",
    }
    assert {unused[folder] for folder in hidden} == {"a hidden folder of 1 file"}
    assert (unused["folder_link"], unused["pipe"]) == ("a link to a folder, which is not followed", "no regular file")
    printed = capsys.readouterr().err
    assert all(f"hana: not read: {name!r}: {why}" in printed for name, why in unused.items())


# --- side files


@pytest.mark.parametrize("name", ["x.txt", "x.TXT", "x.caption", "x.Caption", "x.tags", "x.png.txt", "X.txt"])
def test_case_C1_captions_beside_a_picture(tmp_path: Path, name: str) -> None:
    assert one_side_file(tmp_path / "pictures", name, b"1girl, red dress")["tags_general"] == ["1girl", "red_dress"]


@pytest.mark.parametrize("folder", ["", "train/"])
def test_case_C1_listings_of_the_hub(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "pictures"
    for number in range(3):
        write(root, f"{folder}{number}.png", world.drawn(number))
    lines = [
        json.dumps({"file_name": f"{folder}0.png", "text": "1girl, red dress"}),
        json.dumps({"file_name": f"./{folder}1.png", "caption": "1girl", "rating": "explicit"}),
        json.dumps({"file_name": "nowhere.png", "text": "1girl"}),
        "{broken",
        json.dumps({"text": "1girl"}),
    ]
    write(root, "metadata.jsonl", "\n".join(lines).encode())
    write(
        root,
        f"{folder or 'more/'}metadata.csv",
        f'file_name,text\n{"" if folder else "../"}2.png,"hat, smile"\n'.encode(),
    )
    rows, files, _ = build(root)
    assert rows[f"{folder}0.png"]["tags_general"] == ["1girl", "red_dress"]
    assert rows[f"{folder}1.png"]["problem"] == "rating explicit: not downloaded"
    assert rows[f"{folder}2.png"]["tags_general"] == ["hat", "smile"]
    named = dict(files["unused"])
    assert named["metadata.jsonl"] == "names 1 that are not there: nowhere.png"
    assert named["metadata.jsonl, line 4"].startswith("is no valid JSON")
    assert named["metadata.jsonl, line 5"] == "names no picture (`file_name`)"


def test_case_C1_names_are_compared_after_normalisation(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    write(root, "café.png", world.drawn(1))
    write(root, "cafe\u0301.txt", b"smile")
    write(root, b"caf\xe9 2.png", world.drawn(2))
    write(root, b"caf\xe9 2.txt", b"hat")
    write(root, "A.png", world.drawn(3))
    write(root, "a.png", world.drawn(4))
    write(root, "a.txt", b"grin")
    rows, files, _ = build(root)
    tags = {name: row["tags_general"] for name, row in rows.items()}
    assert tags == {"café.png": ["smile"], "caf\\xe9 2.png": ["hat"], "A.png": [], "a.png": ["grin"]}
    assert files == {"pictures": 4, "captions": 3, "unused": [], "remarks": []}


def test_case_C1_folders_of_kohya_give_repeats(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for name in ("10_hana/a.png", "3_1girl/sub/b.png", "c.png", "2024_summer/d.png"):
        write(root, name, world.drawn(len(name)) if "c" not in name else world.drawn(40))
    rows, *_ = build(root)
    repeats = {name: row["repeats"] for name, row in rows.items()}
    assert repeats == {"10_hana/a.png": 10, "3_1girl/sub/b.png": 3, "c.png": None, "2024_summer/d.png": None}


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (b"", "utf-8"),
    ],
)
@pytest.mark.parametrize("name", ["x.txt", "x.json"])
def test_case_C2_encodings_by_their_mark(tmp_path: Path, mark: bytes, encoding: str, name: str) -> None:
    text = "1girl, café" if name == "x.txt" else '{"tags": ["1girl", "café"]}'
    assert one_side_file(tmp_path / "pictures", name, mark + text.encode(encoding))["tags_general"] == ["1girl", "café"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp932", "gbk", "utf-16-le", "utf-16-be"])
def test_case_C2_other_encodings_are_named_with_the_cure(tmp_path: Path, encoding: str) -> None:
    text = "1girl, caf\u00e9" if encoding == "latin-1" else "1girl, 着物"
    row = one_side_file(tmp_path / "pictures", "x.txt", text.encode(encoding))
    assert (row["problem"], row["tags_general"]) == (None, [])
    assert json.loads((tmp_path / "raw.files.json").read_text())["unused"][0][1].endswith("save it as UTF-8")


INFO = "Steps: 28, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x768"


@pytest.mark.parametrize(
    ("text", "tags", "left_out"),
    [
        ("1girl, (smile:1.2), ((hat)), [dress], {cape}", "1girl smile hat dress cape", []),
        ("hat:1.2), foo (bar:1.2), saber (fate)", "hat foo_bar saber_(fate)", []),
        ("hat BREAK 1girl AND cape, salt and pepper", "hat 1girl cape salt_and_pepper", ["BREAK", "AND"]),
        ("hat, <|endoftext|>, \"smile\", 'it's'", "hat smile 'it's'", ["<|endoftext|>"]),
        ("(red hair, smile:1.3), solo", "red_hair smile solo", []),
        ("1girl, <lora:x:1>, smile <lora:y:0.8:lbw=A>", "1girl smile", ["<lora:x:1>", "<lora:y:0.8:lbw=A>"]),
        (r"hana \(series\), smile", "hana_(series) smile", []),
        ("hana_(series), fate (series), saber", "hana_(series) fate_(series) saber", []),
        ("{red|blue} dress, 1girl, [cat:dog:0.5]", "dress 1girl", ["{red|blue}", "[cat:dog:0.5]"]),
        ("{a|{b|c}}, hat", "hat", ["{b|c}", "{a|,}"]),
        ("1girl，smile、hat；cape;solo", "1girl smile hat cape solo", []),
        ("1Girl, Red Dress, RED_DRESS", "1girl red_dress", []),
        (f"1girl, smile\nNegative prompt: bad\n{INFO}", "1girl smile", ["Negative prompt: bad Steps: 28, Sampl..."]),
        (f"1girl, smile, {INFO}", "1girl smile", ["Steps: 28, Sampler: Euler a, CFG scal..."]),
        ("1girl, Steps: 28, smile", "1girl smile", ["Steps: 28"]),
        ("1girl\0, smi\u200ble\x07", "1girl smile", []),
        ("1girl, BREAK, smile, __hair__, embedding:bad", "1girl smile", ["__hair__", "BREAK", "embedding:bad"]),
        (":d, ;), ;d, >:(, :3, ^_^, o_o, >_<, (o)_(o), :), =_=", ":d ;) ;d >:( :3 ^_^ o_o >_< (o)_(o) :) =_=", []),
        ("1.3::smile::, 1girl", "smile 1girl", []),
        ("1girl solo red_hair open_mouth", "1girl solo red_hair open_mouth", []),
        ("1girl, solo, smile.", "1girl solo smile", []),
        ("red  dress , , ,\n\nhat", "red_dress hat", []),
        ("smile:1.2, hat", "smile hat", []),
        ("", "", []),
    ],
)  # fmt: skip
def test_case_C4_captions_are_normalised(text: str, tags: str, left_out: list[str]) -> None:
    caption = read_caption(text)
    assert caption.tags == tags.split()
    assert caption.left_out == left_out


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("A young woman with silver hair, smiling softly.", ["A young woman with silver hair,smiling softly."]),
        (
            "She stands in a garden. Her dress is red, with a white sash.",
            ["She stands in a garden.", "Her dress is red,with a white sash."],
        ),
        (
            "a girl with red hair standing in a field, 1girl, red hair",
            ["a girl with red hair standing in a field", "1girl", "red_hair"],
        ),
        ("1girl, smile\nA girl sits on a wooden chair.", ["1girl", "smile", "A girl sits on a wooden chair."]),
    ],
)
def test_case_C4_sentences_stay_whole(text: str, tags: list[str]) -> None:
    assert read_caption(text).tags == tags


def test_case_C4_what_is_left_out_is_listed(tmp_path: Path) -> None:
    one_side_file(tmp_path / "pictures", "x.txt", b"1girl, <lora:x:1>")
    assert json.loads((tmp_path / "raw.files.json").read_text())["remarks"] == [["x.png", "<lora:x:1>"]]


@pytest.mark.parametrize(
    "tags",
    [
        "1girl, blue umbrella",
        ["1girl", "blue umbrella"],
        ["1girl", "blue_umbrella"],
        {"1girl": 0.99, "blue umbrella": 0.9},
        "1girl blue_umbrella",
        [{"name": "1girl"}, {"name": "blue umbrella", "score": 0.9}],
        [["1girl", 0.9], ["blue umbrella", 0.8]],
        {"general": ["1girl", "blue_umbrella"]},
        {"general": "1girl blue_umbrella"},
        {"general": {"1girl": 0.99, "blue umbrella": 0.9}},
        ["1Girl", "(blue umbrella:1.2)"],
    ],
)
@pytest.mark.parametrize("key", ["tags", "tags_general"])
def test_case_C6_tags_of_json_in_any_shape(tags: Any, key: str) -> None:
    if key == "tags_general" and isinstance(tags, dict) and "general" in tags:
        return
    assert side_of_object({key: tags}).tags == ["1girl", "blue_umbrella"]


def test_case_C6_categories_and_pixivs_remarks() -> None:
    side = side_of_object({"tags": {"general": ["hat"], "artist": ["aoi"], "series": ["x"], "character": ["hana"]}})
    assert (side.tags, side.post["artists"], side.post["tags_copyright"]) == (["hat"], ["aoi"], ["x"])
    assert side_of_object({"category": "pixiv", "caption": "buy my book", "tags": ["hat"]}).tags == ["hat"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rating", "tags", "tag_string", "caption", "x_restrict", "artist", "x"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["rating", "tags", "tags_meta", "text", "nsfw", "category", "source", "md5"]), JSON)
)
def test_any_object_is_read_or_closed(content: dict[str, Any]) -> None:
    side = side_of_object(content)
    assert all(isinstance(tag, str) and tag for tag in side.tags)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("()[]{}|:;,<>\\_. 1ab\n", max_size=60))
def test_any_text_is_a_caption(text: str) -> None:
    for tag in read_caption(text).tags:
        assert ", " not in tag
        assert "\0" not in tag
        assert tag == tag.strip()


@pytest.mark.parametrize(
    "text", ["1", "{|", "[:", "(", ")", "a(", ":1", " ", "_", "1::", ";", "<lora:", "steps:1", "a b ", "\\", ". A"]
)
def test_a_long_caption_takes_no_time(text: str) -> None:
    start = time.monotonic()
    read_caption(text * (2**16 // len(text)))
    read_caption("((" + text * (2**15 // len(text)) + "x))")
    assert time.monotonic() - start < 5
