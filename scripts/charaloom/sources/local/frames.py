"""Cut the frames of a video that show something new; a process of its own (`child.py`).

What is on the screen is looked at a few times a second, small and in grey. A large change between two looks is a cut.
Of a scene the first still frame is kept, and each later one that differs from what the scene has; where nothing is
still, the stillest of every two seconds counts. A frame much like one that was kept before, in any scene, is left out.
Memory holds a few frames, and a small grey copy of each kept one.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charaloom.sources.local.child import fail

if TYPE_CHECKING:
    import numpy

SIDE = 32  # pixels of the small copies
LOOKS = 4  # a second
# Mean differences of grey values from 0 to 255; set by hand on the drawn video of tests/unit/sources/test_video.py.
CUT = 24.0  # between two looks, from which a new scene begins
STILL = 6.0  # between two looks, below which nothing moves or fades much
CHANGED = 12.0  # from every kept frame of the scene, from which a frame shows something new
ALIKE = 4.0  # from any kept frame, below which it is the same picture
DARK = 6.0  # standard deviation of a frame that shows nothing: black, white, a fade
PER_SCENE = 8
STRETCH = 8  # looks at what moves, of which the stillest counts
RATE = 25  # frames a second of a stream without times


Look = tuple[float, "numpy.ndarray", Any]  # the change since the look before, a small copy, the frame


class Cutter:
    """Decides look by look; `kept` holds the small copies of what was kept, `first` is the place of the first of the
    present scene, `scenes` counts those of which something was. Frames are only handed on."""

    def __init__(self) -> None:
        self.kept: list[numpy.ndarray] = []
        self.scenes = self.similar = self.first = 0
        self.is_new = True  # whether nothing of the present scene counted yet
        self.before: numpy.ndarray | None = None
        self.moving: list[Look] = []  # the stillest look since something was still or a look was kept
        self.moved = 0  # looks since then
        self.any: Look | None = None  # the first look that shows something

    def look(self, small: "numpy.ndarray", frame: Any) -> list[Any]:
        """The frames to keep after one more look."""
        change = CUT if self.before is None else distance(small, self.before)
        self.before = small
        if small.std() >= DARK and self.any is None:
            self.any = 0.0, small, frame
        if change >= CUT:
            ended = self.end_scene()
            self.first, self.is_new = len(self.kept), True
            return ended  # the first look at a scene may be half of a fade
        if small.std() < DARK:
            return []
        if change <= STILL:
            self.moving, self.moved = [], 0
            return self.keep(small, frame)
        self.moved += 1
        self.moving = [min([*self.moving, (change, small, frame)], key=lambda look: look[0])]
        return self.keep_moving() if self.moved >= STRETCH else []

    def end_scene(self) -> list[Any]:
        """What is kept of a scene in which nothing was still."""
        kept = self.keep_moving() if self.is_new else []
        self.moving, self.moved = [], 0
        return kept

    def end(self) -> list[Any]:
        """What is kept at the end: something of every video that shows something."""
        kept = self.end_scene()
        if not self.kept and self.any:
            kept = self.keep(*self.any[1:])
        return kept

    def keep_moving(self) -> list[Any]:
        looks, self.moving, self.moved = self.moving, [], 0
        return [frame for _, small, frame in looks for frame in self.keep(small, frame)]

    def keep(self, small: "numpy.ndarray", frame: Any) -> list[Any]:
        """The frame, where it shows something new."""
        self.scenes, self.is_new = self.scenes + self.is_new, False
        scene = self.kept[self.first :]
        if len(scene) >= PER_SCENE or any(distance(small, other) < CHANGED for other in scene):
            return []
        if any(distance(small, other) < ALIKE for other in self.kept):
            self.similar += 1
            return []
        self.kept.append(small)
        return [frame]


def distance(first: "numpy.ndarray", second: "numpy.ndarray") -> float:
    return float(abs(first - second).mean())


def cut(path: Path, folder: Path, maximum_pixels: int) -> dict[str, int]:
    """Write `<milliseconds>.png` of each frame that is kept."""
    import av

    cutter = Cutter()
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                fail("has no pictures; name a video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if stream.codec_context.width * stream.codec_context.height > maximum_pixels:
                fail(
                    f"has frames above raw.maximum_pixels ({stream.codec_context.width}x{stream.codec_context.height})"
                )
            look(container, stream, cutter, folder)
    except (av.error.FFmpegError, ValueError) as error:
        if not cutter.kept:
            fail(f"is no video that can be read ({error}); convert it, or save its frames and name the folder")
    return {"scenes": cutter.scenes, "frames": len(cutter.kept), "similar": cutter.similar}


def look(container: Any, stream: Any, cutter: Cutter, folder: Path) -> None:
    """Look at what is on the screen LOOKS times a second; a frame that stays is looked at twice, which shows that it is
    still."""
    import numpy

    next_look: float | None = None
    try:
        for start, end, frame in shown(container, stream):
            if next_look is None or start < next_look - 1 / LOOKS:  # the times of a joined video begin anew
                next_look = start
            if end <= next_look:
                continue
            small = frame.reformat(width=SIDE, height=SIDE, format="gray", interpolation="AREA").to_ndarray()
            looks = 2 if end - next_look > 1 / LOOKS else 1
            for _ in range(looks):
                for kept in cutter.look(small.astype(numpy.float32), (start, frame)):
                    save(kept, stream, folder)
            next_look = max(next_look + looks / LOOKS, end if looks == 2 else 0) - 1e-6
    finally:
        for kept in cutter.end():
            save(kept, stream, folder)


def shown(container: Any, stream: Any) -> Iterator[tuple[float, float, Any]]:
    """(from when, until when, frame) in seconds. The last one stays for a second, if its video is that long or says
    nothing else."""
    before: tuple[float, Any] | None = None
    rate = float(stream.average_rate or RATE)
    for number, frame in enumerate(container.decode(stream)):
        time = number / rate if frame.pts is None else float(frame.pts * stream.time_base)
        if before:
            yield before[0], max(time, before[0]), before[1]
        before = time, frame
    if before:
        yield before[0], before[0] + 1, before[1]


def save(kept: tuple[float, Any], stream: Any, folder: Path) -> None:
    """Write one frame upright, its pixels as wide as high."""
    from PIL import Image

    time, frame = kept
    image = frame.to_image()
    ratio = float(stream.sample_aspect_ratio or 1)
    if ratio != 1:  # never enlarged: what is too wide loses height
        width, height = image.size
        size = (width, round(height / ratio)) if ratio > 1 else (round(width * ratio), height)
        image = image.resize((max(size[0], 1), max(size[1], 1)), Image.Resampling.LANCZOS)
    turns = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    if turn := turns.get(round(frame.rotation) % 360):
        image = image.transpose(turn)
    milliseconds = max(round(time * 1000), 0)
    while (folder / f"{milliseconds:09d}.png").exists():
        milliseconds += 1
    image.save(folder / f"{milliseconds:09d}.png")


def main() -> None:
    facts = json.loads(sys.argv[1])
    print(json.dumps(cut(Path(facts["path"]), Path(facts["folder"]), facts["maximum_pixels"])))


if __name__ == "__main__":
    main()
