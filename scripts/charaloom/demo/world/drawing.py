"""Draws people of the cast before a background, at a multiple of the size and then reduced."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from PIL import Image

from charaloom.demo.world.backgrounds import draw_background
from charaloom.demo.world.cast import Character, Outfit, Staging
from charaloom.demo.world.clothes import Body, arms, front_arms, trunk
from charaloom.demo.world.heads import accessory, back_hair, back_of_head, crown, face, front_hair, headwear
from charaloom.demo.world.pen import HAIR, SKIN, Pen, Style, finish


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
    body = Body.of(somebody, staging.chibi)
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
    pen.without = outfit.without
    hair, skin = HAIR[somebody.hair_colour], SKIN[somebody.dark_skin]

    if staging.back:
        from_behind(pen, body, somebody, outfit, staging)
        return boxes(pen, body, picture.size)
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


def from_behind(pen: Pen, body: Body, somebody: Character, outfit: Outfit, staging: Staging) -> None:
    """The same figure seen from behind: no face, the hair over shoulders and clothes."""
    hair, skin = HAIR[somebody.hair_colour], SKIN[somebody.dark_skin]
    pen.part = "body"
    trunk(pen, body, outfit, skin)
    arms(pen, body, outfit, replace(staging, pose="arms_at_sides"), skin)
    pen.part = "head"
    back_of_head(pen, hair)
    pen.part = "hair"
    back_hair(pen, somebody, hair)
    pen.part = "head"
    crown(pen, somebody, hair)
    if somebody.accessory not in ("glasses", "eyepatch"):
        accessory(pen, somebody, outfit, hair)
    headwear(pen, outfit)
    pen.reach["face"] = pen.reach["head"]


def boxes(pen: Pen, body: Body, size: tuple[int, int]) -> dict[str, tuple[float, float, float, float]]:
    def cut(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        return max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])

    person = cut(pen.box("hair", "body", "head", "face"))
    head = pen.box("head", "face")
    waist = max(y for _, y in pen.place([(-0.5, body.hip), (0.5, body.hip)]))
    halfbody = (person[0], person[1], person[2], min(person[3], waist))
    return {"person": person, "halfbody": cut(halfbody), "head": cut(head), "face": cut(pen.box("face"))}


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
    boxes_of_all = []
    for k, (somebody, outfit, staging) in enumerate(people):
        area = (k * slot, 0.0, (k + 1) * slot, float(height))
        boxes_of_all.append(draw_person(canvas, somebody, outfit, staging, hand, area))
    small = canvas.resize(size, Image.BOX)
    scaled = [{part: tuple(v / times for v in box) for part, box in boxes.items()} for boxes in boxes_of_all]
    return finish(small, hand, rng), scaled  # type: ignore[return-value]
