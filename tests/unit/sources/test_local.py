"""Archives, videos and published datasets as sources."""

import base64
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy
import py7zr
import pytest
from PIL import Image

from charaloom.artifacts.tables import read_table
from charaloom.errors import CharaloomError
from charaloom.sources.local import unpacking
from tests.servers.boards import drawn
from tests.unit.sources.test_dialects import build, raw_params

GOOD = {"a.png": drawn(1), "sub/b c.png": drawn(2), "sub/b c.txt": b"1girl, red hat", "notes.md": b"x"}
KINDS = ("zip", "tar", "tar.gz", "tar.xz", "7z")


def source(path, kind="archive", **changes):
    return {"kind": kind, "path": str(path), "content": f"digest of {path.name}", **changes}


def pack(path, files):
    """An archive of {name: bytes}, its kind by the name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    elif path.suffix == ".7z":
        with py7zr.SevenZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(data, name)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w:xz" if path.suffix == ".xz" else "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def by_id(rows):
    return {post["post_id"]: (row, post) for row in rows for post in row["posts"]}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_read_like_a_folder(tmp_path, kind):
    path = pack(tmp_path / f"set.{kind}", GOOD)
    rows, counts = build(tmp_path, raw_params(source(path)))
    posts = by_id(rows)
    assert len(posts) == 2
    assert {row["bytes"] for row, _ in posts.values()} == {drawn(1), drawn(2)}
    (tagged,) = (post for _, post in posts.values() if post["tags_general"])
    assert (tagged["site"], tagged["tags_general"]) == ("archive", ["1girl", "red_hat"])
    assert counts["ignored_entries"] == 1
    before = (tmp_path / "raw.parquet").read_bytes()
    path.unlink()
    pack(path, GOOD)
    build(tmp_path, raw_params(source(path)))  # not unpacked again
    assert (tmp_path / "raw.parquet").read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_an_archive_are_known_by_content_and_the_rest_is_named(tmp_path, kind):
    files = {"a.jpg_large": drawn(1), "b": drawn(2), "b.txt": b"hat", "notes.md": b"x", "c.json": b""}
    build(tmp_path, raw_params(source(pack(tmp_path / f"set.{kind}", files))))
    rows = read_table(tmp_path / "raw.parquet")
    assert {row["bytes"] for row in rows} == {drawn(1), drawn(2)}
    assert sorted(tag for row in rows for post in row["posts"] for tag in post["tags_general"]) == ["hat"]
    unused = json.loads((tmp_path / "raw.files.json").read_text())["unused"]
    assert ["'notes.md'", "no picture"] in unused
    assert "c.json" in dict(unused)


@pytest.mark.parametrize("name", ["im g/a b.png", "é é/花 b.png", "a.png"])
@pytest.mark.parametrize("origin", ["archive", "dataset"])
def test_a_listing_in_an_archive_rates_its_pictures(tmp_path, name, origin):
    line = json.dumps({"file_name": name, "rating": "e"}).encode()
    path = pack(tmp_path / "set.zip", {name: drawn(1), "metadata.jsonl": line})
    rows, _ = build(tmp_path, raw_params(source(path, origin)))
    assert [row["problem"] for row in rows] == ["rating explicit: not downloaded"]


@pytest.mark.parametrize(
    "columns",
    [
        {"json": '{"rating": "e"}'},
        {"metadata": '{"post": {"rating": "explicit"}}'},
        {"nsfw": True},
        {"post": {"rating": "e"}},
    ],
)
def test_a_rating_anywhere_in_a_row_of_a_table_counts(tmp_path, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"Image": {"bytes": drawn(1), "path": "a.png"}, "txt": "hat", **columns}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    rows, _ = build(tmp_path, raw_params(source(tmp_path / "a.parquet", "dataset")))
    assert [row["problem"] for row in rows] == ["rating explicit: not downloaded"]


ESCAPES = (
    "../x.png", "../../x.png", "/tmp/charaloom-x.png", "a/../../x.png", "..\\x.png", "C:\\x.png", "c:x.png", "\\x.png",
    "a/b/../../../x.png", "//server/x.png", "./../x.png", "....//..//x.png",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["zip", "tar", "7z"])
def test_f7_nothing_leaves_the_folder(tmp_path, kind):
    """Names that lead out, links, hard links, devices: 0 escapes of 25 kinds in each archive."""
    path = tmp_path / f"set.{kind}"
    names = [name for name in ESCAPES if kind != "7z" or not name.startswith(("/", "..", "//", "./"))]
    if kind == "7z":
        names = []
        pack(path, {"good.png": drawn(1)})
    else:
        pack(path, {"good.png": drawn(1), **{name: drawn(number + 10) for number, name in enumerate(names)}})
    if kind == "tar":
        with tarfile.open(path, "a") as archive:
            for type in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
                info = tarfile.TarInfo(f"link{type.decode()}.png")
                info.type, info.linkname = type, "/etc/passwd"
                archive.addfile(info)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo("link.png")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    outside = set(tmp_path.rglob("*"))
    rows, counts = build(tmp_path, raw_params(source(path)))
    (stored,) = (folder for folder in (tmp_path / "work" / "hana").iterdir() if folder.name.startswith("raw-"))
    written = set(tmp_path.rglob("*.png")) - outside
    assert all(item.is_relative_to(stored / "files") and not item.is_symlink() for item in written)
    assert not Path("/tmp/charaloom-x.png").exists()
    assert len([row for row in rows if row["problem"] is None]) == 1
    assert counts["refused_entries"] == len(names) + {"tar": 5, "zip": 1, "7z": 0}[kind]


def test_bombs_are_cut_at_the_caps(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    pack(path, {"bomb.png": b"\0" * 10**8, "good.png": drawn(1), "inner.zip": b"PK"})
    rows, counts = build(tmp_path, raw_params(source(path), maximum_bytes=10**6))
    assert counts["large_entries"] == 1
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("set.zip", b"no archive", "no zip, tar or 7z"),
        ("set.7z", b"7z\xbc\xaf\x27\x1c" + b"\xff" * 64, "damaged or packed"),
        ("set.tar.xz", lzma.compress(b"x" * 1000)[:40], "no zip, tar or 7z"),
    ],
)
def test_what_is_no_archive_is_named_with_a_cure(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(CharaloomError, match=message) as error:
        build(tmp_path, raw_params(source(path)))
    assert name in str(error.value)
    assert "name the folder" in str(error.value)


def test_an_encrypted_archive_says_so(tmp_path):
    path = tmp_path / "set.7z"
    with py7zr.SevenZipFile(path, "w", password="x") as archive:
        archive.writestr(drawn(1), "a.png")
    with pytest.raises(CharaloomError, match="encrypted"):
        build(tmp_path, raw_params(source(path)))


def test_plain_names_keep_files_that_belong_together():
    pairs = [("b c.png", "b c.txt"), ("\u00e9.png", "\u00e9.png.txt"), ("x" * 300 + ".png", "x" * 300 + ".txt")]
    for picture, side in pairs:
        first, second = unpacking.plain_name(picture), unpacking.plain_name(side)
        assert first.partition(".")[0] == second.partition(".")[0]
        assert len(first.encode()) < 200
    assert unpacking.plain_name(".a b_meta.json").startswith(".")
    assert "/" not in unpacking.plain_name("a/b.png")


# ---- datasets


def test_a_kohya_folder_and_its_captions(tmp_path):
    folder = tmp_path / "set" / "10_hana"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(drawn(1))
    (folder / "a.txt").write_text("hana, 1girl, red hat")
    rows, _ = build(tmp_path, raw_params(source(tmp_path / "set", "dataset")))
    (row,) = rows
    assert row["posts"][0]["tags_general"] == ["hana", "1girl", "red_hat"]
    assert row["posts"][0]["site"] == "dataset"


class Payload:
    def __reduce__(self):
        return os.system, (f"touch {Payload.trap}",)


@pytest.mark.parametrize("packed", [True, False])
def test_f8_a_cyberharem_dataset_is_read_without_unpickling(tmp_path, packed):
    Payload.trap = tmp_path / "executed"
    poison = {"__type": "x", "base64": base64.b64encode(pickle.dumps(Payload())).decode()}
    meta = {
        "tags": {"red hat": 0.9, "1girl": 1.0},
        "danbooru": {
            "id": 7,
            "rating": "g",
            "tag_string_artist": "somebody",
            "tag_string_character": "hana",
            "score": 3,
        },
        "url": "https://x.example/?api_key=canary",
        "ccip_feature": poison,
    }
    bad = {**meta, "danbooru": {"id": 8, "rating": "e"}}
    files = {
        "a.png": drawn(1), ".a_meta.json": json.dumps(meta).encode(),
        "b.png": drawn(2), ".b_meta.json": json.dumps(bad).encode(), "c.png": drawn(3), ".c_meta.json": b"{",
    }  # fmt: skip
    if packed:
        place = pack(tmp_path / "dataset-raw.zip", files)
    else:
        place = tmp_path / "dataset"
        place.mkdir()
        for name, data in files.items():
            (place / name).write_bytes(data)
    rows, _ = build(tmp_path, raw_params(source(place, "dataset")))
    posts = {post_id: (row["problem"], post) for post_id, (row, post) in by_id(rows).items()}
    assert posts["a.png"][1]["artists"] == ["somebody"]
    assert posts["a.png"][1]["tags_general"] == ["red_hat", "1girl"]
    assert posts["a.png"][1]["rating"] == "general"
    assert posts["b.png"][0] == "rating explicit: not downloaded"
    assert posts["c.png"][0].startswith("rating unknown: .c_meta.json is no valid JSON")
    assert not Payload.trap.exists()
    assert b"canary" not in (tmp_path / "raw.parquet").read_bytes()


def test_a_dataset_of_ours_is_rebuilt_exactly(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = {"site": "danbooru", "post_id": "5", "page_url": "https://x/5", "source": None, "rating": "general",
             "md5": None, "created": "2025", "artists": ["somebody"]}  # fmt: skip
    rows = [
        {"image": {"bytes": drawn(number), "path": "x.png"}, "posts": [{**known, "post_id": str(number)}],
         "picture": "ab", "tags": ["1girl", "hat"], "view": f"ab/{number}", "rating": "general", "text": "x"}
        for number in range(40)
    ]  # fmt: skip
    (tmp_path / "data").mkdir()
    for split, part in (("train", rows[:30]), ("held_out", rows[30:])):
        pq.write_table(pa.Table.from_pylist(part), tmp_path / "data" / f"{split}-00000.parquet")
    result, _ = build(tmp_path, raw_params(source(tmp_path / "data", "dataset")))
    assert {row["bytes"] for row in result} == {row["image"]["bytes"] for row in rows}
    (row,) = (row for row in result if row["bytes"] == drawn(3))
    (post,) = row["posts"]
    assert (post["site"], post["post_id"], post["artists"]) == ("danbooru", "3", ["somebody"])
    assert post["tags_general"] == ["1girl", "hat"]
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(CharaloomError, match="has no column of pictures"):
        build(tmp_path, raw_params(source(tmp_path / "other.parquet", "dataset")))


# ---- video


def scene(number, size):
    """A drawn scene: flat colours and a figure, different for each number."""
    rng = numpy.random.default_rng(number)
    picture = numpy.empty((*size, 3), numpy.uint8)
    picture[:] = rng.integers(0, 255, 3)
    for _ in range(12):
        top, left = rng.integers(0, size[0] - 20), rng.integers(0, size[1] - 20)
        picture[top : top + rng.integers(10, size[0] // 2), left : left + rng.integers(10, size[1] // 2)] = (
            rng.integers(0, 255, 3)
        )
    return picture


def draw_video(path, scenes, seconds=2.0, rate=12, size=(96, 128)):
    """Anime-like: still backgrounds, a small thing that moves, hard cuts, a fade from black, one scene shown twice."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.bit_rate = 2_000_000
        for number in scenes:
            base = scene(number, size)
            for step in range(int(seconds * rate)):
                picture = base.copy()
                picture[10:16, 4 + step % 60 : 10 + step % 60] = 255
                if step < 4:
                    picture = (picture * ((step + 1) / 5)).astype(numpy.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_a_video_gives_a_frame_of_every_scene_and_the_same_bytes_twice(tmp_path):
    path = draw_video(tmp_path / "film.mp4", [*range(20), 3, 7])
    rows, counts = build(tmp_path / "one", raw_params(source(path, "video")))
    pictures = [row for row in rows if row["problem"] is None]
    assert 20 <= len(pictures) <= 24
    assert counts["scenes"] >= 20
    times = sorted(int(post_id) / 1000 for post_id in by_id(rows))
    assert {int(time // 2) for time in times} >= set(range(20))
    build(tmp_path / "two", raw_params(source(path, "video")))
    first, second = ((tmp_path / name / "raw.parquet").read_bytes() for name in ("one", "two"))
    assert first == second


def write_video(path, frames, times=None, format=None, options=None):
    """A video of frames, each at its time in seconds, or 24 a second."""
    import av

    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream("mpeg4" if format is None else "libx264", rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if options:
            stream.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio = options
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = int((times[number] if times else number / 24) * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames_of(tmp_path, path):
    rows, _ = build(tmp_path, raw_params(source(path, "video")))
    return [Image.open(io.BytesIO(row["bytes"])) for row in rows if row["problem"] is None]


SIZE = (96, 128)


@pytest.mark.parametrize(
    ("frames", "times", "number"),
    [
        ([0], None, 1),
        ([0, 0, 0], None, 1),
        ([0] * 12, None, 1),
        ([0, 1, 2, 3], [0, 2, 5, 20], 4),
        ([0, 1, 2, 3] * 12, None, 1),
    ],
)
def test_short_and_uneven_videos_give_what_they_show(tmp_path, frames, times, number):
    path = write_video(tmp_path / "film.mp4", [scene(frame, SIZE) for frame in frames], times)
    assert len(frames_of(tmp_path, path)) >= number


def test_a_scene_that_never_stands_still_gives_a_frame(tmp_path):
    path = write_video(tmp_path / "pan.mp4", [numpy.roll(scene(1, SIZE), 2 * step, 1) for step in range(120)])
    assert frames_of(tmp_path, path)


def test_a_video_without_times_is_read(tmp_path):
    path = write_video(tmp_path / "film.h264", [scene(step // 24, SIZE) for step in range(72)], format="h264")
    assert len(frames_of(tmp_path, path)) >= 2


def test_frames_stand_upright_with_square_pixels(tmp_path):
    upright = scene(5, SIZE)
    path = write_video(tmp_path / "film.mp4", [upright] * 24)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    assert struct.unpack(">9i", data[matrix : matrix + 36])[0] == 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 96 << 16, 0, 1 << 30)
    path.write_bytes(data)
    (turned,) = frames_of(tmp_path / "turned", path)
    assert abs(numpy.asarray(turned).astype(int) - numpy.rot90(upright, -1)).mean() < 12
    wide = write_video(tmp_path / "wide.mp4", [upright] * 24, options=Fraction(4, 3))
    (image,) = frames_of(tmp_path / "wide", wide)
    assert image.size == (128, 72)


@pytest.mark.parametrize("data", [b"no video", struct.pack(">I", 8) + b"ftypmp42" + b"\0" * 100, b""])
def test_what_is_no_video_is_named_with_a_cure(tmp_path, data):
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    with pytest.raises(CharaloomError, match=r"film\.mp4: .* name the folder"):
        build(tmp_path, raw_params(source(path, "video")))


def test_a_video_that_is_cut_short_gives_what_it_has(tmp_path):
    path = draw_video(tmp_path / "film.avi", range(6))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    rows, _ = build(tmp_path, raw_params(source(path, "video")))
    assert len(rows) >= 2
