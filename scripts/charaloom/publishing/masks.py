"""What in a view is not its character: other people, and ground that is transparent in the file.

The picture models find persons and heads, no text and no watermarks: pictures with much of either are left to the
filter's rules (`text`).
"""

import io
from collections import defaultdict
from collections.abc import Iterable
from math import ceil, floor
from typing import TYPE_CHECKING

from charaloom.artifacts.types import Row
from charaloom.images.boxes import Corners, area, box_of, common, outside

if TYPE_CHECKING:
    from PIL import Image

PARTS = ("person", "halfbody", "head")  # kinds of measured views
LEAST_LEFT = 0.25  # of a view that has to stay for whole persons to be masked, not their heads alone; set by hand


def parts_by_picture(measured: Iterable[Row], pictures: set[str]) -> dict[str, list[Row]]:
    """Persons, half bodies and heads of these pictures."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in measured:
        if row["kind"] in PARTS and row["picture"] in pictures:
            parts[row["picture"]].append(row)
    return parts


def other_people(view: Row, parts: list[Row]) -> list[Row]:
    """Where another person is seen in a person cut from a picture of several: {kind, box in pixels of the picture}.

    Another person is one with a head of their own. Of their box stays what is the character's own head or half body;
    where that leaves less than LEAST_LEFT of the view, their heads alone are masked. Heads that belong to nobody are
    masked, too. A picture of one person has none.
    """
    if view["kind"] != "person":
        return []
    own = [box_of(part) for part in parts if part["person"] == view["person"] and part["kind"] != "person"]
    heads = [part for part in parts if part["kind"] == "head" and part["person"] != view["person"]]
    others = {head["person"] for head in heads} - {None}
    persons = [part for part in parts if part["kind"] == "person" and part["person"] in others]
    faces = [("head", box) for head in heads for box in visible(view, head, [])]
    bodies = [("person", box) for person in persons for box in visible(view, person, own)]
    masked = bodies + faces if left(view, [box for _, box in bodies + faces]) >= LEAST_LEFT else faces
    return [{"kind": kind, "box": list(box)} for kind, box in masked]


def visible(view: Row, part: Row, own: list[Corners]) -> list[Corners]:
    """What is seen in a view of a part of somebody else, outside the boxes `own`."""
    seen = common(box_of(view), box_of(part))
    boxes = [seen] if area(seen) else []
    for hole in own:
        boxes = [piece for box in boxes for piece in outside(box, hole)]
    return boxes


def left(view: Row, boxes: list[Corners]) -> float:
    """The share of a view that no box covers."""
    pieces = [box_of(view)]
    for hole in boxes:
        pieces = [piece for box in pieces for piece in outside(box, hole)]
    return sum(map(area, pieces)) / area(box_of(view))


def in_stored(masked: list[Row], view: Row, size: tuple[int, int]) -> list[Row]:
    """The same in pixels of the stored picture, which has `size`; every pixel that a box touches is inside."""
    x0, y0, x1, y1 = box_of(view)
    wide, high = size[0] / (x1 - x0), size[1] / (y1 - y0)
    rows = []
    for row in masked:
        left, top, right, bottom = row["box"]
        low = floor((left - x0) * wide), floor((top - y0) * high)
        behind = min(ceil((right - x0) * wide), size[0]), min(ceil((bottom - y0) * high), size[1])
        rows.append({"kind": row["kind"], "box": [*low, *behind]})
    return rows


def stored_opacity(opacity: "Image.Image | None", view: Row, size: tuple[int, int], name: str) -> Row | None:
    """The opacity of a view as a grey PNG of the stored picture's size; None where all of it is opaque."""
    from PIL import Image

    if opacity is None:
        return None
    shown = opacity.crop(box_of(view)).resize(size, Image.Resampling.BOX)
    if shown.getextrema()[0] == 255:
        return None
    stream = io.BytesIO()
    shown.save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": name}
