"""How many expressions of a drawing stay, and how many of its copies are found: `make bench-variants ARGS="40 1"`."""

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "scripts")]

from tests.drawn_variants import report  # noqa: E402

if __name__ == "__main__":
    drawings, seed = (int(word) for word in (sys.argv[1:3] if len(sys.argv) > 2 else ("40", "1")))
    with tempfile.TemporaryDirectory() as folder:
        print(report(drawings, seed, Path(folder)))
