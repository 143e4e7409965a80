"""A world of two dozen posts with one of each oddity, drawn here."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

TAG = "hana_(demo)"
GOOD = range(101, 113)
DUPLICATE, BROKEN, GONE, NO_FILE, BANNED, QUESTIONABLE, SENSITIVE, SAMPLE, VIDEO, SECRET, PAGE, SHY = range(113, 125)
OTHER = 200
USABLE_PICTURES = len(GOOD) + 3  # the sample's original, the one behind a secret URL, the shy artist's


def drawn(seed: int, kind: str = "PNG") -> bytes:
    noise = numpy.random.default_rng(seed).integers(0, 255, (48, 40, 3)).astype(numpy.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def write_world(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    posts = [make_post(folder, number) for number in (*GOOD, *range(DUPLICATE, SHY + 1), OTHER)]
    text = "".join(json.dumps(post) + "\n" for post in posts)
    (folder / "posts.jsonl").write_text(text, encoding="utf-8")
    return folder


def make_post(folder: Path, number: int) -> dict[str, Any]:
    kind = ("PNG", "JPEG", "WEBP")[number % 3] if number in GOOD else "PNG"
    extension = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}[kind]
    data = drawn(GOOD[0], "WEBP" if GOOD[0] % 3 == 2 else "PNG") if number == DUPLICATE else drawn(number, kind)
    if number == DUPLICATE:
        extension = "webp" if GOOD[0] % 3 == 2 else "png"
    post = described(number, data, extension)
    path = folder / "data" / Path(post["file_url"].partition("?")[0]).name
    if number == GONE:
        return post
    if number in (NO_FILE, BANNED):
        post["is_banned"] = number == BANNED
        return {key: value for key, value in post.items() if number == BANNED or key not in ("md5", "file_url")}
    path.write_bytes(data[: len(data) // 2] if number == BROKEN else data)
    if number == PAGE:
        path.write_bytes(b"<!DOCTYPE html><title>log in</title>")
    if number == SAMPLE:
        sample = folder / "data" / f"sample-{post['md5']}.jpg"
        sample.write_bytes(drawn(number, "JPEG"))
        post["large_file_url"] = f"/data/{sample.name}"
        variants = [{"type": "sample", "url": post["large_file_url"]}, {"type": "original", "url": post["file_url"]}]
        post["media_asset"] = {"variants": variants}
    return post


def described(number: int, data: bytes, extension: str) -> dict[str, Any]:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    secret = "?api_key=canary&login=canary&v=1" if number == SECRET else ""
    artist = "shy_artist" if number == SHY else "some_artist"
    character = "rin_(demo)" if number == OTHER else TAG
    general = ["1girl", "smile", "solo"]
    return {
        "id": number,
        "created_at": f"2025-01-01T00:{number % 60:02}:00.000+00:00",
        "score": number - 100,
        "up_score": number,
        "down_score": -100,
        "fav_count": 3,
        "source": "https://user:canary@example.com/art?token=canary&id=7" if number == SECRET else "",
        "md5": md5,
        "rating": {QUESTIONABLE: "q", SENSITIVE: "s"}.get(number, "g"),
        "image_width": 40,
        "image_height": 48,
        "file_ext": "mp4" if number == VIDEO else extension,
        "file_size": len(data),
        "parent_id": 101 if number == DUPLICATE else None,
        "has_children": False,
        "is_banned": False,
        "is_deleted": False,
        "tag_string": " ".join([*general, character, artist, "demo_world", "highres"]),
        "tag_string_general": " ".join(general),
        "tag_string_character": character,
        "tag_string_copyright": "demo_world",
        "tag_string_artist": artist,
        "tag_string_meta": "highres",
        "file_url": f"/data/{md5}.{'mp4' if number == VIDEO else extension}{secret}",
        "large_file_url": f"/data/{md5}.{extension}",
        "preview_file_url": f"/data/{md5}.{extension}",
    }
