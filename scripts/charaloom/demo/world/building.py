"""Draws a whole board from a seed: posts as Danbooru's API gives them, their files, a roster and the ground truth.

The truth stands in `truth.json` beside the world and is read by scoring and tests alone; every other part of Charaloom
sees what the board serves.
"""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

from charaloom.artifacts.files import whole_folder, write_json, write_text
from charaloom.demo.world import cast
from charaloom.demo.world.cast import Character, Outfit, Staging
from charaloom.demo.world.drawing import draw_group

SIZES = ((256, 256), (224, 288), (256, 320), (288, 224), (240, 240), (256, 304))
ARTISTS = ("amanogawa", "bluebird9", "cinnamon_roll", "dotted_line", "eiko_draws", "fuwafuwa", "gekkou", "hatsuyuki")
COPYRIGHT = "charaloom_(series)"
# Posts of each kind of a character, of 190; the rest are good pictures of the character.
FAULTS = {
    "exact_duplicate": 5,
    "reencoded_duplicate": 7,
    "cropped_duplicate": 5,
    "other_character": 9,
    "several_people": 9,
    "cosplays_another": 6,
    "cosplayed_by_another": 6,
    "tiny": 5,
    "monochrome": 5,
    "comic": 5,
    "ai_made": 6,
    "higher_rating": 6,
    "sensitive_rating": 4,
    "missing_file": 3,
    "no_file_url": 2,
    "broken_file": 3,
}
EXTRAS = 6  # characters of a world that have no search of their own
# Kinds for which keeping and dropping are both right: a crop of a group picture may show the character alone.
EITHER = ("several_people",)


@dataclass
class Post:
    """One post before it has an id: its file's bytes (None where the board has none), tags and the truth about it."""

    data: bytes | None
    extension: str
    size: tuple[int, int]
    rating: str
    general: list[str]
    characters: list[str]
    artist: str
    people: list[dict[str, Any]]
    faults: list[str]
    keep_for: list[str]
    meta: list[str] = field(default_factory=list)
    parent: "Post | None" = None
    served: bool = True  # false: the file's address answers 404
    sample: bytes | None = None
    true_tags: list[str] = field(default_factory=list)
    post_id: int = 0
    kinds: tuple[str, ...] = ()  # what is hard about it, in a hard world

    @property
    def md5(self) -> str:
        return hashlib.md5(self.data or str(self.post_id).encode(), usedforsecurity=False).hexdigest()


def build_world(folder: Path, seed: int, characters: int = 2, posts: int = 190) -> None:
    """Draw a world into `folder`, whole or not at all: posts.jsonl, data/, characters.tsv, truth.json."""
    rng = Random(seed)
    stars, extras = cast_of(rng, characters)
    made: list[Post] = []
    for star in stars:
        made += character_posts(rng, star, [*stars, *extras], posts)
    for extra in extras:
        made += [good_post(rng, extra, rng.choice(extra.outfits)) for _ in range(8)]
    rng.shuffle(made)
    number(made, rng)
    with whole_folder(folder) as part:
        write_board(part, made)
        write_roster(part / "characters.tsv", stars)
        write_json(part / "truth.json", truth(seed, stars, made))


def cast_of(rng: Random, characters: int) -> tuple[list[Character], list[Character]]:
    """The characters that a world is about, and those who only appear beside them; first draw of a world's `rng`."""
    people = cast.draw_cast(rng, characters + EXTRAS)
    return people[:characters], people[characters:]


def character_posts(rng: Random, star: Character, everybody: list[Character], posts: int) -> list[Post]:
    """All posts that a search for the character's tag finds: good pictures and every fault in its number."""
    others = [person for person in everybody if person.name != star.name]
    counts = {fault: max(1, round(count * posts / 190)) for fault, count in FAULTS.items()}
    good_count = posts - sum(counts.values())
    weights = [1.0, 0.75, 0.6, 0.5][: len(star.outfits)]
    outfits = [star.outfits[k % len(star.outfits)] for k in range(4 * len(star.outfits))]
    outfits += rng.choices(star.outfits, weights, k=good_count)
    good = [good_post(rng, star, outfit) for outfit in outfits[:good_count]]
    made = list(good)
    for fault, count in counts.items():
        made += [FAULT_POSTS[fault](rng, star, others, good) for _ in range(count)]
    return made


