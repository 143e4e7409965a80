"""The grid of pictures: titles on top, one line of tiles after the other."""

from pathlib import Path

from PIL import Image

from charaloom.images.grid import TILE, TITLE, write_grid


def test_tiles_lie_below_their_titles_and_none_leaves_a_gap(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), (200, 0, 0)).save(tmp_path / "red.png")
    write_grid(["one", "two"], [[tmp_path / "red.png", None], [None, tmp_path / "red.png"]], tmp_path / "grid.webp")
    with Image.open(tmp_path / "grid.webp") as sheet:
        assert sheet.size == (2 * TILE, TITLE + 2 * TILE)
        corners = [(column * TILE + 20, TITLE + line * TILE + 20) for line in (0, 1) for column in (0, 1)]
        assert [sheet.getpixel(corner)[1] > 200 for corner in corners] == [False, True, True, False]


def test_a_grid_without_pictures_is_one_empty_tile(tmp_path: Path) -> None:
    write_grid([], [], tmp_path / "grid.webp")
    with Image.open(tmp_path / "grid.webp") as sheet:
        assert sheet.size == (TILE, TITLE + TILE)
