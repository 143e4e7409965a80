"""The README's picture: of each demo character pictures that were kept, and previews without and with the model.

python -m charaloom.demo.commands.showcase --results results/demo --out docs/images/demo.png
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from charaloom.artifacts.files import read_json, whole_file
from charaloom.artifacts.tables import read_table
from charaloom.publishing.comparison import compared

TILE = 112
COLUMNS = 8


def character_rows(folder: Path) -> list[list[Image.Image]]:
    """Three rows of tiles: kept pictures of each outfit, previews without a model, the same with the chosen one."""
    selection = read_json(folder / "selection.json")
    scores = compared(read_table(folder / "previews" / "scores.parquet"), selection)
    files = {
        (row["checkpoint"], row["prompt_id"], row["seed"]): folder / "previews" / row["file"]
        for row in scores
        if row["base"] == selection["base"]
    }
    keys = sorted({key[1:] for key in files if key[0] == "none"})
    keys = keys[:: max(1, len(keys) // COLUMNS)][:COLUMNS]
    rows = [[Image.open(files[name, *key]) for key in keys] for name in ("none", selection["chosen"])]
    return [own_pictures(folder), *rows]


def own_pictures(folder: Path) -> list[Image.Image]:
    views = [row for row in read_table(folder / "clustered.parquet", ["picture", "kind", "outfit"]) if row["outfit"]]
    views = sorted((row for row in views if row["kind"] == "picture"), key=lambda row: (row["picture"], row["outfit"]))
    chosen = [row["picture"] for row in views[:: max(1, len(views) // COLUMNS)][:COLUMNS]]
    data = {row["picture"]: row["bytes"] for row in read_table(folder / "raw.parquet", ["picture", "bytes"])}
    return [Image.open(io.BytesIO(data[picture])) for picture in chosen]


def tile(picture: Image.Image) -> Image.Image:
    """The middle of a picture, as a square tile."""
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 3
    return (
        picture.convert("RGB").crop((left, top, left + edge, top + edge)).resize((TILE, TILE), Image.Resampling.LANCZOS)
    )


def showcase(results: Path, out: Path) -> None:
    folders = sorted(path.parent for path in results.glob("*/selection.json"))
    rows = [row for folder in folders for row in character_rows(folder)]
    sheet = Image.new("RGB", (TILE * COLUMNS, TILE * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(tile(picture), (x * TILE, y * TILE))
    with whole_file(out) as part:
        sheet.save(part, "PNG", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/demo.png"))
    arguments = parser.parse_args()
    showcase(arguments.results, arguments.out)


if __name__ == "__main__":
    main()
