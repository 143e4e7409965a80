"""Draws one person of the cast: polygons and splines with Pillow, at a multiple of the size and then reduced.

Figures are built in their own units: the head's centre is (0, 0), its radius about 1, y grows downwards, the feet stand
at y = 4. A `Pen` maps those units to pixels, draws in the picture's style and remembers how far each part reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, radians, sin
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from charaloom.demo.world.cast import Character, Outfit, Staging

Point = tuple[float, float]
Colour = tuple[int, int, int]

HAIR = {
    "black": (52, 48, 60),
    "brown": (128, 80, 50),
    "blonde": (246, 214, 110),
    "red": (200, 50, 50),
    "orange": (240, 140, 50),
    "pink": (250, 150, 185),
    "purple": (140, 90, 190),
    "blue": (70, 110, 220),
    "aqua": (100, 210, 220),
    "green": (90, 170, 90),
    "white": (236, 236, 244),
    "grey": (150, 152, 165),
}
EYES = {
    "red": (215, 40, 50),
    "blue": (50, 110, 230),
    "green": (50, 165, 80),
    "purple": (145, 70, 205),
    "yellow": (235, 185, 30),
    "brown": (125, 75, 45),
    "pink": (240, 100, 165),
    "aqua": (50, 195, 205),
}
CLOTH = {
    "red": (205, 45, 55),
    "blue": (50, 85, 190),
    "green": (55, 140, 80),
    "yellow": (245, 205, 70),
    "purple": (125, 75, 175),
    "pink": (245, 150, 190),
    "white": (244, 244, 248),
    "black": (58, 56, 66),
    "orange": (240, 135, 50),
    "brown": (135, 90, 60),
}
SKIN = ((255, 226, 206), (196, 136, 98))
WHITE: Colour = (255, 255, 255)
INK: Colour = (45, 38, 52)
METAL: Colour = (185, 192, 208)
GOLD: Colour = (240, 200, 90)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with `share` of `other`."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def shade(colour: Colour) -> Colour:
    return mix(colour, (60, 40, 90), 0.3)


def light(colour: Colour) -> Colour:
    return mix(colour, WHITE, 0.45)


@dataclass
class Style:
    """How an artist draws: outline width (0 for none) in figure units, and a finish for the whole picture."""

    name: str
    outline: float
    outline_ink: float  # share of black in the outline's colour
    shading: bool

    @classmethod
    def of(cls, name: str, rng: Random) -> "Style":
        """A style with the small differences of one artist's hand."""
        if name == "pastel":
            return cls(name, 0.0, 0.0, False)
        if name == "ink":
            return cls(name, rng.uniform(0.075, 0.095), 1.0, False)
        if name == "watercolor":
            return cls(name, rng.uniform(0.02, 0.03), 0.35, True)
        return cls(name, rng.uniform(0.03, 0.05), 0.6, True)


def finish(picture: Image.Image, style: Style, rng: Random) -> Image.Image:
    """What the style does to the whole picture after it is drawn."""
    if style.name == "pastel":
        return Image.blend(ImageEnhance.Color(picture).enhance(0.75), Image.new("RGB", picture.size, WHITE), 0.28)
    if style.name == "ink":
        return ImageEnhance.Contrast(ImageEnhance.Color(picture).enhance(1.35)).enhance(1.15)
    if style.name == "watercolor":
        return watercolour(picture, rng)
    return picture


