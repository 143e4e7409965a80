"""Draws the trunk, the legs and the arms of a figure, and what they wear."""

from dataclasses import dataclass

from charaloom.demo.world.cast import Character, Outfit, Staging
from charaloom.demo.world.pen import (
    CLOTH,
    GOLD,
    INK,
    METAL,
    WHITE,
    Colour,
    Pen,
    Point,
    flip,
    light,
    limb,
    mix,
    ring,
    spline,
)


@dataclass
class Body:
    """Where the figure's joints are: a tall one has a longer trunk and longer legs."""

    shoulder: float = 1.12
    waist: float = 1.8
    hip: float = 2.25
    foot: float = 4.0

    @classmethod
    def of(cls, somebody: Character, chibi: bool = False) -> "Body":
        if chibi:
            return cls(0.95, 1.4, 1.65, 2.4)
        return cls(1.15, 1.95, 2.45, 4.5) if somebody.tall else cls(1.1, 1.75, 2.15, 3.7)


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
    if pen.without == "sash":
        return
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
    s = body.shoulder
    if pen.without != "apron":
        apron(pen, body)
    pen.fill([(-0.3, s - 0.12), (0.3, s - 0.12), (0.12, s + 0.1), (-0.12, s + 0.1)], WHITE)
    pen.fill(
        [(0, s + 0.02), (-0.2, s - 0.08), (-0.2, s + 0.18), (0, s + 0.06), (0.2, s + 0.18), (0.2, s - 0.08)],
        trim if trim != CLOTH["white"] else cloth,
    )


def apron(pen: Pen, body: Body) -> None:
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


def coat(pen: Pen, body: Body, cloth: Colour, trim: Colour, skin: Colour) -> None:
    low = body.hip + 0.9
    torso(pen, body, cloth, low=body.waist + 0.2)
    pen.fill([(-0.52, body.waist), (0.52, body.waist), (0.82, low), (-0.82, low)], cloth)
    pen.line([(0, body.shoulder + 0.4), (0, low)], mix(cloth, INK, 0.4), 0.045)
    for k in range(3):
        for side in (-1, 1):
            pen.fill(ring(side * 0.18, body.shoulder + 0.6 + 0.38 * k, 0.06, 0.06, steps=8), GOLD, outline=False)
    if pen.without == "scarf":
        return
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
