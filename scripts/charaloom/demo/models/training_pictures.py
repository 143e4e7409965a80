"""What the demo's picture models learn from: people drawn as in the demo world, whom no world holds.

The pool is drawn once and lies as one run of bytes (`pictures.bin`) beside a list of what is in it (`pictures.json`).
`Views` cuts pictures and persons out of it, the way imgutils will hand them over, and roughens them: small, blurred,
recompressed, off in colour, as samples of a small diffusion model are.
"""

import io
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from charaloom.demo.world import building as world
from charaloom.demo.world import cast
from charaloom.demo.world.cast import Character
from charaloom.demo.world.drawing import draw_group

SEED = 910_000_001  # far from the seeds of any demo world
STYLES = {"cel": 0.7, "pastel": 0.1, "ink": 0.1, "watercolor": 0.1}
DRAWN_AT = 0.75  # of the world's sizes: the models reduce further, and drawing is half of the cost
KINDS = ("person", "halfbody", "head", "face")
Box = tuple[float, float, float, float]
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Numbers:
    """How much is drawn."""

    characters: int = 1400
    pictures: int = 8  # of each character alone
    groups: int = 1500


def style_of(rng: Random) -> str:
    return rng.choices(list(STYLES), list(STYLES.values()))[0]


def size_of(rng: Random) -> tuple[int, int]:
    width, height = rng.choice(world.SIZES)
    return round(width * DRAWN_AT), round(height * DRAWN_AT)


def strangers(seed: int, number: int) -> list[Character]:
    rng = Random(seed)
    return [cast.draw_character(rng, "stranger", outfits=3) for _ in range(number)]


class Pool:
    """Pictures and facts on disk. A fact: size, offset, tags, people [{who, tags, boxes}] with boxes in pixels."""

    def __init__(self, folder: Path):
        self.facts: list[dict[str, Any]] = json.loads((folder / "pictures.json").read_text())
        self.bytes = np.memmap(folder / "pictures.bin", np.uint8, "r")
        self.alone = [k for k, fact in enumerate(self.facts) if len(fact["people"]) == 1]
        self.groups = [k for k, fact in enumerate(self.facts) if len(fact["people"]) > 1]
        self.of: dict[int, list[tuple[int, int]]] = defaultdict(list)  # who: (picture, person in it)
        for k, fact in enumerate(self.facts):
            for j, person in enumerate(fact["people"]):
                self.of[person["who"]].append((k, j))

    def picture(self, k: int) -> Image.Image:
        width, height = self.facts[k]["size"]
        start = self.facts[k]["offset"]
        return Image.fromarray(np.asarray(self.bytes[start : start + width * height * 3]).reshape(height, width, 3))


