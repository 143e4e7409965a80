"""A grid of pictures as one file: columns with a title each, and lines of tiles below."""

from collections.abc import Sequence
from pathlib import Path

TILE = 192  # pixels of a tile's longest side
TITLE = 18  # pixels of the line of titles
TITLE_LETTERS = 32  # of a title that are written: what fits above a tile


def write_grid(titles: Sequence[str], lines: Sequence[Sequence[Path | None]], target: Path) -> None:
    """Write the grid as WebP. Each line holds one picture per title; None leaves its place empty."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (max(1, len(titles)) * TILE, TITLE + max(1, len(lines)) * TILE), "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        pen.text((column * TILE + 3, 2), title[:TITLE_LETTERS], fill="black")
    for number, line in enumerate(lines):
        for column, path in enumerate(line):
            if path is None:
                continue
            with Image.open(path) as picture:
                picture.thumbnail((TILE, TILE))
                sheet.paste(picture, (column * TILE, TITLE + number * TILE))
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, "WEBP", quality=85)