# ---------------------------------------------------------------------------------------------------- single pictures


def artist_of(rng: Random) -> tuple[str, str]:
    """An artist and the style they draw in."""
    artist = rng.choices(ARTISTS, (4, 4, 4, 4, 2, 1, 1, 1))[0]
    return artist, {"fuwafuwa": "pastel", "gekkou": "ink", "hatsuyuki": "watercolor"}.get(artist, "cel")


def render(
    rng: Random, people: list[tuple[Character, Outfit, Staging]], background: str, style: str, size: tuple[int, int]
) -> tuple[Image.Image, list[dict[str, Any]]]:
    """The picture and the truth about each person in it."""
    picture, boxes = draw_group(people, background, style, size, rng)
    facts = []
    for (somebody, outfit, _), parts in zip(people, boxes, strict=True):
        rounded = {f"{part}_box" if part != "person" else "box": [round(v) for v in box] for part, box in parts.items()}
        facts.append({"character": somebody.name, "outfit": outfit.name, **rounded})
    return picture, facts


def encode(picture: Image.Image, extension: str, quality: int = 92, info: PngInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    if extension == "png":
        picture.save(buffer, "PNG", compress_level=6, pnginfo=info)
    elif extension == "jpg":
        picture.save(buffer, "JPEG", quality=quality)
    else:
        picture.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def noisy(rng: Random, tags: list[str]) -> list[str]:
    """Tags as boards have them: some forgotten, a wrong one now and then."""
    kept = [tag for tag in tags if tag in ("1girl", "solo") or rng.random() > 0.12]
    if rng.random() < 0.08:
        kept.append(rng.choice(("hat", "weapon", "wind", "tree", "skirt_hold", "jewelry")))
    return kept


def good_post(rng: Random, somebody: Character, outfit: Outfit, size: tuple[int, int] | None = None) -> Post:
    artist, style = artist_of(rng)
    staging, background = cast.draw_staging(rng), rng.choice(cast.BACKGROUNDS)
    picture, people = render(rng, [(somebody, outfit, staging)], background, style, size or rng.choice(SIZES))
    extension = rng.choices(("png", "jpg", "webp"), (5, 4, 1))[0]
    tags = cast.picture_tags(somebody, outfit, staging, background, style)
    sample = encode(picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)), "jpg", 85)
    return Post(
        data=encode(picture, extension),
        extension=extension,
        size=picture.size,
        rating="g",
        general=noisy(rng, tags),
        characters=[somebody.tag],
        artist=artist,
        people=people,
        faults=[],
        keep_for=[somebody.name],
        meta=["highres"] if rng.random() < 0.2 else [],
        sample=sample if picture.width >= 256 else None,
        true_tags=tags,
    )


def picture_of(post: Post) -> Image.Image:
    assert post.data is not None
    return Image.open(io.BytesIO(post.data)).convert("RGB")


# -------------------------------------------------------------------------------------------------------------- faults

FaultPost = Callable[[Random, Character, list[Character], list[Post]], Post]


def faulty(post: Post, fault: str, keep_for: list[str] | None = None, **changes: Any) -> Post:
    return replace(post, faults=[fault], keep_for=keep_for or [], **changes)


