"""What traits and tags add to CCIP's distance: look-alikes are told apart, back views and artists' whims stay."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charaloom.curation.evidence import judged_with_traits
from charaloom.curation.views import Reason, View

THRESHOLD = 0.178
OWN = ["red_hair", "ponytail", "green_eyes", "hair_bow", "blunt_bangs", "ahoge"]
OTHER = ["blue_hair", "twintails", "brown_eyes", "glasses"]
TAG = "hana_(x)"


class Board:
    """Views of a measured table, each with a distance and the tags of tagger and board."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.tags: list[list[str]] = []

    def add(
        self, distance: float, seen: list[str], board: list[str] | None = None, number: int = 1, **more: Any
    ) -> list[View]:
        made = []
        for _ in range(number):
            picture = more.get("picture") or f"{len(self.views):04d}"
            kind = more.get("kind", "picture")
            row = {"view": f"{picture}/{kind}/{len(self.views)}", "picture": picture, "kind": kind}
            general = [*(board if board is not None else seen), "1girl", "solo", "smile", "tree", "sky", "cloud", "day"]
            view = View(row, row, [{"tags_general": general, "tags_character": [TAG]}], 1, [], distance=distance)
            self.views.append(view)
            self.tags.append(seen)
            made.append(view)
        return made

    def judged(self, folder: Path, supports: dict[str, float] | None = None) -> dict[str, float]:
        rows = [
            {"view": view.name, "tags": [{"name": tag, "score": 0.9} for tag in tags]}
            for view, tags in zip(self.views, self.tags, strict=True)
        ]
        schema = pa.schema(
            [("view", pa.string()), ("tags", pa.list_(pa.struct([("name", pa.string()), ("score", pa.float32())])))]
        )
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / "measured.parquet")
        believed = dict.fromkeys((view.name for view in self.views), 1.0) | (supports or {})
        scores = judged_with_traits(self.views, believed, folder / "measured.parquet", THRESHOLD)
        return dict(zip((view.name for view in self.views), scores.tolist(), strict=True))


@pytest.fixture
def board() -> Board:
    board = Board()
    board.add(0.07, OWN, number=40)
    board.add(0.4, OTHER, number=8)
    return board


def test_clear_views_stay_clear(board: Board, tmp_path: Path) -> None:
    scores = list(board.judged(tmp_path).values())
    assert max(scores[:40]) < THRESHOLD < min(scores[40:])
    assert min(scores) >= 0
    assert max(scores) <= 2 * THRESHOLD


def test_somebody_alike_is_told_by_hair_and_accessory(board: Board, tmp_path: Path) -> None:
    alike = board.add(0.12, ["red_hair", "twin_braids", "green_eyes", "glasses", "swept_bangs"], number=6)
    scores = board.judged(tmp_path)
    assert all(scores[view.name] > THRESHOLD for view in alike)


def test_eyes_of_another_colour_are_an_artists_whim(board: Board, tmp_path: Path) -> None:
    (whim,) = board.add(0.2, ["red_hair", "ponytail", "blue_eyes", "hair_bow", "blunt_bangs", "ahoge"])
    assert board.judged(tmp_path)[whim.name] < THRESHOLD


def test_from_behind_the_hair_is_enough(board: Board, tmp_path: Path) -> None:
    (back,) = board.add(0.3, ["red_hair", "ponytail", "hair_bow"], ["red_hair", "ponytail", "hair_bow", "from_behind"])
    (other,) = board.add(0.3, ["blue_hair", "twintails"], ["blue_hair", "twintails", "from_behind"])
    scores = board.judged(tmp_path)
    assert scores[back.name] < THRESHOLD < scores[other.name]


def test_one_picture_shows_the_character_once(board: Board, tmp_path: Path) -> None:
    (near,) = board.add(0.06, OWN, [], picture="group", kind="person")
    (sister,) = board.add(0.11, OWN, [], picture="group", kind="person")
    (alone,) = board.add(0.11, OWN, [], picture="another", kind="person")
    scores = board.judged(tmp_path, {view.name: 0.5 for view in (near, sister, alone)})
    assert scores[near.name] < THRESHOLD < scores[sister.name]
    assert scores[alone.name] < THRESHOLD


def test_views_that_other_rules_dropped_are_no_witnesses(board: Board, tmp_path: Path) -> None:
    before = board.judged(tmp_path)
    for view in board.add(0.07, [*OTHER, "halo"], number=30):
        view.reasons.append(Reason("comic"))
    after = board.judged(tmp_path)
    assert all(abs(after[name] - score) < 0.01 for name, score in before.items())


def test_without_any_tags_ccip_decides(tmp_path: Path) -> None:
    board = Board()
    near, far = board.add(0.07, [], [], number=20), board.add(0.3, [], [], number=5)
    scores = board.judged(tmp_path)
    assert all(scores[view.name] < THRESHOLD for view in near)
    assert all(scores[view.name] > THRESHOLD for view in far)


def test_order_changes_nothing(board: Board, tmp_path: Path) -> None:
    first = board.judged(tmp_path)
    board.views.reverse()
    board.tags.reverse()
    assert board.judged(tmp_path) == pytest.approx(first, abs=1e-9)