def draw_pool(folder: Path, seed: int, numbers: Numbers, progress: Progress) -> Pool:
    """Draw the pool, or take the one that is there."""
    if not (folder / "pictures.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng, people = Random(seed), strangers(seed + 1, numbers.characters)
        facts: list[dict[str, Any]] = []
        with (folder / "pictures.bin").open("wb") as out:
            for who in range(numbers.characters * numbers.pictures):
                keep(out, facts, *one_alone(rng, people, who % numbers.characters))
                progress(len(facts), "")
            for _ in range(numbers.groups):
                keep(out, facts, *a_group(rng, people))
                progress(len(facts), "")
        (folder / "pictures.json").write_text(json.dumps(facts))
    return Pool(folder)


def keep(out: Any, facts: list[dict[str, Any]], picture: Image.Image, fact: dict[str, Any]) -> None:
    facts.append({"size": picture.size, "offset": out.tell(), **fact})
    out.write(picture.tobytes())


def one_alone(rng: Random, people: list[Character], who: int) -> tuple[Image.Image, dict[str, Any]]:
    """A picture of one person in their own clothes or, one time in four, in somebody else's."""
    somebody = people[who]
    outfit = rng.choice((somebody if rng.random() < 0.75 else rng.choice(people)).outfits)
    staging, background, style = cast.draw_staging(rng), rng.choice(cast.BACKGROUNDS), style_of(rng)
    picture, boxes = draw_group([(somebody, outfit, staging)], background, style, size_of(rng), rng)
    tags = cast.picture_tags(somebody, outfit, staging, background, style)
    return picture, {"tags": tags, "people": [{"who": who, "tags": tags, "boxes": boxes[0]}]}


def a_group(rng: Random, people: list[Character]) -> tuple[Image.Image, dict[str, Any]]:
    """Two or three people side by side."""
    company = rng.sample(range(len(people)), rng.choice((2, 2, 3)))
    framing, background, style = rng.choice(cast.FRAMINGS[1:]), rng.choice(cast.BACKGROUNDS), style_of(rng)
    staged = []
    for who in company:
        pose = "arms_at_sides" if rng.random() < 0.8 else rng.choice(cast.POSES)
        staging = replace(cast.draw_staging(rng, framing), pose=pose)
        staged.append((people[who], rng.choice(people[who].outfits), staging))
    size = (round(rng.choice((170, 200, 230)) * DRAWN_AT) * len(company), round(320 * DRAWN_AT))
    picture, boxes = draw_group(staged, background, style, size, rng)
    own = [cast.picture_tags(*person, background, style) for person in staged]
    tags = [f"{len(company)}girls", "multiple_girls", *dict.fromkeys(tag for tags in own for tag in tags[2:])]
    entries = [{"who": w, "tags": t, "boxes": b} for w, t, b in zip(company, own, boxes, strict=True)]
    return picture, {"tags": tags, "people": entries}


# -------------------------------------------------------------------------------------------------------------- views


def roughen(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lose what pictures lose on their way: size, sharpness, and what JPEG drops."""
    width, height = picture.size
    if rng.random() < 0.45:
        share = rng.uniform(0.3, 0.9)
        small = picture.resize((round(width * share), round(height * share)), Image.BILINEAR)
        picture = small.resize((width, height), rng.choice([Image.BILINEAR, Image.BICUBIC]))
    if rng.random() < 0.35:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.5)))
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(35, 93)))
        picture = Image.open(buffer).convert("RGB")
    return picture


def soften(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What a small diffusion model's samples look like: all there, nothing sharp."""
    small = picture.resize([round(side * rng.uniform(0.3, 0.75)) for side in picture.size], Image.BILINEAR)
    large = small.resize(picture.size, rng.choice([Image.BILINEAR, Image.BICUBIC]))
    return roughen(large, rng) if rng.random() < 0.5 else large


def generated_look(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """`world.look_generated` at the pool's scale."""
    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase, wave, reach = rng.uniform(0, 6), rng.uniform(14, 22) * DRAWN_AT, 2.6 * DRAWN_AT
    sx = np.clip(x + reach * np.sin(y / wave * 3 + phase), 0, width - 1).astype(int)
    sy = np.clip(y + reach * np.sin(x / wave * 3 + phase), 0, height - 1).astype(int)
    waved = Image.fromarray(pixels[sy, sx])
    return Image.blend(waved, waved.filter(ImageFilter.GaussianBlur(5 * DRAWN_AT)), 0.4)


def squeeze(picture: Image.Image, edge: int, rng: np.random.Generator) -> Image.Image:
    """To a square without regard to its shape, as imgutils does for most models."""
    return picture.resize((edge, edge), rng.choice([Image.BILINEAR, Image.BOX, Image.BICUBIC]))


def on_white(picture: Image.Image) -> Image.Image:
    """Centred on a white square, as the tagger sees it."""
    edge = max(picture.size)
    sheet = Image.new("RGB", (edge, edge), (255, 255, 255))
    sheet.paste(picture, ((edge - picture.width) // 2, (edge - picture.height) // 2))
    return sheet


def cut_person(picture: Image.Image, box: Box, rng: np.random.Generator, loose: float = 0.07) -> Image.Image:
    """The box with edges as unsure as a detector's."""
    width, height = box[2] - box[0], box[3] - box[1]
    by = rng.uniform(-loose, loose, 4) * (width, height, width, height)
    x0, y0 = max(0, box[0] + by[0]), max(0, box[1] + by[1])
    x1, y1 = min(picture.width, box[2] + by[2]), min(picture.height, box[3] + by[3])
    return picture.crop((round(x0), round(y0), max(round(x1), round(x0) + 8), max(round(y1), round(y0) + 8)))


def as_batch(pictures: list[Image.Image], rng: np.random.Generator, colours: float = 0.12) -> tuple[Any, np.ndarray]:
    """Pictures of one size to a tensor [n, 3, h, w] in -1..1, colours and noise astray; and which were mirrored."""
    import torch

    batch = np.stack([np.asarray(picture) for picture in pictures]).astype(np.float32) / 127.5 - 1
    number = len(batch)
    flipped = rng.random(number) < 0.5
    batch[flipped] = batch[flipped, :, ::-1]
    grey = batch.mean(axis=3, keepdims=True)
    how = rng.uniform(-1, 1, (3, number, 1, 1, 1)).astype(np.float32) * colours
    how *= rng.random((1, number, 1, 1, 1)) < 0.6
    batch = (grey + (batch - grey) * (1 + 1.5 * how[0])) * (1 + how[1]) + how[2]
    noisy = np.flatnonzero(rng.random(number) < 0.4)
    noise = rng.standard_normal((len(noisy), *batch.shape[1:]), dtype=np.float32)
    batch[noisy] += noise * rng.uniform(0, 0.09, (len(noisy), 1, 1, 1)).astype(np.float32)
    tensor = torch.from_numpy(np.clip(batch, -1, 1)).permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=torch.channels_last), flipped


def greyed(picture: Image.Image) -> Image.Image:
    return ImageOps.autocontrast(ImageOps.grayscale(picture)).convert("RGB")


def comic_page(pool: Pool, rng: np.random.Generator, edge: int = 150) -> tuple[Image.Image, list[dict[str, Box]]]:
    """A page of four pool pictures as panels, and the boxes of the people in it."""
    chosen = [int(k) for k in rng.choice(pool.alone, 4)]
    panels = [pool.picture(k).resize((edge, edge), Image.BILINEAR) for k in chosen]
    page = world.draw_comic(Random(int(rng.integers(2**31))), panels)
    people = []
    for place, k in enumerate(chosen):
        corner = (10 + (place % 2) * (edge + 10), 10 + (place // 2) * (edge + 10))
        share = [edge / side for side in pool.facts[k]["size"]]
        boxes = pool.facts[k]["people"][0]["boxes"]
        people.append({kind: moved(boxes[kind], share, corner) for kind in KINDS})
    return page, people


def moved(box: Box, share: list[float], corner: tuple[float, float]) -> Box:
    x0, y0, x1, y1 = box
    return x0 * share[0] + corner[0], y0 * share[1] + corner[1], x1 * share[0] + corner[0], y1 * share[1] + corner[1]


def placeholder(rng: np.random.Generator) -> Image.Image:
    """A sheet of one colour, as boards show in place of what they do not show."""
    return Image.new("RGB", (64, 64), tuple(int(v) for v in rng.integers(20, 236, 3)))


def empty_scene(rng: np.random.Generator) -> Image.Image:
    """A background without anybody."""
    from charaloom.demo.world.backgrounds import draw_background

    return draw_background(str(rng.choice(cast.BACKGROUNDS)), (192, 192), Random(int(rng.integers(2**31))))
