"""Draws what stands behind the figures."""

from random import Random

import numpy as np
from PIL import Image, ImageDraw

from charaloom.demo.world.pen import WHITE, Colour, mix


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