def watercolour(picture: Image.Image, rng: Random) -> Image.Image:
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 1, (picture.height // 6 + 1, picture.width // 6 + 1))
    grain = Image.fromarray(np.clip(244 + 7 * noise, 0, 255).astype(np.uint8)).resize(picture.size, Image.BICUBIC)
    washed = Image.blend(picture, Image.new("RGB", picture.size, (250, 244, 230)), 0.14)
    return ImageChops.multiply(washed.filter(ImageFilter.SMOOTH), Image.merge("RGB", (grain, grain, grain)))


@lru_cache(maxsize=4096)
def ring(
    cx: float, cy: float, rx: float, ry: float, start: float = 0, stop: float = 360, steps: int = 28
) -> list[Point]:
    """Points of an arc, in degrees clockwise from the right."""
    angles = (radians(start + (stop - start) * k / steps) for k in range(steps + 1))
    return [(cx + rx * cos(a), cy + ry * sin(a)) for a in angles]


def spline(points: Sequence[Point], steps: int = 6) -> list[Point]:
    """A closed Catmull-Rom curve through the points."""
    return closed_curve(tuple(points), steps)


@lru_cache(maxsize=4096)
def closed_curve(points: tuple[Point, ...], steps: int) -> list[Point]:
    p = np.asarray(points, float)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (x[:, None, :] for x in (before, p, after, beyond))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return [(x, y) for x, y in curve.reshape(-1, 2).tolist()]


def limb(points: Sequence[Point], widths: Sequence[float]) -> list[Point]:
    """A tapering strip along a line of points, as a smooth closed outline."""
    p = np.asarray(points, float)
    along = np.gradient(p, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = np.stack([-along[:, 1], along[:, 0]], 1) * np.asarray(widths)[:, None]
    return spline([(x, y) for x, y in [*(p + across).tolist(), *(p - across)[::-1].tolist()]])


def flip(points: Sequence[Point]) -> list[Point]:
    return [(-x, y) for x, y in points]


class Pen:
    """Draws figure units into a picture: `unit` pixels each, turned and mirrored about the head's centre."""

    def __init__(self, picture: Image.Image, centre: Point, unit: float, staging: Staging, style: Style):
        self.draw = ImageDraw.Draw(picture)
        self.centre, self.unit, self.style = centre, unit, style
        turn = radians(staging.tilt)
        self.cos, self.sin = cos(turn), sin(turn)
        self.side = -1 if staging.mirrored else 1
        self.reach: dict[str, list[Point]] = {}
        self.part = "person"

    def place(self, points: Sequence[Point]) -> list[Point]:
        (cx, cy), u = self.centre, self.unit
        moved = ((self.side * x, y) for x, y in points)
        return [(cx + u * (self.cos * x - self.sin * y), cy + u * (self.sin * x + self.cos * y)) for x, y in moved]

    def fill(self, points: Sequence[Point], colour: Colour, outline: bool = True) -> None:
        placed = self.place(points)
        self.reach.setdefault(self.part, []).extend(placed)
        self.draw.polygon(placed, fill=colour)
        width = round(self.style.outline * self.unit)
        if outline and width:
            ink = mix(mix(colour, (70, 40, 80), 0.55), INK, self.style.outline_ink)
            self.draw.line([*placed, placed[0], placed[1]], fill=ink, width=width, joint="curve")

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        self.draw.line(self.place(points), fill=colour, width=max(1, round(width * self.unit)), joint="curve")

    def shadow(self, points: Sequence[Point], colour: Colour) -> None:
        """A darker shape of the colour below it, where the style shades."""
        if self.style.shading:
            self.fill(points, shade(colour), outline=False)

    def box(self, *parts: str) -> tuple[float, float, float, float]:
        points = [point for part in parts for point in self.reach.get(part, [])]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        return min(xs), min(ys), max(xs), max(ys)


# ---------------------------------------------------------------------------------------------------------- the figure


@dataclass
class Body:
    """Where the figure's joints are: a tall one has a longer trunk and longer legs."""

    shoulder: float = 1.12
    waist: float = 1.8
    hip: float = 2.25
    foot: float = 4.0

    @classmethod
    def of(cls, somebody: Character) -> "Body":
        return cls(1.15, 1.95, 2.45, 4.5) if somebody.tall else cls(1.1, 1.75, 2.15, 3.7)


def draw_person(
    picture: Image.Image,
    somebody: Character,
    outfit: Outfit,
    staging: Staging,
    style: Style,
    area: tuple[float, float, float, float],
) -> dict[str, tuple[float, float, float, float]]:
    """Draw somebody into the area (x0, y0, x1, y1 in pixels); return the boxes of person, halfbody, head and face.

    Boxes are cut to the picture.
    """
    body = Body.of(somebody)
    x0, y0, x1, y1 = area
    width, height = x1 - x0, y1 - y0
    # Height of the figure that the framing shows, in figure units, and where the head's centre stands from the top.
    seen = {"portrait": 2.9, "upper_body": 3.7, "cowboy_shot": body.hip + 2.3, "full_body": body.foot + 2.0}[
        staging.framing
    ]
    unit = min(height / seen, width / 2.6) * staging.scale
    top = 1.5 if staging.framing != "portrait" else 1.35
    centre = ((x0 + x1) / 2 + staging.shift[0] * width, y0 + top * height / seen + staging.shift[1] * height)
    pen = Pen(picture, centre, unit, staging, style)
    hair, skin = HAIR[somebody.hair_colour], SKIN[somebody.dark_skin]

    pen.part = "hair"
    back_hair(pen, somebody, hair)
    pen.part = "body"
    trunk(pen, body, outfit, skin)
    arms(pen, body, outfit, staging, skin)
    pen.part = "head"
    face(pen, somebody, staging, skin)
    pen.part = "head"
    front_hair(pen, somebody, hair, outfit)
    accessory(pen, somebody, outfit, hair)
    headwear(pen, outfit)
    front_arms(pen, body, outfit, staging, skin)
    return boxes(pen, body, picture.size)


def boxes(pen: Pen, body: Body, size: tuple[int, int]) -> dict[str, tuple[float, float, float, float]]:
    def cut(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        return max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])

    person = cut(pen.box("hair", "body", "head", "face"))
    head = pen.box("head", "face")
    waist = max(y for _, y in pen.place([(-0.5, body.hip), (0.5, body.hip)]))
    halfbody = (person[0], person[1], person[2], min(person[3], waist))
    return {"person": person, "halfbody": cut(halfbody), "head": cut(head), "face": cut(pen.box("face"))}


def back_hair(pen: Pen, somebody: Character, hair: Colour) -> None:
    dark = mix(shade(hair), hair, 0.35)
    style = somebody.hair_style
    pen.fill(
        spline(
            [(-0.98, -0.1), (-0.7, -0.85), (0, -1.08), (0.7, -0.85), (0.98, -0.1), (0.85, 0.7), (0, 0.95), (-0.85, 0.7)]
        ),
        dark,
    )
    if style == "long_hair":
        shape = [
            (-1.0, -0.2),
            (-0.6, -0.9),
            (0.6, -0.9),
            (1.0, -0.2),
            (1.15, 1.0),
            (1.1, 2.2),
            (0.75, 2.45),
            (0, 2.3),
            (-0.75, 2.45),
            (-1.1, 2.2),
            (-1.15, 1.0),
        ]
        pen.fill(spline(shape), dark)
        for x in (-0.85, 0.85):
            pen.line([(x, 0.6), (x * 1.08, 1.6), (x * 0.98, 2.2)], mix(dark, INK, 0.25), 0.035)
    if style == "twintails":
        tail = [
            (0.8, -0.6),
            (1.25, -0.75),
            (1.65, -0.1),
            (1.75, 0.9),
            (1.55, 1.9),
            (1.35, 2.15),
            (1.25, 1.5),
            (1.15, 0.6),
            (0.95, 0.0),
        ]
        for shape in (tail, flip(tail)):
            pen.fill(spline(shape), hair)
    if style == "side_ponytail":
        pen.fill(
            spline(
                [
                    (0.7, -0.8),
                    (1.2, -1.0),
                    (1.65, -0.4),
                    (1.75, 0.6),
                    (1.5, 1.7),
                    (1.3, 1.9),
                    (1.25, 1.0),
                    (1.1, 0.1),
                    (0.85, -0.3),
                ]
            ),
            hair,
        )
    if style == "twin_braids":
        for side in (-1, 1):
            for k in range(5):
                pen.fill(ring(side * (0.92 + 0.03 * k), 0.75 + 0.33 * k, 0.24 - 0.015 * k, 0.24, steps=14), hair)
            pen.fill(spline([(side * 0.95, 2.3), (side * 1.15, 2.3), (side * 1.12, 2.65), (side * 0.98, 2.65)]), dark)
    if style == "messy_hair":
        spikes = [(-1.0, 0.1), (-1.35, 0.35), (-1.0, 0.45), (-1.2, 0.85), (-0.75, 0.75), (-0.7, 1.1), (0, 0.8)]
        pen.fill([*spikes, *flip(spikes)[::-1], (0.7, -0.7), (-0.7, -0.7)], dark)


def trunk(pen: Pen, body: Body, outfit: Outfit, skin: Colour) -> None:
    """Neck, legs, and the garment over them."""
    legs(pen, body, outfit, skin)
    pen.fill([(-0.2, 0.6), (0.2, 0.6), (0.24, body.shoulder), (-0.24, body.shoulder)], skin)
    pen.shadow(spline([(-0.22, 0.72), (0.22, 0.72), (0.2, 0.95), (0, 1.02), (-0.2, 0.95)]), skin)
    GARMENT_SHAPES[outfit.garment](pen, body, CLOTH[outfit.colour], CLOTH[outfit.trim], skin)


def legs(pen: Pen, body: Body, outfit: Outfit, skin: Colour) -> None:
    cloth, trim = CLOTH[outfit.colour], CLOTH[outfit.trim]
    stocking = {"maid": WHITE, "serafuku": (60, 58, 70), "witch": (70, 60, 80), "sweater": (60, 58, 70)}.get(
        outfit.garment
    )
    trousers = {"suit": cloth, "overalls": cloth, "armor": METAL}.get(outfit.garment)
    shoe = {"armor": METAL, "kimono": (120, 80, 60), "gym_uniform": WHITE}.get(
        outfit.garment, mix(trim, (70, 50, 50), 0.65)
    )
    knee = (body.hip + body.foot) / 2
    for side in (-1, 1):
        x = side * 0.27
        leg = limb([(x, body.hip - 0.1), (x * 1.05, knee), (x, body.foot - 0.15)], (0.24, 0.19, 0.15))
        pen.fill(leg, trousers or skin)
        if stocking and not trousers:
            pen.fill(
                limb([(x * 1.05, knee - 0.1), (x * 1.03, knee + 0.5), (x, body.foot - 0.15)], (0.2, 0.18, 0.15)),
                stocking,
            )
        pen.fill(
            spline(
                [(x - 0.2, body.foot - 0.2), (x + 0.2, body.foot - 0.2), (x + 0.24, body.foot), (x - 0.24, body.foot)]
            ),
            shoe,
        )


def torso(pen: Pen, body: Body, colour: Colour, flare: float = 0.0, low: float | None = None) -> None:
    s, w, h = body.shoulder, body.waist, low or body.hip
    shape = [
        (-0.24, s - 0.1),
        (0.24, s - 0.1),
        (0.58, s + 0.05),
        (0.5, w),
        (0.54 + flare, h),
        (-0.54 - flare, h),
        (-0.5, w),
        (-0.58, s + 0.05),
    ]
    pen.fill(shape, colour)
    pen.shadow([(0.3, s + 0.2), (0.56, s + 0.1), (0.5, w), (0.54 + flare, h), (0.3 + flare * 0.5, h)], colour)


def skirt(pen: Pen, body: Body, colour: Colour, length: float, flare: float, folds: int = 5) -> None:
    top, low = body.waist, body.hip + length
    wide = 0.55 + flare
    pen.fill([(-0.48, top), (0.48, top), (wide, low), (-wide, low)], colour)
    for k in range(1, folds):
        share = k / folds * 2 - 1
        pen.line([(0.46 * share, top + 0.1), (wide * share, low - 0.02)], mix(colour, INK, 0.3), 0.03)


def neckline(pen: Pen, body: Body, skin: Colour, depth: float) -> None:
    pen.fill(
        [(-0.26, body.shoulder - 0.12), (0.26, body.shoulder - 0.12), (0, body.shoulder + depth)], skin, outline=False
    )


def serafuku(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    skirt(pen, body, cloth, 0.55, 0.4, folds=7)
    torso(pen, body, (250, 250, 252), low=body.waist + 0.2)
    neckline(pen, body, skin, 0.35)
    s = body.shoulder
    for collar in ([(-0.3, s - 0.14), (-0.6, s + 0.02), (-0.5, s + 0.42), (0, s + 0.45)],):
        pen.fill(collar, cloth)
        pen.fill(flip(collar), cloth)
        for shape in (collar, flip(collar)):
            pen.line([shape[1], shape[2], shape[3]], WHITE if cloth != CLOTH["white"] else CLOTH["blue"], 0.04)
    bow = mix(trim, (220, 40, 60), 0.5)
    pen.fill(
        [(0, s + 0.42), (-0.25, s + 0.36), (-0.22, s + 0.72), (0, s + 0.52), (0.22, s + 0.72), (0.25, s + 0.36)], bow
    )


def dress(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    skirt(pen, body, cloth, 1.25, 0.62, folds=4)
    low = body.hip + 1.25
    pen.fill([(-1.14, low - 0.12), (1.14, low - 0.12), (1.17, low), (-1.17, low)], trim)
    torso(pen, body, cloth, low=body.waist + 0.1)
    neckline(pen, body, skin, 0.22)
    pen.fill(
        [(-0.52, body.waist - 0.06), (0.52, body.waist - 0.06), (0.54, body.waist + 0.14), (-0.54, body.waist + 0.14)],
        trim,
    )


def kimono(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    low = body.foot - 0.4
    pen.fill([(-0.52, body.waist), (0.52, body.waist), (0.66, low), (-0.66, low)], cloth)
    pen.line([(0.12, body.waist + 0.2), (0.3, low)], mix(cloth, INK, 0.35), 0.045)
    torso(pen, body, cloth, low=body.waist + 0.2)
    neckline(pen, body, skin, 0.32)
    s = body.shoulder
    pen.line(
        [(-0.3, s - 0.12), (0.1, s + 0.5), (0.2, body.waist)], WHITE if cloth != CLOTH["white"] else CLOTH["red"], 0.09
    )
    pen.line([(0.3, s - 0.12), (-0.02, s + 0.36)], WHITE if cloth != CLOTH["white"] else CLOTH["red"], 0.09)
    pen.fill(
        [(-0.55, body.waist - 0.25), (0.55, body.waist - 0.25), (0.56, body.waist + 0.22), (-0.56, body.waist + 0.22)],
        trim,
    )
    pen.line([(-0.55, body.waist - 0.02), (0.55, body.waist - 0.02)], mix(trim, GOLD, 0.7), 0.06)


def armor(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    skirt(pen, body, cloth, 0.5, 0.32, folds=4)
    torso(pen, body, METAL, low=body.waist + 0.12)
    s = body.shoulder
    pen.fill(
        spline([(-0.5, s + 0.15), (0, s + 0.05), (0.5, s + 0.15), (0.42, s + 0.6), (0, s + 0.72), (-0.42, s + 0.6)]),
        light(METAL),
    )
    pen.fill([(-0.2, s + 0.2), (0.2, s + 0.2), (0.14, body.hip + 0.55), (-0.14, body.hip + 0.55)], cloth)
    for side in (-1, 1):
        pen.fill([(side * 0.5, body.waist + 0.1), (side * 0.85, body.hip + 0.35), (side * 0.35, body.hip + 0.4)], METAL)


def hoodie(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    pen.fill(
        [
            (-0.5, body.hip - 0.2),
            (0.5, body.hip - 0.2),
            (0.56, body.hip + 0.35),
            (0.04, body.hip + 0.35),
            (0, body.hip + 0.1),
            (-0.04, body.hip + 0.35),
            (-0.56, body.hip + 0.35),
        ],
        mix(trim, INK, 0.35),
    )
    torso(pen, body, cloth, flare=0.08, low=body.hip + 0.08)
    s = body.shoulder
    pen.fill(
        spline(
            [
                (-0.62, s - 0.02),
                (-0.3, s - 0.3),
                (0.3, s - 0.3),
                (0.62, s - 0.02),
                (0.3, s + 0.22),
                (0, s + 0.32),
                (-0.3, s + 0.22),
            ]
        ),
        mix(cloth, INK, 0.15),
    )
    neckline(pen, body, trim, 0.12)
    for side in (-1, 1):
        pen.line([(side * 0.14, s + 0.2), (side * 0.16, s + 0.62)], trim, 0.05)
    pen.fill(
        [(-0.34, body.waist), (0.34, body.waist), (0.42, body.waist + 0.36), (-0.42, body.waist + 0.36)],
        mix(cloth, INK, 0.12),
    )


def maid(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    skirt(pen, body, cloth, 0.85, 0.6, folds=1)
    torso(pen, body, cloth, low=body.waist + 0.1)
    low = body.hip + 0.62
    pen.fill(
        spline(
            [
                (-0.42, body.waist),
                (0.42, body.waist),
                (0.6, low - 0.1),
                (0.3, low),
                (0, low + 0.06),
                (-0.3, low),
                (-0.6, low - 0.1),
            ]
        ),
        WHITE,
    )
    s = body.shoulder
    pen.fill([(-0.26, s + 0.28), (0.26, s + 0.28), (0.3, body.waist), (-0.3, body.waist)], WHITE)
    for side in (-1, 1):
        pen.fill(
            limb([(side * 0.24, body.waist), (side * 0.36, s + 0.35), (side * 0.42, s)], (0.07, 0.11, 0.12)), WHITE
        )
    pen.fill([(-0.3, s - 0.12), (0.3, s - 0.12), (0.12, s + 0.1), (-0.12, s + 0.1)], WHITE)
    pen.fill(
        [(0, s + 0.02), (-0.2, s - 0.08), (-0.2, s + 0.18), (0, s + 0.06), (0.2, s + 0.18), (0.2, s - 0.08)],
        trim if trim != CLOTH["white"] else cloth,
    )


def coat(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    low = body.hip + 0.9
    torso(pen, body, cloth, low=body.waist + 0.2)
    pen.fill([(-0.52, body.waist), (0.52, body.waist), (0.82, low), (-0.82, low)], cloth)
    pen.line([(0, body.shoulder + 0.4), (0, low)], mix(cloth, INK, 0.4), 0.045)
    for k in range(3):
        for side in (-1, 1):
            pen.fill(ring(side * 0.18, body.shoulder + 0.6 + 0.38 * k, 0.06, 0.06, steps=8), GOLD, outline=False)
    s = body.shoulder
    pen.fill(spline([(-0.5, s - 0.2), (0.5, s - 0.2), (0.52, s + 0.12), (0, s + 0.24), (-0.52, s + 0.12)]), trim)
    pen.fill([(0.12, s + 0.12), (0.4, s + 0.1), (0.46, s + 0.85), (0.2, s + 0.88)], trim)


def overalls(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    torso(pen, body, WHITE, low=body.waist + 0.1)
    for k in range(4):
        y = body.shoulder + 0.12 + 0.2 * k
        pen.line([(-0.52, y), (0.52, y)], trim if trim != CLOTH["white"] else CLOTH["red"], 0.07)
    neckline(pen, body, skin, 0.06)
    pen.fill([(-0.52, body.waist), (0.52, body.waist), (0.56, body.hip + 0.25), (-0.56, body.hip + 0.25)], cloth)
    pen.fill(
        [
            (-0.33, body.shoulder + 0.38),
            (0.33, body.shoulder + 0.38),
            (0.4, body.waist + 0.1),
            (-0.4, body.waist + 0.1),
        ],
        cloth,
    )
    for side in (-1, 1):
        pen.fill(
            [
                (side * 0.33, body.shoulder + 0.5),
                (side * 0.2, body.shoulder + 0.5),
                (side * 0.3, body.shoulder - 0.05),
                (side * 0.44, body.shoulder - 0.02),
            ],
            cloth,
        )
        pen.fill(ring(side * 0.26, body.shoulder + 0.46, 0.06, 0.06, steps=8), GOLD, outline=False)


def suit(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    torso(pen, body, cloth, flare=0.05, low=body.hip + 0.2)
    s = body.shoulder
    pen.fill([(-0.24, s - 0.12), (0.24, s - 0.12), (0, body.waist - 0.05)], WHITE)
    tie = trim if trim != CLOTH["white"] else CLOTH["red"]
    pen.fill([(-0.07, s - 0.04), (0.07, s - 0.04), (0.1, s + 0.5), (0, s + 0.66), (-0.1, s + 0.5)], tie)
    lapel = [(-0.28, s - 0.12), (-0.5, s + 0.25), (-0.36, s + 0.3), (0, body.waist), (-0.16, s + 0.2)]
    pen.fill(lapel, mix(cloth, WHITE, 0.18))
    pen.fill(flip(lapel), mix(cloth, WHITE, 0.18))
    pen.line([(0, body.waist), (0, body.hip + 0.2)], mix(cloth, INK, 0.4), 0.04)


def witch(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    skirt(pen, body, cloth, 1.05, 0.5, folds=3)
    torso(pen, body, cloth, low=body.waist + 0.1)
    pen.fill(
        [(-0.54, body.waist - 0.08), (0.54, body.waist - 0.08), (0.55, body.waist + 0.14), (-0.55, body.waist + 0.14)],
        (110, 75, 50),
    )
    pen.fill(ring(0, body.waist + 0.03, 0.12, 0.12, steps=10), GOLD)
    s = body.shoulder
    cape = [
        (-0.32, s - 0.16),
        (0.32, s - 0.16),
        (0.72, s + 0.5),
        (0.3, s + 0.62),
        (0, s + 0.52),
        (-0.3, s + 0.62),
        (-0.72, s + 0.5),
    ]
    pen.fill(cape, trim)
    pen.fill(ring(0, s + 0.02, 0.11, 0.11, steps=10), GOLD)


def sweater(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    plaid = mix(trim, INK, 0.25)
    skirt(pen, body, plaid, 0.5, 0.36, folds=6)
    pen.line([(-0.75, body.hip + 0.25), (0.75, body.hip + 0.25)], light(plaid), 0.06)
    torso(pen, body, cloth, flare=0.06, low=body.waist + 0.32)
    s = body.shoulder
    pen.fill([(-0.3, s - 0.34), (0.3, s - 0.34), (0.34, s + 0.02), (-0.34, s + 0.02)], mix(cloth, WHITE, 0.15))
    for k in range(3):
        y = s + 0.3 + 0.22 * k
        pen.line([(-0.45, y), (-0.22, y + 0.12), (0, y), (0.22, y + 0.12), (0.45, y)], light(cloth), 0.05)


def gym_uniform(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    pants = mix(cloth, (20, 20, 60), 0.5)
    pen.fill(
        [
            (-0.52, body.waist + 0.1),
            (0.52, body.waist + 0.1),
            (0.6, body.hip + 0.4),
            (0.05, body.hip + 0.4),
            (0, body.hip + 0.12),
            (-0.05, body.hip + 0.4),
            (-0.6, body.hip + 0.4),
        ],
        pants,
    )
    torso(pen, body, cloth, low=body.hip - 0.05)
    neckline(pen, body, skin, 0.1)
    s = body.shoulder
    pen.line([(-0.3, s - 0.1), (0, s + 0.14), (0.3, s - 0.1)], trim, 0.08)
    pen.fill(
        [(-0.26, s + 0.4), (0.26, s + 0.4), (0.26, s + 0.64), (-0.26, s + 0.64)],
        WHITE if cloth != CLOTH["white"] else light(CLOTH["blue"]),
    )


GARMENT_SHAPES = {
    "serafuku": serafuku,
    "dress": dress,
    "kimono": kimono,
    "armor": armor,
    "hoodie": hoodie,
    "maid": maid,
    "coat": coat,
    "overalls": overalls,
    "suit": suit,
    "witch": witch,
    "sweater": sweater,
    "gym_uniform": gym_uniform,
}

# Sleeve: colour source, how far it covers the arm (0 shoulder .. 1 wrist), and width at the end.
SLEEVES = {
    "serafuku": ("white", 0.4, 0.24),
    "dress": ("cloth", 0.35, 0.28),
    "kimono": ("cloth", 0.92, 0.42),
    "armor": ("metal", 0.95, 0.2),
    "hoodie": ("cloth", 0.9, 0.24),
    "maid": ("cloth", 0.4, 0.3),
    "coat": ("cloth", 0.92, 0.26),
    "overalls": ("white", 0.55, 0.22),
    "suit": ("cloth", 0.9, 0.22),
    "witch": ("cloth", 0.85, 0.36),
    "sweater": ("cloth", 0.95, 0.25),
    "gym_uniform": ("cloth", 0.35, 0.24),
}
ARM_POSES: dict[str, tuple[list[Point], list[Point]]] = {
    # elbow and hand of the left and the right arm, relative to the shoulder at side * 0.52
    "arms_at_sides": ([(0.26, 0.62), (0.36, 1.22)], [(0.26, 0.62), (0.36, 1.22)]),
    "arms_up": ([(0.55, -0.15), (0.75, -0.85)], [(0.55, -0.15), (0.75, -0.85)]),
    "hand_on_hip": ([(0.26, 0.62), (0.36, 1.22)], [(0.62, 0.5), (0.08, 0.88)]),
    "waving": ([(0.26, 0.62), (0.36, 1.22)], [(0.62, 0.25), (0.85, -0.55)]),
    "holding_book": ([(0.2, 0.62), (-0.3, 0.8)], [(0.2, 0.62), (-0.3, 0.8)]),
    "v": ([(0.26, 0.62), (0.36, 1.22)], [(0.5, 0.45), (0.5, -0.25)]),
}
IN_FRONT = ("holding_book",)


def arms(pen: Pen, body: Body, outfit: Outfit, staging: Staging, skin: Colour) -> None:
    if staging.pose not in IN_FRONT:
        both_arms(pen, body, outfit, staging, skin)


def front_arms(pen: Pen, body: Body, outfit: Outfit, staging: Staging, skin: Colour) -> None:
    pen.part = "body"
    if staging.pose in IN_FRONT:
        both_arms(pen, body, outfit, staging, skin)


def both_arms(pen: Pen, body: Body, outfit: Outfit, staging: Staging, skin: Colour) -> None:
    left, right = ARM_POSES[staging.pose]
    hands = [arm(pen, body, outfit, joints, side, skin) for side, joints in ((-1, left), (1, right))]
    if staging.pose == "v":
        x, y = hands[1]
        for lean in (-0.12, 0.12):
            pen.line([(x, y - 0.05), (x + lean, y - 0.42)], skin, 0.11)
    if staging.pose == "holding_book":
        y = body.shoulder + 0.85
        pen.fill(
            [(-0.42, y - 0.25), (0, y - 0.2), (0.42, y - 0.25), (0.42, y + 0.3), (0, y + 0.35), (-0.42, y + 0.3)],
            (150, 60, 60),
        )
        pen.line([(0, y - 0.2), (0, y + 0.35)], (90, 40, 40), 0.05)
        for x in (-0.4, 0.4):
            pen.fill(ring(x, y + 0.1, 0.14, 0.14, steps=10), skin)


def arm(pen: Pen, body: Body, outfit: Outfit, joints: list[Point], side: int, skin: Colour) -> Point:
    source, cover, wide = SLEEVES[outfit.garment]
    sleeve = {"cloth": CLOTH[outfit.colour], "white": (250, 250, 252), "metal": METAL}[source]
    root = (0.46, body.shoulder + 0.16)
    line = [root, *((root[0] + x, root[1] + y) for x, y in joints)]
    line = [(side * x, y) for x, y in line]
    pen.fill(limb(line, (0.17, 0.14, 0.11)), skin)
    hand = line[2]
    pen.fill(ring(*hand, 0.14, 0.14, steps=12), METAL if source == "metal" else skin)
    pen.fill(limb(partial(line, cover), (0.2, (0.2 + wide) / 2 if cover > 0.5 else wide, wide)), sleeve)
    if outfit.garment == "armor":
        pen.fill(ring(side * 0.56, body.shoulder + 0.12, 0.28, 0.24, steps=14), light(METAL))
    return hand


def partial(line: list[Point], share: float) -> list[Point]:
    """The first share of a line of three points, as three points."""
    (ax, ay), (bx, by), (cx, cy) = line
    if share <= 0.5:
        end = (ax + (bx - ax) * share * 2, ay + (by - ay) * share * 2)
        return [line[0], ((ax + end[0]) / 2, (ay + end[1]) / 2), end]
    rest = share * 2 - 1
    return [line[0], line[1], (bx + (cx - bx) * rest, by + (cy - by) * rest)]


def face(pen: Pen, somebody: Character, staging: Staging, skin: Colour) -> None:
    pen.part = "face"
    pen.fill(
        spline(
            [
                (-0.8, -0.25),
                (-0.55, -0.8),
                (0.55, -0.8),
                (0.8, -0.25),
                (0.76, 0.3),
                (0.42, 0.72),
                (0, 0.86),
                (-0.42, 0.72),
                (-0.76, 0.3),
            ]
        ),
        skin,
    )
    if staging.blush or (somebody.dark_skin is False and staging.expression == "smile"):
        strength = 0.45 if staging.blush else 0.14
        for side in (-1, 1):
            pen.fill(ring(side * 0.52, 0.42, 0.19, 0.1, steps=12), mix(skin, (255, 100, 110), strength), outline=False)
    for side in (-1, 1):
        eye(pen, somebody, staging, side, skin)
    mouth(pen, staging)
    pen.line([(-0.02, 0.36), (0.04, 0.4)], mix(skin, INK, 0.45), 0.035)


def eye(pen: Pen, somebody: Character, staging: Staging, side: int, skin: Colour) -> None:
    x, y, brow = side * 0.4, 0.1, mix(HAIR[somebody.hair_colour], INK, 0.5)
    lift = {"frown": 0.1, "surprised": -0.1}.get(staging.expression, 0.0)
    slant = 0.1 if staging.expression == "frown" else 0.0
    pen.line([(x - side * 0.2, y - 0.42 + lift + slant), (x + side * 0.22, y - 0.42 + lift - slant)], brow, 0.05)
    if staging.expression == "closed_eyes" or (staging.expression == "one_eye_closed" and side == 1):
        pen.line(ring(x, y - 0.05, 0.24, 0.17, 20, 160, 10), INK, 0.075)
        return
    tall = 0.36 if staging.expression == "surprised" else 0.31
    pen.fill(ring(x, y, 0.25, tall, steps=20), WHITE, outline=False)
    iris = EYES[somebody.eye_colour]
    gaze = x + (0.09 if staging.looking_away else 0)
    small = 0.75 if staging.expression == "surprised" else 1
    pen.fill(ring(gaze, y + 0.03, 0.19 * small, 0.26 * small, steps=20), mix(iris, INK, 0.35), outline=False)
    pen.fill(ring(gaze, y + 0.09, 0.165 * small, 0.19 * small, steps=20), iris, outline=False)
    pen.fill(ring(gaze, y + 0.15, 0.11 * small, 0.1 * small, steps=14), light(iris), outline=False)
    pen.fill(ring(gaze, y + 0.01, 0.075, 0.1, steps=12), INK, outline=False)
    pen.fill(ring(gaze - 0.07, y - 0.1, 0.06, 0.07, steps=10), WHITE, outline=False)
    pen.line(ring(x, y, 0.27, tall, 195, 345, 12), INK, 0.09)


def mouth(pen: Pen, staging: Staging) -> None:
    lips: Colour = (150, 50, 60)
    y = 0.56
    if staging.expression == "open_mouth":
        pen.fill(spline([(-0.17, y - 0.05), (0.17, y - 0.05), (0.1, y + 0.14), (-0.1, y + 0.14)]), (200, 70, 80))
    elif staging.expression == "surprised":
        pen.fill(ring(0, y + 0.02, 0.08, 0.11, steps=12), (190, 70, 80))
    elif staging.expression == "frown":
        pen.line(ring(0, y + 0.1, 0.15, 0.1, 200, 340, 8), lips, 0.055)
    else:
        pen.line(ring(0, y - 0.07, 0.17, 0.12, 20, 160, 8), lips, 0.055)


def front_hair(pen: Pen, somebody: Character, hair: Colour, outfit: Outfit) -> None:
    if somebody.hair_style == "double_bun":
        for side in (-1, 1):
            pen.fill(ring(side * 0.72, -0.98, 0.38, 0.36, steps=18), hair)
            pen.line(ring(side * 0.72, -0.98, 0.2, 0.18, 30, 300, 10), mix(hair, INK, 0.3), 0.04)
    side_lock = [(0.72, -0.5), (0.98, -0.15), (0.98, 0.45), (0.84, 0.95), (0.74, 0.5), (0.7, 0.1)]
    for shape in (side_lock, flip(side_lock)):
        pen.fill(spline(shape), hair)
    cap = [(-0.98, 0.0), (-0.92, -0.55), (-0.5, -1.02), (0, -1.12), (0.5, -1.02), (0.92, -0.55), (0.98, 0.0)]
    fringe = {
        "blunt_bangs": [
            (0.74, -0.12),
            (0.62, -0.2),
            (0.3, -0.17),
            (0, -0.2),
            (-0.3, -0.17),
            (-0.62, -0.2),
            (-0.74, -0.12),
        ],
        "swept_bangs": [
            (0.74, 0.1),
            (0.66, -0.35),
            (0.35, -0.1),
            (0.15, -0.42),
            (-0.3, -0.45),
            (-0.6, -0.35),
            (-0.76, 0.0),
        ],
        "parted_bangs": [
            (0.76, 0.15),
            (0.6, -0.2),
            (0.3, -0.42),
            (0.0, -0.78),
            (-0.3, -0.42),
            (-0.6, -0.2),
            (-0.76, 0.15),
        ],
    }[somebody.bangs]
    crown = spline(cap, 5)[: 5 * (len(cap) - 1) + 1]  # without the stretch that closes the curve below the eyes
    pen.fill([*crown, *fringe], hair)
    shine = ring(0, -0.45, 0.62, 0.3, 205, 335, 12)
    if pen.style.shading:
        pen.line(shine, light(hair), 0.09)
    for x in (-0.4, 0.12, 0.45):
        pen.line([(x * 0.9, -0.62), (x, -0.28)], mix(hair, INK, 0.28), 0.03)
    if somebody.hair_style == "messy_hair":
        for tuft in (
            [(-0.8, -0.7), (-1.15, -0.95), (-0.55, -0.95)],
            [(0.8, -0.7), (1.2, -0.9), (0.5, -1.0)],
            [(-0.2, -1.05), (-0.05, -1.4), (0.2, -1.05)],
        ):
            pen.fill(tuft, hair)
    if somebody.ahoge and outfit.headwear not in ("witch_hat", "beret"):
        pen.line([(0, -1.05), (-0.12, -1.3), (0.1, -1.45), (0.28, -1.32)], mix(hair, INK, 0.15), 0.1)


def accessory(pen: Pen, somebody: Character, outfit: Outfit, hair: Colour) -> None:
    colour = CLOTH[somebody.accessory_colour]
    draw = ACCESSORY_SHAPES[somebody.accessory]
    if somebody.accessory == "hairband" and outfit.headwear:
        return
    draw(pen, colour, hair)


def hair_bow(pen: Pen, colour: Colour, hair: Colour) -> None:
    for side in (-1, 1):
        pen.fill(spline([(0.62, -0.78), (0.62 + side * 0.42, -1.08), (0.62 + side * 0.46, -0.55)]), colour)
    pen.fill(ring(0.62, -0.8, 0.12, 0.12, steps=10), shade(colour))


def hair_flower(pen: Pen, colour: Colour, hair: Colour) -> None:
    for k in range(5):
        angle = 2 * pi * k / 5 - pi / 2
        pen.fill(ring(0.7 + 0.19 * cos(angle), -0.55 + 0.19 * sin(angle), 0.16, 0.16, steps=12), colour)
    pen.fill(ring(0.7, -0.55, 0.11, 0.11, steps=10), GOLD if colour != CLOTH["yellow"] else WHITE, outline=False)


def hairclip(pen: Pen, colour: Colour, hair: Colour) -> None:
    for y in (-0.42, -0.24):
        pen.fill([(0.4, y), (0.84, y - 0.1), (0.86, y + 0.02), (0.42, y + 0.12)], colour)


def glasses(pen: Pen, colour: Colour, hair: Colour) -> None:
    for side in (-1, 1):
        pen.line(ring(side * 0.4, 0.12, 0.32, 0.32, steps=20), (190, 50, 60), 0.07)
    pen.line([(-0.1, 0.1), (0.1, 0.1)], (190, 50, 60), 0.07)


def cat_ears(pen: Pen, colour: Colour, hair: Colour) -> None:
    ear = [(0.3, -0.98), (0.72, -1.55), (0.92, -0.68)]
    inner = [(0.46, -1.0), (0.7, -1.36), (0.8, -0.85)]
    for shape, inside in ((ear, inner), (flip(ear), flip(inner))):
        pen.fill(shape, hair)
        pen.fill(inside, (250, 190, 190), outline=False)


def rabbit_ears(pen: Pen, colour: Colour, hair: Colour) -> None:
    ear = [(0.2, -0.95), (0.3, -1.6), (0.55, -1.95), (0.7, -1.6), (0.58, -0.9)]
    inner = [(0.34, -1.05), (0.42, -1.55), (0.53, -1.75), (0.58, -1.5), (0.48, -1.0)]
    for shape, inside in ((ear, inner), (flip(ear), flip(inner))):
        pen.fill(spline(shape), WHITE)
        pen.fill(spline(inside), (250, 170, 185), outline=False)


def horns(pen: Pen, colour: Colour, hair: Colour) -> None:
    horn = [(0.42, -0.92), (0.75, -1.15), (0.8, -1.55), (1.0, -1.1), (0.78, -0.72)]
    for shape in (horn, flip(horn)):
        pen.fill(shape, (150, 40, 60))


def halo(pen: Pen, colour: Colour, hair: Colour) -> None:
    pen.line(ring(0, -1.36, 0.62, 0.16, steps=28), (255, 225, 110), 0.13)
    pen.reach.setdefault(pen.part, []).extend(pen.place([(-0.6, -1.5), (0.6, -1.5)]))


def hairband(pen: Pen, colour: Colour, hair: Colour) -> None:
    pen.line(ring(0, -0.05, 0.93, 0.92, 205, 335, 20), colour, 0.17)


def eyepatch(pen: Pen, colour: Colour, hair: Colour) -> None:
    pen.line([(-0.85, -0.3), (0.85, 0.35)], INK, 0.06)
    pen.fill(spline([(0.12, -0.15), (0.68, -0.15), (0.66, 0.3), (0.4, 0.45), (0.14, 0.3)]), INK)


ACCESSORY_SHAPES = {
    "hair_bow": hair_bow,
    "hair_flower": hair_flower,
    "hairclip": hairclip,
    "glasses": glasses,
    "cat_ears": cat_ears,
    "rabbit_ears": rabbit_ears,
    "horns": horns,
    "halo": halo,
    "hairband": hairband,
    "eyepatch": eyepatch,
}


def headwear(pen: Pen, outfit: Outfit) -> None:
    cloth, trim = CLOTH[outfit.colour], CLOTH[outfit.trim]
    if outfit.headwear == "witch_hat":
        pen.fill(spline([(-1.45, -0.55), (-0.7, -0.78), (0.7, -0.78), (1.45, -0.55), (0.7, -0.5), (-0.7, -0.5)]), cloth)
        pen.fill(
            spline(
                [(-0.75, -0.68), (-0.45, -1.2), (0.15, -1.85), (0.35, -1.75), (0.45, -1.2), (0.75, -0.68), (0, -0.6)]
            ),
            cloth,
        )
        pen.line([(-0.68, -0.82), (0, -0.76), (0.68, -0.82)], trim, 0.14)
    if outfit.headwear == "maid_headdress":
        for k in range(7):
            angle = radians(210 + 20 * k)
            pen.fill(ring(0.95 * cos(angle), 0.95 * sin(angle) - 0.05, 0.17, 0.17, steps=10), WHITE)
        pen.line(ring(0, -0.05, 0.9, 0.88, 208, 332, 16), cloth, 0.08)
    if outfit.headwear == "tiara":
        pen.fill(
            [
                (-0.5, -0.72),
                (-0.4, -1.0),
                (-0.2, -0.85),
                (0, -1.12),
                (0.2, -0.85),
                (0.4, -1.0),
                (0.5, -0.72),
                (0, -0.66),
            ],
            GOLD,
        )
        pen.fill(ring(0, -0.83, 0.08, 0.08, steps=8), cloth, outline=False)
    if outfit.headwear == "beret":
        pen.fill(
            spline([(-0.85, -0.72), (-1.0, -1.0), (-0.3, -1.3), (0.6, -1.22), (1.0, -0.85), (0.6, -0.66), (0, -0.62)]),
            trim,
        )
        pen.fill(ring(-0.05, -1.28, 0.09, 0.07, steps=8), trim)


# ------------------------------------------------------------------------------------------------------- backgrounds


def draw_background(name: str, size: tuple[int, int], rng: Random) -> Image.Image:
    """A background of the given pixels."""
    width, height = size
    picture = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(picture)
    horizon = height * rng.uniform(0.58, 0.72)
    tint = rng.uniform(0, 0.25)
    if name == "gradient":
        top = rng.choice([(190, 215, 245), (245, 205, 220), (210, 235, 205), (225, 210, 245), (250, 235, 195)])
        return fade(size, top, mix(top, WHITE, 0.75))
    if name == "meadow":
        picture.paste(fade((width, int(horizon)), mix((105, 180, 245), WHITE, tint), (205, 232, 252)), (0, 0))
        draw.rectangle((0, horizon, width, height), fill=(118, 185, 95))
        clouds(draw, width, horizon, rng)
        for _ in range(14):
            x, y = rng.uniform(0, width), rng.uniform(horizon, height)
            spot(draw, x, y, width * 0.012, rng.choice([(255, 240, 150), WHITE, (250, 170, 190)]))
    if name == "night":
        picture.paste(fade(size, (22, 24, 62), (66, 60, 120)), (0, 0))
        for _ in range(36):
            spot(
                draw,
                rng.uniform(0, width),
                rng.uniform(0, height * 0.8),
                width * rng.uniform(0.003, 0.009),
                (255, 250, 220),
            )
        spot(draw, width * rng.uniform(0.1, 0.9), height * rng.uniform(0.1, 0.25), width * 0.07, (250, 240, 190))
    if name == "room":
        draw.rectangle((0, 0, width, height), fill=mix((228, 206, 178), WHITE, tint))
        draw.rectangle((0, horizon, width, height), fill=(168, 118, 84))
        x, y = width * rng.choice((0.06, 0.66)), height * 0.1
        draw.rectangle(
            (x, y, x + width * 0.28, y + height * 0.32),
            fill=(176, 218, 245),
            outline=(120, 84, 60),
            width=max(2, width // 45),
        )
        draw.line(
            (x + width * 0.14, y, x + width * 0.14, y + height * 0.32), fill=(120, 84, 60), width=max(1, width // 70)
        )
    if name == "beach":
        picture.paste(fade((width, int(horizon)), (120, 200, 250), (215, 240, 252)), (0, 0))
        clouds(draw, width, horizon * 0.7, rng)
        draw.rectangle((0, horizon * 0.86, width, height), fill=(64, 158, 205))
        draw.rectangle((0, horizon * 1.12, width, height), fill=(240, 220, 165))
        draw.line((0, horizon * 1.12, width, horizon * 1.12), fill=WHITE, width=max(2, height // 50))
    if name == "city":
        picture.paste(fade(size, (168, 205, 240), (236, 232, 226)), (0, 0))
        x = 0.0
        while x < width:
            wide, tall = width * rng.uniform(0.1, 0.2), height * rng.uniform(0.35, 0.7)
            tower(draw, x, wide, height, tall, rng)
            x += wide
    if name == "sunset":
        picture.paste(fade(size, (250, 150, 80), (255, 225, 170)), (0, 0))
        spot(draw, width * rng.uniform(0.15, 0.85), horizon, width * 0.14, (255, 240, 190))
        draw.rectangle((0, horizon, width, height), fill=(150, 80, 100))
    if name == "blossoms":
        picture.paste(fade(size, (200, 228, 250), (252, 232, 240)), (0, 0))
        branch = rng.uniform(0.08, 0.2)
        draw.line(
            (0, height * branch, width, height * rng.uniform(0.02, 0.12)),
            fill=(110, 78, 70),
            width=max(3, height // 40),
        )
        for _ in range(40):
            y = rng.uniform(0, height * 0.25) if rng.random() < 0.6 else rng.uniform(0, height)
            spot(
                draw,
                rng.uniform(0, width),
                y,
                width * rng.uniform(0.014, 0.035),
                rng.choice([(255, 190, 212), (255, 212, 226)]),
            )
    return picture


def fade(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    share = np.linspace(0, 1, max(size[1], 1))[:, None, None]
    column = np.asarray(top) * (1 - share) + np.asarray(bottom) * share
    return Image.fromarray(np.broadcast_to(column, (size[1], size[0], 3)).round().astype(np.uint8))


def spot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def clouds(draw: ImageDraw.ImageDraw, width: int, horizon: float, rng: Random) -> None:
    for _ in range(2):
        x, y, r = rng.uniform(0, width), rng.uniform(0.1, 0.6) * horizon, width * rng.uniform(0.05, 0.08)
        for step in (-1.2, 0, 1.2):
            draw.ellipse(
                (x + step * r - r * 1.2, y - r * 0.8, x + step * r + r * 1.2, y + r * 0.8), fill=(255, 255, 255)
            )


def tower(draw: ImageDraw.ImageDraw, x: float, wide: float, height: int, tall: float, rng: Random) -> None:
    grey = rng.randint(120, 175)
    draw.rectangle((x, height - tall, x + wide, height), fill=(grey, grey + 6, grey + 22))
    for row in range(5):
        for column in range(2):
            px, py = x + wide * (0.2 + 0.4 * column), height - tall * (0.92 - 0.16 * row)
            draw.rectangle((px, py, px + wide * 0.2, py + tall * 0.07), fill=(250, 240, 180))


# ------------------------------------------------------------------------------------------------------- one picture


def oversampling(size: tuple[int, int]) -> int:
    return 3 if max(size) <= 160 else 2


def draw_group(
    people: Sequence[tuple[Character, Outfit, Staging]],
    background: str,
    style: str,
    size: tuple[int, int],
    rng: Random,
) -> tuple[Image.Image, list[dict[str, tuple[float, float, float, float]]]]:
    """People side by side before a background, `size` pixels; and the boxes of each."""
    times = oversampling(size)
    width, height = size[0] * times, size[1] * times
    canvas = draw_background(background, (width, height), rng)
    hand = Style.of(style, rng)
    slot = width / len(people)
    found = []
    for k, (somebody, outfit, staging) in enumerate(people):
        area = (k * slot, 0.0, (k + 1) * slot, float(height))
        found.append(draw_person(canvas, somebody, outfit, staging, hand, area))
    small = canvas.resize(size, Image.BOX)
    scaled = [{part: tuple(v / times for v in box) for part, box in boxes.items()} for boxes in found]
    return finish(small, hand, rng), scaled  # type: ignore[return-value]
