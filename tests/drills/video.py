"""Draw an anime-like video of ten minutes and cut its frames twice: every scene, bounded memory, the same bytes.

    make drill-video ARGS="FOLDER"

Drawing takes a minute or two. Prints scenes found, seconds, memory of the child; exits with 1 where something is amiss.
"""

import resource
import sys
import time
from pathlib import Path

from charaloom.artifacts.files import sha256_file
from charaloom.sources.local.child import run
from tests.unit.sources.test_local import draw_video

SCENES, SECONDS, AGAIN = 140, 4.0, 10  # the last are scenes of the beginning, shown again
MEMORY_MB = 1000


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    path = draw_video(folder / "film.mp4", [*range(SCENES), *range(AGAIN)], SECONDS, rate=24, size=(360, 640))
    digests = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        began = time.monotonic()
        facts = {"path": str(path), "folder": str(folder / name), "maximum_pixels": 10**8}
        said = run("charaloom.sources.local.frames", facts, 2**26)
        print(f"{said}, {time.monotonic() - began:.1f} s")
        digests.append({file.name: sha256_file(file) for file in (folder / name).iterdir()})
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seen = {int(int(name.removesuffix(".png")) / 1000 // SECONDS) for name in digests[0]}
    shown = len(seen & set(range(SCENES)))
    print(
        f"{shown} of {SCENES} scenes, {len(digests[0])} frames, {memory:.0f} MB, the same: {digests[0] == digests[1]}"
    )
    return int(shown < SCENES or memory > MEMORY_MB or digests[0] != digests[1])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
