"""Draws the head of a figure: face, hair, accessories, headwear."""

from math import cos, pi, radians, sin

from charaloom.demo.world.cast import Character, Outfit, Staging
from charaloom.demo.world.pen import (
    CLOTH,
    EYES,
    GOLD,
    HAIR,
    INK,
    WHITE,
    Colour,
    Pen,
    flip,
    light,
    mix,
    ring,
    shade,
    spline,
)


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


def back_of_head(pen: Pen, hair: Colour) -> None:
    pen.fill(ring(0, -0.1, 0.98, 1.0), hair)


def crown(pen: Pen, somebody: Character, hair: Colour) -> None:
    """What of the hair shows from behind: its fall, a parting, the buns."""
    if somebody.hair_style == "double_bun":
        for side in (-1, 1):
            pen.fill(ring(side * 0.72, -0.98, 0.38, 0.36, steps=18), hair)
    for x in (-0.5, 0.0, 0.5):
        pen.line([(x * 0.6, -0.9), (x, 0.6)], mix(hair, INK, 0.28), 0.035)
    if pen.style.shading:
        pen.line(ring(0, -0.45, 0.62, 0.3, 205, 335, 12), light(hair), 0.09)


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
