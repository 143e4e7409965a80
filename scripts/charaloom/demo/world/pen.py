"""Colours, curves and the pen that draws figures: polygons and splines with Pillow.

Figures are built in their own units: the head's centre is (0, 0), its radius about 1, y grows downwards, the feet stand
at y = 4. A `Pen` maps those units to pixels, draws in the picture's style and remembers how far each part reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, radians, sin
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from charaloom.demo.world.cast import Staging

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


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` of `second`."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


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
        self.without: str | None = None  # a piece of clothing that is left off

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