def exact_duplicate(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """The same bytes again under another id: one picture, so it stays right to keep it."""
    original = rng.choice(good)
    return faulty(
        original, "exact_duplicate", keep_for=[star.name], parent=original, general=noisy(rng, original.general)
    )


def reencoded_duplicate(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    original = rng.choice(good)
    share = rng.uniform(0.85, 0.97)
    picture = picture_of(original)
    picture = picture.resize((round(picture.width * share), round(picture.height * share)), Image.BICUBIC)
    data = encode(picture, "jpg", rng.randint(70, 85))
    return faulty(original, "reencoded_duplicate", parent=original, data=data, extension="jpg", size=picture.size)


def cropped_duplicate(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    original = rng.choice(good)
    picture = picture_of(original)
    cut = [rng.uniform(0.0, 0.09) * edge for edge in (picture.width, picture.height)]
    box = (round(cut[0]), round(cut[1]), picture.width - round(cut[0] / 2), picture.height - round(cut[1]))
    picture = picture.crop(box)
    people = [shifted(person, -box[0], -box[1]) for person in original.people]
    data = encode(picture, "png")
    return faulty(
        original, "cropped_duplicate", parent=original, data=data, extension="png", size=picture.size, people=people
    )


def shifted(person: dict[str, Any], dx: int, dy: int) -> dict[str, Any]:
    def move(box: list[int]) -> list[int]:
        return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy]

    return {key: move(value) if key.endswith("box") else value for key, value in person.items()}


def other_character(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """Somebody else under the character's tag."""
    stranger = rng.choice(others)
    post = good_post(rng, stranger, rng.choice(stranger.outfits))
    return faulty(post, "other_character", characters=[star.tag])


def several_people(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    company = [star, *rng.sample(others, rng.choice((1, 1, 2)))]
    rng.shuffle(company)
    artist, style = artist_of(rng)
    framing, background = rng.choice(("upper_body", "cowboy_shot")), rng.choice(cast.BACKGROUNDS)
    staged = [
        (p, rng.choice(p.outfits), replace(cast.draw_staging(rng, framing), pose="arms_at_sides")) for p in company
    ]
    size = (rng.choice((200, 230)) * len(company), 320)
    picture, people = render(rng, staged, background, style, size)
    tags = [f"{len(company)}girls", "multiple_girls"]
    for somebody, outfit, staging in staged:
        tags += cast.picture_tags(somebody, outfit, staging, background, style)[2:]
    tags = list(dict.fromkeys(tags))
    return Post(
        data=encode(picture, "jpg", 94),
        extension="jpg",
        size=picture.size,
        rating="g",
        general=noisy(rng, tags),
        characters=[person.tag for person in company],
        artist=artist,
        people=people,
        faults=["several_people"],
        keep_for=[],
        true_tags=tags,
    )


def cosplays_another(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """The character wears another's clothes."""
    owner = rng.choice(others)
    post = good_post(rng, star, rng.choice(owner.outfits))
    general = [*post.general, "cosplay"]
    cosplay = f"{owner.name}_(charaloom)_(cosplay)"
    return faulty(post, "cosplays_another", general=general, characters=[star.tag, cosplay])


def cosplayed_by_another(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """Another wears the character's clothes, and boards tag both."""
    wearer = rng.choice(others)
    post = good_post(rng, wearer, rng.choice(star.outfits))
    cosplay = f"{star.name}_(charaloom)_(cosplay)"
    return faulty(
        post, "cosplayed_by_another", general=[*post.general, "cosplay"], characters=[wearer.tag, star.tag, cosplay]
    )


def tiny(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    side = rng.choice((48, 56, 64, 72))
    post = good_post(rng, star, rng.choice(star.outfits), size=(side, side))
    return faulty(post, "tiny", meta=["lowres"], sample=None)


def monochrome(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    post = good_post(rng, star, rng.choice(star.outfits))
    picture = ImageOps.autocontrast(ImageOps.grayscale(picture_of(post))).convert("RGB")
    general = [tag for tag in post.general if not colour_tag(tag)] + ["monochrome", "greyscale"]
    return faulty(post, "monochrome", data=encode(picture, "png"), extension="png", general=general, sample=None)


def colour_tag(tag: str) -> bool:
    return tag.split("_")[0] in {*cast.HAIR_COLOURS, *cast.CLOTH_COLOURS, "aqua"}


def comic(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """A page of panels with speech bubbles."""
    panels = [
        good_post(rng, rng.choice([star, star, rng.choice(others)]), rng.choice(star.outfits), (150, 150))
        for _ in range(4)
    ]
    page = draw_comic(rng, [picture_of(panel) for panel in panels])
    tags = ["comic", "speech_bubble", "multiple_views", *panels[0].general]
    changes = {"data": encode(page, "png"), "extension": "png", "size": page.size, "people": [], "sample": None}
    return faulty(panels[0], "comic", general=tags, characters=[star.tag], **changes)


def draw_comic(rng: Random, panels: list[Image.Image]) -> Image.Image:
    """Four square panels on a white page, framed in black, with a bubble each."""
    edge, gap = panels[0].width, 10
    page = Image.new("RGB", (2 * edge + 3 * gap, 2 * edge + 3 * gap), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    for k, panel in enumerate(panels):
        x, y = gap + (k % 2) * (edge + gap), gap + (k // 2) * (edge + gap)
        page.paste(panel, (x, y))
        pen.rectangle((x, y, x + edge, y + edge), outline=(0, 0, 0), width=3)
        bx, by = x + edge * rng.uniform(0.05, 0.45), y + edge * rng.uniform(0.04, 0.12)
        pen.ellipse((bx, by, bx + edge * 0.5, by + edge * 0.28), fill=(255, 255, 255), outline=(0, 0, 0), width=2)
        for line in range(3):
            ly = by + edge * (0.08 + 0.06 * line)
            pen.line((bx + edge * 0.1, ly, bx + edge * rng.uniform(0.3, 0.42), ly), fill=(20, 20, 20), width=2)
    return page


def ai_made(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """The character in the look of early image models; half of them still carry their generation parameters."""
    post = good_post(rng, star, rng.choice(star.outfits))
    info = None
    if rng.random() < 0.5:
        info = PngInfo()
        info.add_text(
            "parameters", f"1girl, {star.name}\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {rng.getrandbits(31)}"
        )
    picture = look_generated(rng, picture_of(post))
    general = [*post.general, "ai-generated"] if rng.random() < 0.7 or info is None else post.general
    return faulty(
        post, "ai_made", data=encode(picture, "png", info=info), extension="png", general=general, sample=None
    )


def look_generated(rng: Random, picture: Image.Image) -> Image.Image:
    """Waves through the lines and a glow over everything."""
    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(float)
    phase, wave = rng.uniform(0, 6), rng.uniform(14, 22)
    sx = np.clip(x + 2.6 * np.sin(y / wave * 3 + phase), 0, width - 1).astype(int)
    sy = np.clip(y + 2.6 * np.sin(x / wave * 3 + phase), 0, height - 1).astype(int)
    waved = Image.fromarray(pixels[sy, sx])
    return Image.blend(waved, waved.filter(ImageFilter.GaussianBlur(5)), 0.4)


def higher_rating(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """A plain coloured placeholder with a rating above the ceiling; nothing indecent is drawn anywhere."""
    picture = Image.new("RGB", (256, 256), rng.choice(((200, 60, 90), (90, 40, 80), (150, 30, 40))))
    post = good_post(rng, star, rng.choice(star.outfits))
    return faulty(
        post, "higher_rating", data=encode(picture, "png"), extension="png", size=picture.size, rating=rng.choice("qe"),
        people=[], sample=None,
    )  # fmt: skip


def sensitive_rating(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """A good picture with a rating that only a user's own setting allows."""
    return faulty(good_post(rng, star, rng.choice(star.outfits)), "sensitive_rating", rating="s")


def missing_file(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    return faulty(good_post(rng, star, rng.choice(star.outfits)), "missing_file", served=False, sample=None)


def no_file_url(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    return faulty(good_post(rng, star, rng.choice(star.outfits)), "no_file_url", data=None, sample=None)


def broken_file(rng: Random, star: Character, others: list[Character], good: list[Post]) -> Post:
    """Cut off in the middle, or an error page under a picture's name."""
    post = good_post(rng, star, rng.choice(star.outfits))
    assert post.data is not None
    data = post.data[: int(len(post.data) * rng.uniform(0.3, 0.8))]
    if rng.random() < 0.34:
        data = f"<!DOCTYPE html><html><body>502 Bad Gateway {rng.getrandbits(32)}</body></html>".encode()
    return faulty(post, "broken_file", data=data, sample=None)


FAULT_POSTS: dict[str, FaultPost] = {
    "exact_duplicate": exact_duplicate,
    "reencoded_duplicate": reencoded_duplicate,
    "cropped_duplicate": cropped_duplicate,
    "other_character": other_character,
    "several_people": several_people,
    "cosplays_another": cosplays_another,
    "cosplayed_by_another": cosplayed_by_another,
    "tiny": tiny,
    "monochrome": monochrome,
    "comic": comic,
    "ai_made": ai_made,
    "higher_rating": higher_rating,
    "sensitive_rating": sensitive_rating,
    "missing_file": missing_file,
    "no_file_url": no_file_url,
    "broken_file": broken_file,
}


# ------------------------------------------------------------------------------------------------------------ the board


def number(posts: list[Post], rng: Random) -> None:
    """Give ids in order, a parent always before its children: the list is sorted in place."""
    ids: dict[int, int] = {}
    posts.sort(key=lambda post: post.parent is not None)
    current = 100_000 + rng.randrange(10_000)
    for post in posts:
        current += rng.randint(1, 40)
        post.post_id = current
        ids[id(post)] = current
    posts.sort(key=lambda post: post.post_id)


def write_board(folder: Path, posts: list[Post]) -> None:
    (folder / "data").mkdir()
    lines = []
    for post in posts:
        if post.data is not None and post.served:
            (folder / "data" / f"{post.md5}.{post.extension}").write_bytes(post.data)
        if post.sample is not None:
            (folder / "data" / f"sample-{post.md5}.jpg").write_bytes(post.sample)
        lines.append(json.dumps(api_post(post, posts), sort_keys=True))
    write_text(folder / "posts.jsonl", "\n".join(lines) + "\n")


def api_post(post: Post, posts: list[Post]) -> dict[str, Any]:
    """A post as GET /posts.json gives it; addresses are relative to the board's root."""
    created = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=post.post_id)
    score = post.post_id * 7919 % 120
    tags = {"general": sorted(set(post.general)), "character": post.characters, "copyright": [COPYRIGHT]}
    tags |= {"artist": [post.artist], "meta": post.meta}
    facts: dict[str, Any] = {
        "id": post.post_id,
        "created_at": created.isoformat(timespec="milliseconds"),
        "score": score,
        "up_score": score,
        "down_score": 0,
        "fav_count": score * 2 // 3,
        "source": f"https://example.org/{post.artist}/{post.post_id}",
        "rating": post.rating,
        "image_width": post.size[0],
        "image_height": post.size[1],
        "file_ext": post.extension,
        "file_size": len(post.data or b""),
        "parent_id": post.parent.post_id if post.parent else None,
        "has_children": any(child.parent is post for child in posts),
        "is_banned": post.data is None,
        "is_deleted": False,
        "tag_string": " ".join(tag for group in tags.values() for tag in group),
        **{f"tag_string_{group}": " ".join(names) for group, names in tags.items()},
    }
    if post.data is None:
        return facts
    original = f"/data/{post.md5}.{post.extension}"
    large = f"/data/sample-{post.md5}.jpg" if post.sample else original
    variants = [
        {"type": "original", "width": post.size[0], "height": post.size[1], "url": original, "file_ext": post.extension}
    ]
    if post.sample:
        width, height = post.size[0] * 3 // 4, post.size[1] * 3 // 4
        variants.insert(0, {"type": "sample", "width": width, "height": height, "url": large, "file_ext": "jpg"})
    addresses = {"md5": post.md5, "file_url": original, "large_file_url": large, "preview_file_url": large}
    return {**facts, **addresses, "media_asset": {"variants": variants}}


def write_roster(path: Path, stars: list[Character]) -> None:
    rows = [f"{star.name}\tdemo\t{star.tag}\t{star.name} charaloom\tadult" for star in stars]
    write_text(path, "\n".join(["character\tsource\tquery\ttrigger\tage", *rows]) + "\n")


def truth(seed: int, stars: list[Character], posts: list[Post]) -> dict[str, Any]:
    """What is so: who is in each post, what is wrong with it, and for whom keeping it is right."""
    characters = {
        star.name: {
            "tag": star.tag,
            "core": list(star.core_tags),
            "outfits": {outfit.name: list(outfit.tags) for outfit in star.outfits},
        }
        for star in stars
    }
    facts = {
        str(post.post_id): {
            "md5": post.md5,
            "faults": post.faults,
            "people": post.people,
            "keep_for": post.keep_for,
            "either_for": [p["character"] for p in post.people] if set(post.faults) & set(EITHER) else [],
            "duplicate_of": post.parent.post_id if post.parent else None,
            "query_of": [
                name.removesuffix("_(charaloom)") for name in post.characters if not name.endswith("_(cosplay)")
            ],
            "tags": post.true_tags,
        }
        for post in posts
    }
    return {"seed": seed, "characters": characters, "posts": facts}
