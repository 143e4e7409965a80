"""Cut the frames of a video that show something new; a process of its own (`child.py`).

Frames are looked at a few times a second, small and in grey. A large change between two looks is a cut. Of a scene the
first still frame is kept, and each later one that differs from what the scene has; a frame much like one that was kept
before, in any scene, is left out. Memory holds one frame, and a small grey copy of each kept one.
"""

import json
import sys
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


class Cutter:
    """Decides frame by frame; `kept` holds the small copies of what was kept, `first` is the place of the first of the
    present scene, `scenes` counts those with a still frame."""

    def __init__(self) -> None:
        self.kept: list[numpy.ndarray] = []
        self.scenes = self.similar = self.first = 0
        self.is_new = True  # whether the present scene has shown no still frame yet
        self.before: numpy.ndarray | None = None

    def wants(self, small: "numpy.ndarray") -> bool:
        change = CUT if self.before is None else distance(small, self.before)
        self.before = small
        if change >= CUT:
            self.first, self.is_new = len(self.kept), True
            return False  # the first look at a scene may be half of a fade
        if change > STILL or small.std() < DARK:
            return False
        self.scenes, self.is_new = self.scenes + self.is_new, False
        scene = self.kept[self.first :]
        if len(scene) >= PER_SCENE or any(distance(small, other) < CHANGED for other in scene):
            return False
        if any(distance(small, other) < ALIKE for other in self.kept):
            self.similar += 1
            return False
        self.kept.append(small)
        return True


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
    import numpy

    next_look = None
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        time = float(frame.pts * stream.time_base)
        if next_look is not None and time < next_look:
            continue
        next_look = time + 1 / LOOKS - 1e-6
        small = frame.reformat(width=SIDE, height=SIDE, format="gray", interpolation="AREA").to_ndarray()
        if cutter.wants(small.astype(numpy.float32)):
            frame.to_image().save(folder / f"{round(time * 1000):09d}.png")


def main() -> None:
    facts = json.loads(sys.argv[1])
    print(json.dumps(cut(Path(facts["path"]), Path(facts["folder"]), facts["maximum_pixels"])))


if __name__ == "__main__":
    main()
